"""What others write to descriptors 1 and 2, on real descriptors and in real processes."""

import json
import logging
import subprocess
import sys

import pytest

from trio_bridge.telemetry.native import TEXT_BYTES, parts

PROGRAM = """
import ctypes, os, signal, subprocess, sys, time, warnings
from trio_bridge.telemetry.native import output_logged

with output_logged(FORMAT, LEVEL):
BODY
os.write(1, b"afterwards\\n")
os.write(2, b"at the end\\n")
"""

TRACING = """warning: failed to set up tracing subscriber: failed to set tracing global \
subscriber for bridge-x-1-2

Caused by:
    a global default trace dispatcher has already been set

Location:
    libraries/extensions/telemetry/tracing/src/lib.rs:286:59
"""


def run(body, log_format="json", level="info"):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    program = PROGRAM.replace("FORMAT", repr(log_format)).replace("LEVEL", repr(level))
    return subprocess.run(
        [sys.executable, "-c", program.replace("BODY", indented)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def entries(said):
    return [json.loads(line) for line in said.splitlines()]


def test_each_text_is_an_entry_and_ours_is_printed():
    """The descriptors are the log's within, and lead where they did again afterwards."""
    done = run(
        "os.write(1, b'from afar\\nand more')\n"
        "os.write(2, b'a panic\\nin two lines\\n')\n"
        "print('ours', flush=True)",
        level="debug",
    )
    assert done.stdout == "ours\nafterwards\n"
    *logged, last = done.stderr.splitlines()
    assert last == "at the end"
    found = {entry["stream"]: entry for entry in entries("\n".join(logged))}
    assert found["stdout"]["text"] == "from afar\nand more"
    assert found["stdout"]["level"] == "debug"
    assert found["stderr"]["text"] == "a panic\nin two lines"
    assert found["stderr"]["level"] == "warning"
    assert found["stderr"]["event"] == "foreign output"


def test_the_level_holds_for_them_too():
    done = run("os.write(1, b'chatter'); os.write(2, b'trouble')", level="info")
    assert "trouble" in done.stderr
    assert "chatter" not in done.stderr


def test_python_s_own_warnings_are_entries():
    """They are foreign too: whatever is not logged."""
    (warned,) = entries(run("warnings.warn('old', stacklevel=1)\nos._exit(0)").stderr)
    assert "UserWarning: old" in warned["text"]


@pytest.mark.parametrize(
    "end", ["os.abort()", "ctypes.string_at(0)", "os.kill(os.getpid(), 9)"]
)
def test_what_a_crash_says_last_is_logged(end):
    """Nobody in the process that crashes can read it any more."""
    done = run(f"os.write(2, b'x' * 5000 + b' fatal: index out of range\\n'); {end}")
    assert done.returncode < 0
    assert entries(done.stderr)[0]["text"].endswith("fatal: index out of range")


def test_a_fault_s_traceback_is_logged():
    done = run("import faulthandler; faulthandler.enable(); ctypes.string_at(0)")
    (entry,) = entries(done.stderr)
    assert "Segmentation fault" in entry["text"]
    assert "most recent call first" in entry["text"]


def test_an_error_that_ends_the_server_is_told_as_it_is():
    """Its traceback is Python's last word, after the log."""
    done = run("raise KeyError('unforeseen')")
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'unforeseen'\n")


def test_whoever_writes_much_with_the_interpreter_lock_is_not_blocked():
    """A pipe holds 64 kB; a thread of this process could not run meanwhile."""
    done = run(
        "libc = ctypes.PyDLL(None)\n"
        "text = (b'y' * 99 + b'\\n') * 20_000\n"
        "at = 0\n"
        "while at < len(text):\n"
        "    at += libc.write(2, text[at:], len(text) - at)"
    )
    logged = entries("\n".join(done.stderr.splitlines()[:-1]))
    assert all(len(entry.get("text", "")) <= TEXT_BYTES for entry in logged)
    assert done.returncode == 0


def test_a_log_that_nobody_reads_holds_up_nobody():
    """Then texts are dropped, and counted; the server's own end does not wait for long."""
    program = PROGRAM.replace("FORMAT", "'json'").replace("LEVEL", "'info'")
    body = "    for _ in range(3000): os.write(2, b'z' * 1000); time.sleep(0)\n    os._exit(3)"
    with subprocess.Popen(
        [sys.executable, "-c", program.replace("BODY", body)], stderr=subprocess.PIPE
    ) as process:
        assert process.wait(timeout=10) == 3


def test_a_stream_that_is_never_quiet_does_not_hold_back_the_other():
    chatter = "for _ in range(60):\n    os.write(1, b'.\\n'); time.sleep(0.005)"
    body = f"os.write(2, b'alarm')\n{chatter}\nos.write(2, b'later')"
    *said, last = run(body, level="debug").stderr.splitlines()
    assert last == "at the end"
    told = [entry for entry in map(json.loads, said) if entry["stream"] == "stderr"]
    assert [entry["text"] for entry in told] == ["alarm", "later"]


def test_a_child_that_goes_on_does_not_keep_the_server():
    """What it writes is still logged."""
    child = "import os, time; time.sleep(2); os.write(2, b'the child')"
    done = run(f"subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert "the child" in done.stderr


def test_the_warning_of_every_second_attachment_is_no_warning():
    """Dora has no switch for it."""
    assert parts("stderr", TRACING) == [(logging.DEBUG, TRACING.strip("\n"))]
    assert parts("stderr", TRACING + TRACING + "thread panicked\n") == [
        (logging.DEBUG, TRACING.strip("\n")),
        (logging.DEBUG, TRACING.strip("\n")),
        (logging.WARNING, "thread panicked"),
    ]
    assert parts("stderr", "thread panicked\n") == [(logging.WARNING, "thread panicked")]
