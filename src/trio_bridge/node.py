"""`python -m trio_bridge node`: a server on the dataflow whose node it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio_bridge.alongside import alongside
from trio_bridge.bridge import Bridge
from trio_bridge.dora.joined import JoinedBackend, open_joined_backend
from trio_bridge.errors import DataflowError
from trio_bridge.server import open_bridge
from trio_bridge.settings import Settings


@asynccontextmanager
async def open_joined_bridge(settings: Settings) -> AsyncGenerator[Bridge, None]:
    """Run a server on the dataflow that has started this process, until that stops.

    Its `shutdown` is called when the dataflow is stopped, so that clients are sent away in good
    order, and when it has broken.

    Raises:
        DataflowError: The bridge cannot work in the dataflow, it did not come up, or, on
            leaving, it has broken.
        AddressError: The address cannot be had.
        RuntimeFailed: Dora died before the dataflow was up.
        SettingsError: A file of the certificate cannot be used.
    """
    async with (
        open_joined_backend(settings.dora) as backend,
        open_bridge(settings, backend=backend) as bridge,
        alongside(_shut_down_with, backend, bridge),
    ):
        yield bridge
    if backend.problem is not None:
        raise DataflowError(backend.problem)


async def _shut_down_with(backend: JoinedBackend, bridge: Bridge) -> None:
    await backend.wait_over(bridge.settings.server.drain_timeout)
    bridge.shutdown()
