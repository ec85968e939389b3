"""The nodes that ship, each a program: `python -m trio_bridge.nodes.<name>`."""

from __future__ import annotations

import sys

from trio_bridge.nodes.gently import import_gently

ALL = (
    "numpy",
    "pyarrow",
    "dora",
    "trio_bridge.dora.contract",
    "trio_bridge.nodes.host",
    "trio_bridge.nodes.variables",
)
"""What every node imports, and the bulk of it."""

OWN = {
    "asr": ("trio_bridge.audio.pcm", "trio_bridge.nodes.decoder_pool"),
    "chat": ("trio_bridge.nodes.answering", "trio_bridge.nodes.recent"),
    "echo": ("trio_bridge.audio.resample",),
    "speech_monitor": ("trio_bridge.nodes.listening",),
    "tts": ("trio_bridge.nodes.recent", "trio_bridge.nodes.speaking"),
}
"""What of ours a node imports beside that; what these import comes with them."""

if sys.argv[:1] == ["-m"]:
    # A node begins here: Python says so while it looks for the module to run. All that it
    # imports is 0.3 s of work, which would be taken from the audio of the sessions that other
    # instances serve.
    _named = {arg.rpartition(".")[2] for arg in sys.orig_argv} & set(OWN)
    if _named:
        import_gently((*ALL, *(module for node in _named for module in OWN[node])))
