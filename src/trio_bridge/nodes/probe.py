"""Attaches to a dataflow's node for nobody, and says so: by then all other nodes have attached.

What it is for: `dora/runtimes/attach.py`. Its environment says where to attach: `NODE_VARIABLE`
and `PORT_VARIABLE`.
"""

from __future__ import annotations

import os

NODE_VARIABLE = "_TRIO_BRIDGE_PROBE_NODE"
PORT_VARIABLE = "_TRIO_BRIDGE_PROBE_PORT"
ATTACHED = b"attached\n"


def main() -> None:
    """Stand still until all have attached.

    Raises:
        RuntimeError: Dora lets it not, or a node has ended.
    """
    from dora import Node

    _ = Node(os.environ[NODE_VARIABLE], daemon_port=int(os.environ[PORT_VARIABLE]))
    # Not by its exit code, which is lost where it was forked and the server has died.
    os.write(1, ATTACHED)
    # It does not let go of the node, which may take its time.
    os._exit(0)


if __name__ == "__main__":
    main()
