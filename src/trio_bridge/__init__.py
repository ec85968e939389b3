"""A voice server on Trio: Realtime API clients in front, Dora dataflows behind.

The public API:

- `open_bridge(settings, backend=…)` and `serve(settings, backend=…)` run the server in any
  Trio program; `Bridge` is the running server.
- `Settings` says where it listens and what answers.
- `Backend` is what answers a session; `InProcessBackend` is one in plain Python.
- `StreamResampler` changes the sample rate of a stream, whatever its chunking.
- `BridgeError` is the root of what these raise on purpose (`trio_bridge.errors`).
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
"""As in `typing`, whose own import takes nearly as long as the interpreter's start. A node
begins here at the normal priority, which those who talk would hear; see `nodes`."""

if TYPE_CHECKING:
    from typing import Any

    from trio_bridge.audio.resample import StreamResampler
    from trio_bridge.backend import Backend, BackendSession, InProcessBackend
    from trio_bridge.bridge import Bridge
    from trio_bridge.errors import BridgeError
    from trio_bridge.server import open_bridge, serve
    from trio_bridge.settings import Settings

__all__ = [
    "Backend",
    "BackendSession",
    "Bridge",
    "BridgeError",
    "InProcessBackend",
    "Settings",
    "StreamResampler",
    "open_bridge",
    "serve",
]

_HOMES = {
    "Backend": "backend",
    "BackendSession": "backend",
    "Bridge": "bridge",
    "BridgeError": "errors",
    "InProcessBackend": "backend",
    "Settings": "settings",
    "StreamResampler": "audio.resample",
    "open_bridge": "server",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a node of a dataflow imports this package too, and needs no server.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
