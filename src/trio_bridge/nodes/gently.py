"""Work that a starting node does at a low priority, so that running sessions do not hear it.

On Linux the priority is a thread's own. A thread that lowers its own and then ends leaves the
process as it was; a process that lowers its own needs a privilege to raise it again.

A low priority alone leaves whoever wakes up waiting for what is left of a turn, some
milliseconds, and a frame of audio wakes up six threads on its way. So the thread asks for long
turns as well: from Linux 6.12 on, those that ask for shorter ones, as all do by default, break
into them at once. Its share of the processor stays what its priority gives it.

This module begins every node, before anything has a low priority: it imports nothing large.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

NICE = 10
"""A tenth of the weight of what runs at 0: a busy machine still starts a node in time."""

TURN = 100_000_000
"""Nanoseconds, the longest turn there is. The usual ones are of 1 to 3 ms."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number; the C library has no function for it."""


def gently(work: Callable[[], T]) -> T:
    """Do some work in a thread of low priority, and wait for it. Threads and processes that it
    starts keep the low priority for good: it should start none that will compute."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        if sys.platform == "linux":
            _step_back()
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001  it is raised where it is waited for
            errors.append(exc)

    thread = threading.Thread(target=run, name="gently")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def import_gently(modules: Iterable[str]) -> None:
    """Import what is large ahead of its use. What cannot be imported fails where it is used."""

    def run() -> None:
        for module in modules:
            import_module(module)

    gently(run)


def _step_back() -> None:
    """Give this thread a low priority and long turns."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    # Imported at the low priority.
    import ctypes
    import struct

    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    # size, policy, flags, nice, priority, runtime, deadline, period. A kernel that knows no
    # turns of one's own takes no notice of the runtime.
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, TURN, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)
