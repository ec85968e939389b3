"""Native code's standard output, on real descriptors."""

import subprocess
import sys

PROGRAM = """
import os, trio
from trio_bridge.telemetry.log import configure_logging
from trio_bridge.telemetry.native import native_output_logged

async def main():
    configure_logging("json", LEVEL)
    async with native_output_logged():
        os.write(1, b"from afar\\nhalf a line")
        print("ours", flush=True)
        await trio.testing.wait_all_tasks_blocked()
    os.write(1, b"afterwards\\n")

import trio.testing
trio.run(main)
"""


def run(level):
    program = PROGRAM.replace("LEVEL", repr(level))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )


def test_native_output_goes_to_the_log_and_ours_stays():
    """Descriptor 1 is the log's in between, and the program's again afterwards."""
    done = run("debug")
    assert done.stdout == "ours\nafterwards\n"
    assert '"line": "from afar"' in done.stderr
    assert '"line": "half a line"' in done.stderr


def test_it_is_not_shown_unless_asked_for():
    done = run("info")
    assert done.stdout == "ours\nafterwards\n"
    assert done.stderr == ""
