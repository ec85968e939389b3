"""Processes that end with their parent (Linux). Imports nothing large: workers begin here."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
"""Loaded here, not in the child: between fork and exec nothing may take a lock."""


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends.

    For worker processes: call it first thing in the worker. Start such workers from a thread
    that lives as long as they should (the main thread), not from a pool of threads. Without
    it workers outlive a killed node and hold its pipes, and Dora never notices that the node
    has gone.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call; then no signal will ever come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def before_exec() -> None:
    """For `preexec_fn`: have the kernel kill the new process when the thread that forks ends.
    It must not be one of Trio's: those end when they have been idle for a while."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
