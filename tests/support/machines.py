"""Two machines on one: network namespaces, with a wire between them that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

LISTENING = "0A"
"""The state of a socket, as `/proc/net/tcp` has it."""


@frozen
class Machine:
    """A network namespace.

    Attributes:
        name: The namespace's.
        address: On the wire to the other one.
        prefix: Runs a command there, in the process that starts it.
    """

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def pids(self) -> set[int]:
        """The processes there."""
        said = ip("netns", "pids", self.name)
        return {int(word) for word in said.split()}

    def listens(self) -> set[int]:
        """The TCP ports that something listens on there."""
        said = ip("netns", "exec", self.name, "cat", "/proc/net/tcp", "/proc/net/tcp6")
        rows = [line.split() for line in said.splitlines()]
        return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}

    def commands(self) -> list[str]:
        """The command lines of the processes there."""
        found = []
        for pid in self.pids():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            found.append(command.replace(b"\0", b" ").decode().strip())
        return found


@frozen
class TwoMachines:
    """`near` can be reached from this process at `door`; `far` only from `near`."""

    near: Machine
    far: Machine
    door: str

    def cut(self) -> None:
        """Take the wire between them down."""
        ip("-n", self.far.name, "link", "set", "wire", "down")

    def mend(self) -> None:
        """Bring it up again."""
        ip("-n", self.far.name, "link", "set", "wire", "up")


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can be."""
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no `{program}` (Debian: iproute2, util-linux)"
    name = f"tb{os.getpid()}-try"
    done = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return f"network namespaces are not permitted: {done.stderr.strip()}"
    ip("netns", "del", name)
    return ""


@contextmanager
def two_machines() -> Iterator[TwoMachines]:
    """Make them; skips the test, and says why, where that is not permitted."""
    reason = why_not()
    if reason:
        pytest.skip(f"TWO MACHINES WERE NOT TESTED: {reason}")
    me = os.getpid()
    net = f"10.99.{me % 250}"
    near, far = Machine(f"tb{me}-near", f"{net}.1"), Machine(f"tb{me}-far", f"{net}.2")
    door = f"tb{me}"
    with ExitStack() as stack:
        for machine in (near, far):
            ip("netns", "add", machine.name)
            # Wires go with the namespace they end in.
            stack.callback(ip, "netns", "del", machine.name)
            ip("-n", machine.name, "link", "set", "lo", "up")
        ends = ("type", "veth", "peer", "name")
        ip("link", "add", "wire", "netns", near.name, *ends, "wire", "netns", far.name)
        ip("link", "add", door, *ends, "door", "netns", near.name)
        for machine in (near, far):
            ip("-n", machine.name, "addr", "add", f"{machine.address}/30", "dev", "wire")
            ip("-n", machine.name, "link", "set", "wire", "up")
        ip("addr", "add", f"{net}.5/30", "dev", door)
        ip("-n", near.name, "addr", "add", f"{net}.6/30", "dev", "door")
        ip("link", "set", door, "up")
        ip("-n", near.name, "link", "set", "door", "up")
        yield TwoMachines(near, far, f"{net}.6")
