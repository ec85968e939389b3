"""The server: listeners, the registry of sessions, and the drain.

Two nurseries: connections are accepted in one and served in the other, so that accepting can
stop while those who are being served finish. What serves is shielded from the outside until
the drain is over, so that a cancelled server still says goodbye; the drain is bounded.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from types import MappingProxyType

import structlog
import trio
from attrs import define, field

from trio_bridge.audio.encodings import CODINGS
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.backend import Backend
from trio_bridge.closing import GOING_AWAY, ending_for
from trio_bridge.doors import realtime as realtime_door
from trio_bridge.doors.backlog import Backlog
from trio_bridge.doors.exchange import HttpRequest, HttpResponse, error_response
from trio_bridge.doors.front import serve_connection
from trio_bridge.doors.http import Site, Status
from trio_bridge.doors.keys import Keys
from trio_bridge.doors.minting import Mint
from trio_bridge.doors.origins import Origins
from trio_bridge.doors.realtime import Handshake
from trio_bridge.doors.tls import server_context
from trio_bridge.errors import AddressError, KeyRefused, TransportClosed
from trio_bridge.hearing import LISTEN_RATE
from trio_bridge.models import Models, open_models
from trio_bridge.realtime.engine import MAX_SECONDS, RealtimeEngine
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import Codec
from trio_bridge.session import Session, SessionLimits
from trio_bridge.settings import Settings
from trio_bridge.transport import Transport

log = structlog.get_logger(__name__)

BACKLOG = 512
"""Connections the kernel may hold for us: a storm of a few hundred is answered, not refused."""

SPEECH_RATES = (16_000, 22_050, 32_000)
"""Hz: what synthesisers usually speak at. Any other rate works as well."""

SHUTDOWN_RETRY_AFTER = 5.0
"""Seconds after which whom a stopping server refuses may ask again: by then another has its
address, or the balancer knows."""

STOPPING = "the server is stopping"

STOP_TIMEOUT = 2.0
"""Seconds the backend may take to stop once the sessions are gone."""


@define(eq=False)
class Bridge:
    """A running server. Sessions come and go by themselves; `drain` ends them all."""

    settings: Settings
    _models: Models
    _handlers: trio.Nursery
    address: tuple[str, int] = field(init=False)
    """Where it listens: host and port."""

    _keys: Keys = field(init=False)
    _origins: Origins = field(init=False)
    _site: Site = field(init=False)
    _started_at: float = field(factory=trio.current_time, init=False)
    _sessions: dict[str, Session] = field(factory=dict, init=False)
    _beginning: list[Backend] = field(factory=list, init=False)
    """Of the sessions that were opened and have not begun to run."""
    _empty: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _shutdown: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        server = self.settings.server
        self._keys = Keys(server.secret) if server.secret else Keys()
        self._origins = Origins(server.cors_origins)
        mint = Mint(self._keys, lambda: int(time.time()), strict=server.strict)
        models = (realtime_door.DEFAULT_MODEL, *self._models.named)
        self._site = Site(self._status, mint, models)

    @property
    def url(self) -> str:
        """Where the Realtime API is, e.g. `ws://127.0.0.1:8080/v1/realtime`."""
        return f"{'wss' if self._secure else 'ws'}://{self._netloc}/v1/realtime"

    @property
    def http_url(self) -> str:
        """The server's root, e.g. `http://127.0.0.1:8080`."""
        return f"{'https' if self._secure else 'http'}://{self._netloc}"

    @property
    def _secure(self) -> bool:
        return bool(self.settings.server.tls_cert)

    @property
    def _netloc(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The sessions that live now, by id; a view."""
        return MappingProxyType(self._sessions)

    def shutdown(self) -> None:
        """Begin the end: accept no more, send every session close 1001, stop the backend."""
        self._shutdown.set()

    async def wait_shutdown(self) -> None:
        """Wait until `shutdown` has been called."""
        await self._shutdown.wait()

    def open_session(
        self, transport: Transport, *, handshake: Handshake | None = None
    ) -> Session:
        """Begin a session over `transport`; it lives in the server, not in the caller.

        `handshake` is what the client asked for; default: nothing in particular.
        """
        asked = handshake or Handshake()
        ids = Ids()
        session_id = ids.session()
        server = self.settings.server
        backend = self._models.backend_for(asked.model, asked.wishes)
        engine = RealtimeEngine(
            session_id=session_id,
            model=asked.model,
            config=asked.config,
            capabilities=backend.capabilities,
            now=trio.current_time(),
            expires_at=int(time.time() + MAX_SECONDS),
            lead=server.lead,
            ids=ids,
            strict=asked.strict,
        )
        limits = SessionLimits(resume_window=server.resume_window)
        codec = Codec(asked.dialect, strict=asked.strict)
        session = Session(session_id, engine, backend, limits, codec=codec)
        session.attach(transport)
        self._sessions[session_id] = session
        if self._shutdown.is_set():
            # Admitted just before; those that are told to end have been told already.
            session.end(GOING_AWAY)
        self._beginning.append(backend)
        self._handlers.start_soon(self._run_session, session, backend)
        return session

    async def _run_session(self, session: Session, backend: Backend) -> None:
        self._beginning.remove(backend)
        log.info("session opened", session_id=session.id)
        try:
            await session.run()
        finally:
            del self._sessions[session.id]
            ending = session.ending
            log.info(
                "session closed",
                session_id=session.id,
                code=ending.code if ending else None,
                reason=ending.reason if ending else None,
            )
            if not self._sessions:
                self._empty.unpark_all()

    # --- the front door's view -------------------------------------------------------------

    def admit(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse a WebSocket before its upgrade, or let it pass (None)."""
        if self._shutdown.is_set():
            # A connection that was accepted before: whoever asks again is served elsewhere.
            return _unavailable(STOPPING, SHUTDOWN_RETRY_AFTER)
        refusal = self._origins.refusal(request)
        if refusal is not None:
            return refusal
        if not realtime_door.serves(request.path):
            return self._site.answer(request)
        if "call_id" in request.query:
            return error_response(
                501, "Calls (WebRTC and SIP) are not served here.", code="not_implemented"
            )
        return self._no_place(request)

    def _no_place(self, request: HttpRequest) -> HttpResponse | None:
        try:
            asked = realtime_door.handshake(request, self._keys, now=time.time())
        except KeyRefused:
            return None  # which is told after the upgrade
        backend = self._models.backend_for(asked.model, asked.wishes)
        # Upgrades come in bunches, and those of one turn of the loop have no places yet.
        unavailable = backend.refusal(self._beginning)
        if unavailable is None:
            return None
        log.warning("session refused", model=asked.model, reason=str(unavailable))
        return _unavailable(str(unavailable), unavailable.retry_after)

    async def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a plain HTTP request."""
        response = self._origins.refusal(request) or self._origins.preflight(request)
        return self._origins.shared(request, response or self._site.answer(request))

    async def websocket(self, request: HttpRequest, transport: Transport) -> None:
        """Serve one WebSocket until its session has let go of it."""
        strict = self.settings.server.strict
        try:
            asked = realtime_door.handshake(request, self._keys, now=time.time(), strict=strict)
        except KeyRefused as exc:
            await self._turn_away(transport, exc)
            return
        session = self.open_session(transport, handshake=asked)
        await session.released(transport)

    async def _turn_away(self, transport: Transport, exc: KeyRefused) -> None:
        # After the upgrade, as the live service does: clients can read no HTTP status.
        ending = ending_for(exc)
        problem = ProtocolError(str(exc), code=ending.error_code)
        message = Codec().dump(problem.to_event(Ids().event()))
        if message is not None:
            with suppress(TransportClosed):
                await transport.send(message)
        await transport.close(ending.code, ending.reason)

    def _status(self) -> Status:
        return Status(
            healthy=self._models.healthy,
            not_ready=self._not_ready(),
            active_sessions=len(self._sessions),
            uptime=trio.current_time() - self._started_at,
            details=self._models.status(),
        )

    def _not_ready(self) -> str | None:
        if self._shutdown.is_set():
            return STOPPING
        return None if self._models.ready else "no dataflow is warm"

    # --- life ---

    async def _drain(self) -> None:
        for session in list(self._sessions.values()):
            session.end(GOING_AWAY)
        while self._sessions:
            await self._empty.park()


def _unavailable(why: str, retry_after: float) -> HttpResponse:
    return error_response(
        503,
        f"No session can be had now: {why}.",
        code="no_capacity",
        headers=(("retry-after", str(max(math.ceil(retry_after), 1))),),
    )


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
        listeners = await _listen(server.host, server.port)
        async with (
            _closing(listeners),
            models as opened,
            trio.open_nursery() as handlers,
        ):
            bridge = Bridge(settings, opened, handlers)
            _make_filters()
            async with trio.open_nursery() as acceptors:
                await acceptors.start(
                    partial(
                        trio.serve_listeners,
                        partial(serve_connection, app=bridge, tls=tls),
                        listeners,
                        handler_nursery=handlers,
                    )
                )
                host, port = listeners[0].socket.getsockname()[:2]
                bridge.address = (host, port)
                shield.shield = True
                task_status.started(bridge)
                await bridge.wait_shutdown()
                acceptors.cancel_scope.cancel()
            drain = server.drain_timeout
            shield.deadline = trio.current_time() + drain + STOP_TIMEOUT
            with trio.move_on_after(drain) as patience:
                await bridge._drain()  # noqa: SLF001
            if patience.cancelled_caught:
                log.warning("sessions cut off", sessions=len(bridge.sessions))
            handlers.cancel_scope.cancel()


def _make_filters() -> None:
    # The first resampler of each kind takes 20 ms, which would be the first session's.
    for rate in {coding.sample_rate for coding in CODINGS.values()}:
        StreamResampler(rate, LISTEN_RATE, quality="best")
        for speech in SPEECH_RATES:
            StreamResampler(speech, rate, quality="fast")


@asynccontextmanager
async def _closing(listeners: list[Backlog]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()


async def _listen(host: str, port: int) -> list[Backlog]:
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        return [Backlog.of(listener) for listener in listeners]
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "the port is in use",
            errno.EACCES: "not permitted",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
        }
        inner = exc.errno if exc.errno is not None else getattr(exc.__cause__, "errno", None)
        why = reasons.get(inner or 0, exc.strerror or str(exc))
        raise AddressError(f"cannot listen on {host}:{port}: {why}") from exc


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
