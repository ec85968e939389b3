"""Every failure there is, made to happen to a real server; `python -m tests.faults`."""
