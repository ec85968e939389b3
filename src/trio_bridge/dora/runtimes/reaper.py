"""Ends what is left of a runtime when its bridge is killed: a program, run by its path.

Coordinator and daemon go with the bridge by the kernel's doing, and so do the nodes that ship.
Other people's nodes do not: Dora's library goes on waiting for a daemon that has died. This
process waits for the bridge's end, which closes its standard input, and kills them. It imports
next to nothing, since there is one for every bridge.

    python reaper.py DIRECTORY VARIABLE
"""

from __future__ import annotations

import os
import shutil
import signal
import sys

ROUNDS = 20
"""Looks at what runs. A process may start another between the look and its end; what was killed
is seen once more where it has not ended yet."""


def main() -> None:
    """Wait, kill, remove the runtime's directory."""
    directory, variable = sys.argv[1:]
    while os.read(0, 4096):
        pass
    wanted = os.fsencode(f"{variable}={directory}")
    for _ in range(ROUNDS):
        if not kill_all(wanted):
            break
    shutil.rmtree(directory, ignore_errors=True)


def kill_all(wanted: bytes) -> bool:
    """Kill the processes with an entry in their environment; tells whether there was one."""
    found = False
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as environment:
                    if wanted in environment.read().split(b"\0"):
                        os.kill(int(name), signal.SIGKILL)
                        found = True
            except OSError:
                continue
    return found


if __name__ == "__main__":
    main()
