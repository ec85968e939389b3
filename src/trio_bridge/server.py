"""The server from its start to its end, inside an `async with` or as a task."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import trio
from attrs import evolve

from trio_bridge.audio.encodings import CODINGS
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.backend import Backend
from trio_bridge.bridge import Bridge
from trio_bridge.doors.backlog import Backlog
from trio_bridge.doors.listeners import open_listeners
from trio_bridge.doors.tls import server_context
from trio_bridge.hearing import LISTEN_RATE
from trio_bridge.models import Models, open_models
from trio_bridge.settings import Settings

SPEECH_RATES = (16_000, 22_050, 32_000)
"""Hz: what synthesisers usually speak at. Any other rate works as well."""

STOP_TIMEOUT = 2.0
"""Seconds the backend may take to stop once the sessions are gone."""


async def _house(
    settings: Settings,
    models: AbstractAsyncContextManager[Models],
    task_status: trio.TaskStatus[Bridge],
) -> None:
    server = settings.server
    with trio.CancelScope() as shield:
        # Certificate and address first: what is wrong with them is said at once, not after a
        # dataflow has started.
        tls = server_context(server.tls_cert, server.tls_key)
        async with open_listeners(server.host, server.port) as listeners:
            host, port = listeners[0].socket.getsockname()[:2]
            bridge = Bridge(settings, (host, port))
            async with (
                _open_doors(bridge, listeners, tls),
                models as opened,
                trio.open_nursery() as sessions,
            ):
                _make_filters()
                shield.shield = True
                bridge.begin(opened, sessions)
                task_status.started(bridge)
                await bridge.wait_drained()
                shield.deadline = trio.current_time() + STOP_TIMEOUT
                sessions.cancel_scope.cancel()


@asynccontextmanager
async def _open_doors(
    bridge: Bridge, listeners: list[Backlog], tls: ssl.SSLContext | None
) -> AsyncGenerator[None, None]:
    """Serve connections. However the context is left, the server is shut down: also when it is
    cancelled, or the start fails, with clients that wait for it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_shut_down_at_the_end, bridge)
        await nursery.start(bridge.serve, listeners, tls)
        yield
        nursery.cancel_scope.cancel()


async def _shut_down_at_the_end(bridge: Bridge) -> None:
    try:
        await trio.sleep_forever()
    finally:
        bridge.shutdown()


def _make_filters() -> None:
    # The first resampler of each kind takes 20 ms, which would be the first session's.
    for rate in {coding.sample_rate for coding in CODINGS.values()}:
        StreamResampler(rate, LISTEN_RATE, quality="best")
        for speech in SPEECH_RATES:
            StreamResampler(speech, rate, quality="fast")


@asynccontextmanager
async def open_bridge(
    settings: Settings | None = None, *, backend: Backend | None = None
) -> AsyncGenerator[Bridge, None]:
    """Run a server inside an `async with`; leaving it drains and stops everything.

    Args:
        settings: Where to listen, which dataflows, and so on. Default: `Settings()`.
        backend: Answers all sessions, instead of Dora dataflows; stays the caller's.

    Yields:
        The server, listening.

    Raises:
        AddressError: The address cannot be had.
        DataflowError: A dataflow is wrong or did not come up.
        SettingsError: A file of the certificate cannot be used.
        RuntimeFailed: Dora's coordinator or daemon did not start.
    """
    settings = settings or Settings()
    if backend is not None:
        settings = evolve(settings, models={})
    try:
        async with trio.open_nursery() as nursery:
            models = nullcontext(Models(backend)) if backend else open_models(settings)
            bridge: Bridge = await nursery.start(_house, settings, models)
            try:
                yield bridge
            finally:
                bridge.shutdown()
    except BaseExceptionGroup as group:
        raise _sole(group) from None


async def serve(
    settings: Settings | None = None,
    *,
    backend: Backend | None = None,
    task_status: trio.TaskStatus[Bridge] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a server until it is cancelled or its `shutdown` is called.

    `await nursery.start(trio_bridge.serve, settings)` gives the `Bridge`, listening.
    Arguments and errors as for `open_bridge`.
    """
    async with open_bridge(settings, backend=backend) as bridge:
        task_status.started(bridge)
        await bridge.wait_shutdown()


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group of one, so that callers see what was raised."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
