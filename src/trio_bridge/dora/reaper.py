"""Ends what is left of a runtime when its bridge is killed: a program, run by its path.

Coordinator and daemon go with the bridge by the kernel's doing, and so do the nodes that ship.
Other people's nodes do not: Dora's library goes on waiting for a daemon that has died. This
process waits for the bridge's end, which closes its standard input, and kills them. It imports
next to nothing, since there is one for every bridge.

    python reaper.py DIRECTORY VARIABLE VALUE
"""

from __future__ import annotations

import os
import shutil
import signal
import sys


def main() -> None:
    """Wait, kill, remove the runtime's directory."""
    directory, variable, value = sys.argv[1:]
    while os.read(0, 4096):
        pass
    wanted = f"{variable}={value}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as environment:
                    if wanted in environment.read().split(b"\0"):
                        os.kill(int(name), signal.SIGKILL)
            except OSError:
                continue
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
