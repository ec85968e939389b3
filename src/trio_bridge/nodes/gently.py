"""Work that a starting node does at a low priority, so that running sessions do not hear it.

On Linux the priority is a thread's own. A thread that lowers its own and then ends leaves the
process as it was; a process that lowers its own needs a privilege to raise it again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TypeVar

NICE = 10
"""A tenth of the weight of what runs at 0: a busy machine still starts a node in time."""

T = TypeVar("T")


def gently(work: Callable[[], T]) -> T:
    """Do some work in a thread of low priority, and wait for it. Threads and processes that it
    starts keep the low priority for good: it should start none that will compute."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
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
