"""The `dora` program as one speaks to a coordinator with it, and what nodes have printed."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from trio_bridge.dora.runtimes.lifetime import GENTLY
from trio_bridge.errors import DataflowError, RuntimeFailed

START_TIMEOUT = 30.0
"""Seconds for a start, and until a daemon has reported to its coordinator: 0.3 s is usual, and
on a machine whose cores are all busy it is many times as long, for it begins gently."""

COMMAND_TIMEOUT = 10.0
"""Seconds for one `dora` command; the slowest, a stop that has to kill, takes 1.6 s."""

STOP_GRACE = 1.0
"""Seconds the nodes of a dataflow have to end by themselves."""

LOG_LINES = 20
"""Lines of a log that are shown when something fails."""

_CONNECT_INTERVAL = 0.01
_OVER = frozenset({"Finished", "Failed"})
_NEVER_CAME = re.compile(r"because node `(?P<node>[^`]+)` (?P<why>exited before connecting)")
"""Dora lets no node begin before all are there, so that all fail when one does not come."""

_NODE_FAILED = re.compile(r"Node `(?P<node>[^`]+)` failed: (?P<why>.*)")


@frozen
class StopResult:
    """How a stop went.

    Attributes:
        stopped: Whether the coordinator has done it.
        failed: The node that failed and Dora's words about it, if one did.
    """

    stopped: bool
    failed: tuple[str, str] | None


@frozen(eq=False)
class Commands:
    """The `dora` program, for one coordinator.

    Attributes:
        program: Its path.
        directory: Where it runs.
        env: Its environment, which names the coordinator.
    """

    program: str
    directory: Path
    env: Mapping[str, str]

    async def validate(self, descriptor: Path) -> None:
        """Have Dora check a descriptor; needs no coordinator.

        Raises:
            DataflowError: It does not pass; see `validation` for its words.
            RuntimeFailed: The program cannot be run.
        """
        done = await self.run("validate", str(descriptor))
        if done.returncode != 0:
            raise DataflowError(f"dora does not accept the dataflow: {cause_of(done)}")

    async def start(self, descriptor: Path, name: str) -> None:
        """Start a dataflow.

        Raises:
            DataflowError: Dora does not start it.
            RuntimeFailed: The daemon did not report to the coordinator in time, or the program
                did not come to an end.
        """
        command = ("start", str(descriptor), "--detach", "--name", name)
        problem = f"`dora start` took longer than {START_TIMEOUT:g} s"
        with trio.move_on_after(START_TIMEOUT):
            while True:
                done = await self.run(*command, gently=True, patience=math.inf)
                # The daemon listens for nodes before it has reported to the coordinator.
                if "daemon connections" not in done.stderr:
                    break
                problem = "the dora daemon did not report to its coordinator"
                await trio.sleep(_CONNECT_INTERVAL)
            if done.returncode != 0:
                raise DataflowError(f"dora did not start the dataflow: {error_of(done)}")
            return
        raise RuntimeFailed(problem)

    async def stop(self, name: str) -> StopResult:
        """Stop a dataflow by name; nodes that do not end are killed.

        Raises:
            RuntimeFailed: The program cannot be run.
        """
        grace = f"{round(STOP_GRACE * 1000)}ms"
        done = await self.run("stop", "--name", name, "--grace-duration", grace, gently=True)
        match = _NEVER_CAME.search(done.stderr) or _NODE_FAILED.search(done.stderr)
        if match is None:
            return StopResult(done.returncode == 0, None)
        why = match["why"].removesuffix(" with stderr output:")
        return StopResult(stopped=True, failed=(match["node"], why))

    async def running(self) -> list[str]:
        """The names of the dataflows that run, or may run again when a machine is back.

        Raises:
            RuntimeFailed: The coordinator does not tell.
        """
        done = await self.run("list", "--format", "json", gently=True)
        if done.returncode != 0:
            raise RuntimeFailed(f"the dora coordinator does not answer: {error_of(done)}")
        rows = [_row(line) for line in done.stdout.splitlines()]
        return [str(row["name"]) for row in rows if row.get("status") not in _OVER]

    async def run(
        self, *args: str, gently: bool = False, patience: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run the program; one that takes too long has a negative return code.

        Raises:
            RuntimeFailed: It cannot be run: there is no memory, or no process to be had.
        """
        command = [*(GENTLY if gently else ()), self.program, *args]
        with trio.move_on_after(patience):
            try:
                done = await trio.run_process(
                    command,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    cwd=self.directory,
                    env=self.env,
                )
            except OSError as exc:
                raise RuntimeFailed(f"`dora {args[0]}` cannot be run: {exc}") from exc
            out, err = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
            return subprocess.CompletedProcess(command, done.returncode, out, err)
        return subprocess.CompletedProcess(
            command, -1, "", f"[ERROR]\n`dora {args[0]}` took longer than {patience:g} s"
        )


def program_path() -> str:
    """Where programs are looked for: beside the interpreter first, since an environment that is
    not activated is not on PATH."""
    scripts = str(Path(sys.executable).parent)
    return os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])


def inherited_environment(*foreign: str) -> dict[str, str]:
    """Our environment for what we start. What is set for the server, its secret above all, is
    no business of that.

    Args:
        foreign: Prefixes of further variables to leave out.
    """
    foreign = ("TRIO_BRIDGE_SERVER_", *foreign)
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)}


def find_program() -> str:
    """The path of the `dora` program.

    Raises:
        RuntimeFailed: There is none.
    """
    program = shutil.which("dora", path=program_path())
    if program is None:
        raise RuntimeFailed("no `dora` program found; it comes with the package dora-rs-cli")
    return program


def read_log(node: str, descriptor: Path) -> str:
    """The last lines that a node of a local daemon has printed."""
    lines = []
    # Each instance has a directory of its own, so that no other flow's log is met here.
    for path in sorted(descriptor.parent.glob(f"out/*/log_{node}.jsonl")):
        for line in path.read_text(errors="replace").splitlines()[-LOG_LINES:]:
            try:
                lines.append(str(json.loads(line)["msg"]))
            except (ValueError, KeyError):
                lines.append(line)
    return "\n".join(lines[-LOG_LINES:])


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or "name" not in row:
        raise RuntimeFailed(f"`dora list` says what cannot be read: {line[:80]!r}")
    return row


def cause_of(done: subprocess.CompletedProcess[str]) -> str:
    """What Dora found in the end, without where in the file that is: it is not the user's."""
    words = error_of(done)
    _, found, cause = words.partition("Caused by: ")
    causes = re.split(r"(?:^| )\d+: ", cause) if found else [words]
    said = [each for each in causes if each not in {"", "failed to parse given descriptor"}]
    return re.sub(r" at line \d+ column \d+", "", ": ".join(said))


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Dora's own words, without its source locations and backtraces."""
    text = re.sub(r"\n\s*(Location|Stack backtrace):.*", "", done.stderr, flags=re.DOTALL)
    words = [line.strip() for line in text.splitlines() if line.strip(" \n-")]
    return " ".join(word for word in words if word != "[ERROR]") or "no reason given"
