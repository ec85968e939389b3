"""The nodes that ship, each a program: `python -m trio_bridge.nodes.<name>`."""

from __future__ import annotations

import sys

from trio_bridge.nodes.gently import import_gently

if sys.argv[:1] == ["-m"]:
    # A node begins here: Python says so while it looks for the module to run. These are most
    # of its imports, 0.25 s of work, which would be taken from the audio of the sessions that
    # other instances serve.
    import_gently(("numpy", "pyarrow", "trio_bridge.dora.node_io", "trio_bridge.dora.contract"))
