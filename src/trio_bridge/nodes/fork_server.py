"""A process that has imported what the shipped nodes import, and forks to become one.

    python -m trio_bridge.nodes.fork_server FOLDER

A node that begins as a program of its own has 0.3 s of importing to do, and four begin at once:
that takes the processors from the sessions that other instances serve. A forked one has nothing
to import, and they are forked one by one.

Dora starts a program for each node all the same, and watches it: a stand-in, which is a shell
and costs a millisecond. It makes a pipe of its process number's name in the folder, writes a
line into the pipe `wake`, and reads one line from its own:

- `exit CODE` or `signal NUMBER`: how the node has ended, and the stand-in ends the same way;
- `alone`: it is to begin as a program, since its environment has what only works from the
  start, or something is wrong;
- no line: the node and this process are gone.

The node has the output, the environment, the directory, the processors and the priority of its
stand-in, and the kernel kills it when that ends. While it runs, a link in the place of the pipe
tells its process number. If this process dies its nodes go on, and those that end well say so
themselves.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import select
import signal
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Final, Self

from trio_bridge.nodes import ALL, OWN
from trio_bridge.nodes.gently import import_gently

INTERVAL: Final = 0.1
"""Seconds from one fork to the next. A node computes for 30 ms until it waits for the others:
two at once would take both processors of a small machine."""

RETRY: Final = 0.005
"""Seconds until a stand-in that has not opened its pipe yet is looked at again."""

WAKE: Final = "wake"

FORKED: Final = (*OWN, "probe")
NODES: Final = "trio_bridge.nodes."

_FROM_THE_START: Final = (
    *("PYTHON", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "MIMALLOC_", "JE_", "_RJEM_"),
    *("OMP_", "OPENBLAS_", "GOTO_", "MKL_", "NPY_", "ARROW_"),
)
"""How variables begin that are read when a program begins, or when a library is loaded."""


class ForkServer:
    """Forks a node for each stand-in.

    Args:
        folder: Where the stand-ins have their pipes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = os.getpid()
        # Also for writing: it would else be at its end whenever no stand-in has it open.
        self._wake = os.open(folder / WAKE, os.O_RDWR | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._forked: dict[int, tuple[int, int, int]] = {}
        """By a descriptor of its process: a node's process, its stand-in, the latter's pipe."""
        self._next_fork = 0.0
        self._pipe = -1

    def say_end(self) -> None:
        """In a node that has come to its end: say so, if the server has gone and cannot."""
        if os.getppid() != self._pid:
            # The kernel tells of the stand-in's reading as it does of its end: by the signal.
            fcntl.fcntl(self._pipe, fcntl.F_SETFL, os.O_NONBLOCK)
            _say(self._pipe, "exit 0")

    def serve(self) -> str:
        """Fork nodes for ever; returns in a node, with the name of its module."""
        while True:
            # The pipes tell who waits, whatever has been read from `wake`.
            waiting = list(self._stand_ins())
            for pid in waiting:
                # One is forked at a time, and none must wait for one that does not read.
                if time.monotonic() >= self._next_fork:
                    module = self._answer(pid)
                    if module is not None:
                        return module
            now = time.monotonic()
            patience = 1000 * max(self._next_fork - now, RETRY) if waiting else None
            for ready, _ in self._poll.poll(patience):
                if ready == self._wake:
                    os.read(self._wake, 4096)
                else:
                    self._reap(ready)

    def _stand_ins(self) -> Iterator[int]:
        """The stand-ins that wait for an answer. What is left of those that have ended goes."""
        for entry in os.scandir(self._folder):
            if not entry.name.isdigit():
                continue
            with suppress(FileNotFoundError):
                if not Path(f"/proc/{entry.name}").exists():
                    Path(entry.path).unlink()
                elif stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode):
                    yield int(entry.name)

    def _answer(self, pid: int) -> str | None:
        """Fork a node, or say what else is to be done. In the node: its module."""
        place = self._folder / str(pid)
        try:
            pipe = os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            # It has not opened it yet.
            return None
        place.unlink(missing_ok=True)
        try:
            with _StandIn(pid) as stand_in:
                node = os.fork() if stand_in.can_be_forked else None
                if node == 0:
                    self._let_go()
                    stand_in.take_its_place(pipe)
                    self._pipe = pipe
                    return stand_in.module
        except Exception:  # noqa: BLE001  whatever is wrong with one, the others are served
            if os.getpid() != self._pid:
                _say(pipe, "alone")
                os._exit(1)
            node = None
        if node is None:
            _say(pipe, "alone")
            return None
        self._next_fork = time.monotonic() + INTERVAL
        with suppress(OSError):
            # On a full disk the stand-in counts as the node: what ends it ends both.
            place.symlink_to(str(node))
        watch = os.pidfd_open(node)
        self._poll.register(watch, select.POLLIN)
        self._forked[watch] = node, pid, pipe
        return None

    def _let_go(self) -> None:
        """Close what is the server's and no node's: the pipe of another would keep its stand-in
        from seeing that both are gone."""
        os.close(self._wake)
        for watch, (_, _, pipe) in self._forked.items():
            os.close(watch)
            os.close(pipe)

    def _reap(self, watch: int) -> None:
        node, stand_in, pipe = self._forked.pop(watch)
        self._poll.unregister(watch)
        os.close(watch)
        code = os.waitstatus_to_exitcode(os.waitpid(node, 0)[1])
        (self._folder / str(stand_in)).unlink(missing_ok=True)
        _say(pipe, f"signal {-code}" if code < 0 else f"exit {code}")


class _StandIn:
    """What a node takes over from its stand-in.

    Raises:
        OSError: It has ended, or is not ours to look at.
        ValueError: There is no node of its name.
    """

    def __init__(self, pid: int) -> None:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        pairs = (entry.partition(b"=") for entry in entries if b"=" in entry)
        self._environment = {name: value for name, _, value in pairs if name}
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        name = next((word for word in FORKED if word in words), None)
        if name is None:
            raise ValueError(f"{words} names none of {FORKED}")
        self.module = f"{NODES}{name}"
        self._directory = Path(f"/proc/{pid}/cwd").readlink()
        self._processors = os.sched_getaffinity(pid)
        self._priority = os.getpriority(os.PRIO_PROCESS, pid)
        status = Path(f"/proc/{pid}/stat").read_bytes()
        self._daemon = int(status[status.rindex(b")") + 2 :].split()[1])
        self._output = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        try:
            self._errors = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY)
        except OSError:
            os.close(self._output)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A copy that stays open would keep Dora from seeing the node's end.
        os.close(self._output)
        os.close(self._errors)

    @property
    def can_be_forked(self) -> bool:
        """Whether its environment is no other than ours where that has had its effect."""
        theirs = {k: v for k, v in self._environment.items() if _is_early(k)}
        return theirs == {k: v for k, v in os.environb.items() if _is_early(k)}

    def take_its_place(self, pipe: int) -> None:
        """Be the node, in the forked process. The kernel kills it when the stand-in ends, even
        where it hangs: for Dora the stand-in is the node, and what it kills is gone.

        It does so at any `read` of the stand-in's that returns, so there must be but one.
        """
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        poll = select.poll()
        poll.register(pipe, 0)
        if poll.poll(0):
            # It has ended before the kernel was told.
            os.kill(os.getpid(), signal.SIGKILL)
        from trio_bridge.nodes.host import DAEMON_VARIABLE  # of what has been imported gently

        os.dup2(self._output, 1)
        os.dup2(self._errors, 2)
        os.chdir(self._directory)
        os.sched_setaffinity(0, self._processors)
        os.setpriority(os.PRIO_PROCESS, 0, self._priority)
        os.environb.clear()
        os.environb.update(self._environment)
        os.environ[DAEMON_VARIABLE] = str(self._daemon)
        time.tzset()
        sys.argv = [self.module]
        _call_it(sys.executable, "-m", self.module)


def _say(pipe: int, line: str) -> None:
    """Give a stand-in its answer; it may have ended."""
    with suppress(OSError):
        os.write(pipe, f"{line}\n".encode())
    os.close(pipe)


def _is_early(name: bytes) -> bool:
    return name.startswith(tuple(map(str.encode, _FROM_THE_START)))


def _call_it(*words: str) -> None:
    """Have `ps` show other words than those that this process was started with, if there is
    room: in the place of the old ones, as there is no other without a privilege."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    line = b"".join(word.encode() + b"\0" for word in words)
    if len(line) <= end - begin:
        ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)


def main() -> None:
    """Import, and fork."""
    # Python sees a thread, and warns: the allocator's of pyarrow, which is prepared for a fork.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    import_gently((*ALL, *(f"{NODES}{name}" for name in FORKED)))
    from trio_bridge.dora.codec import prepare
    from trio_bridge.dora.contract import ROWS

    prepare(ROWS.values())
    # Nothing of it is looked at by the collector of a node, which would copy it.
    gc.collect()
    gc.freeze()
    server = ForkServer(Path(sys.argv[1]))
    run = sys.modules[server.serve()].main

    import trio

    if iscoroutinefunction(run):
        trio.run(run)
    else:
        run()
    server.say_end()


if __name__ == "__main__":
    main()
