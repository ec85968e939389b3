"""A server as it runs: the registry of sessions, what the front door asks of it, and the drain.

It listens first, and answers what it can while the backends start; then sessions begin. In the
end accepting stops, sessions are drained for a bounded time, and who still waits is told.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType

import structlog
import trio
from attrs import define, evolve, field

from trio_bridge.backend import Backend
from trio_bridge.closing import GOING_AWAY, ending_for
from trio_bridge.doors import realtime as realtime_door
from trio_bridge.doors.backlog import Backlog
from trio_bridge.doors.exchange import HttpRequest, HttpResponse, error_response
from trio_bridge.doors.front import serve_connection
from trio_bridge.doors.http import Site, Status, retry_after
from trio_bridge.doors.keys import Keys
from trio_bridge.doors.minting import Mint
from trio_bridge.doors.origins import Origins
from trio_bridge.doors.realtime import Handshake
from trio_bridge.errors import BackendUnavailable, KeyRefused, TransportClosed
from trio_bridge.models import Models, fitting
from trio_bridge.realtime.engine import MAX_SECONDS, RealtimeEngine
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import Codec
from trio_bridge.session import Session, SessionLimits
from trio_bridge.settings import Settings
from trio_bridge.transport import Transport

log = structlog.get_logger(__name__)

RETRY_AFTER = 5.0
"""Seconds after which whom a server that starts or stops has refused may ask again: by then it
may serve, another has its address, or the balancer knows."""

STARTING = "the server is starting"
STOPPING = "the server is stopping"
COLD = "no dataflow is warm"

WAIT_MOST = 8.0
"""Seconds that the answer to an upgrade is held back at most while the server starts. Clients
give a handshake 10 s, as a rule, and should hear before that when to come again."""

FAREWELL = 1.0
"""Seconds that those who waited for a server that never came to serve have to take their
answer."""


@define(eq=False)
class Bridge:
    """A running server. Sessions come and go by themselves; `shutdown` ends them all.

    Attributes:
        address: Where it listens: host and port.
    """

    settings: Settings
    address: tuple[str, int]
    _models: Models = field(init=False)
    """From `begin` on, like the nursery of the sessions."""
    _nursery: trio.Nursery = field(init=False)
    _serving: bool = field(default=False, init=False)
    _keys: Keys = field(init=False)
    _origins: Origins = field(init=False)
    _site: Site = field(init=False)
    _started_at: float = field(factory=trio.current_time, init=False)
    _sessions: dict[str, Session] = field(factory=dict, init=False)
    _beginning: list[Backend] = field(factory=list, init=False)
    """Of the sessions that were opened and have not begun to run."""
    _empty: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _started: trio.Event = field(factory=trio.Event, init=False)
    """It serves, or never will."""
    _shutdown: trio.Event = field(factory=trio.Event, init=False)
    _drained: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        server = self.settings.server
        self._keys = Keys(server.secret) if server.secret else Keys()
        self._origins = Origins(server.cors_origins)
        mint = Mint(self._keys, lambda: int(time.time()), strict=server.strict)
        models = (realtime_door.DEFAULT_MODEL, *self.settings.models)
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
        self._started.set()

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
        self._nursery.start_soon(self._run_session, session, backend)
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

    @property
    def starting(self) -> bool:
        """See `App.starting`."""
        return not self._started.is_set()

    async def wait_started(self, request: HttpRequest) -> None:
        """See `App.wait_started`: as long as a session would wait for its place, and a client
        for its upgrade."""
        if realtime_door.serves(request.path):
            with trio.move_on_after(self._patience(request)):
                await self._started.wait()

    def _patience(self, request: HttpRequest) -> float:
        try:
            model = realtime_door.handshake(request, self._keys, now=time.time()).model
        except KeyRefused:
            model = realtime_door.DEFAULT_MODEL  # which is told when it serves
        dataflow = fitting(model, self.settings.models) or self.settings.dora.dataflow
        return min(self.settings.of_dataflow(dataflow).wait_timeout, WAIT_MOST)

    def admit(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse a WebSocket before its upgrade, or let it pass (None)."""
        if (closed := self._closed) is not None:
            return _unavailable(closed)
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
        return _unavailable(unavailable)

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
        status = Status(
            state="starting",
            not_ready=self._closed,
            active_sessions=len(self._sessions),
            uptime=trio.current_time() - self._started_at,
        )
        if not self._serving:
            return status
        cold = None if self._models.ready else BackendUnavailable(COLD, retry_after=RETRY_AFTER)
        return evolve(
            status,
            state="healthy" if self._models.healthy else "degraded",
            not_ready=status.not_ready or cold,
            details=self._models.status(),
        )

    @property
    def _closed(self) -> BackendUnavailable | None:
        """Why nobody is let in now, if that is so. Of a server that stops there may still be
        connections from before: whoever asks again is served elsewhere."""
        if self._shutdown.is_set():
            return BackendUnavailable(STOPPING, retry_after=RETRY_AFTER)
        if not self._serving:
            return BackendUnavailable(STARTING, retry_after=RETRY_AFTER)
        return None

    # --- life ---

    def begin(self, models: Models, nursery: trio.Nursery) -> None:
        """Serve sessions from now on: they are answered by `models`, and live in `nursery`."""
        self._models, self._nursery = models, nursery
        self._serving = True
        self._started.set()

    async def serve(
        self,
        listeners: list[Backlog],
        tls: ssl.SSLContext | None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve connections until the shutdown, and see them off."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as acceptors:
                    await acceptors.start(
                        partial(
                            trio.serve_listeners,
                            partial(serve_connection, app=self, tls=tls),
                            listeners,
                            handler_nursery=connections,
                        )
                    )
                    task_status.started()
                    await self.wait_shutdown()
                    acceptors.cancel_scope.cancel()
                await self._drain()
                # Once it has served, nobody waits for an answer any more.
                patience = 0 if self._serving else FAREWELL
                connections.cancel_scope.deadline = trio.current_time() + patience

    async def _drain(self) -> None:
        for session in list(self._sessions.values()):
            session.end(GOING_AWAY)
        with trio.move_on_after(self.settings.server.drain_timeout):
            while self._sessions:
                await self._empty.park()
        if self._sessions:
            log.warning("sessions cut off", sessions=len(self._sessions))
        self._drained.set()

    async def wait_drained(self) -> None:
        """Wait until the sessions have ended after a shutdown, or have had their time."""
        await self._drained.wait()


def _unavailable(why: BackendUnavailable) -> HttpResponse:
    return error_response(
        503,
        f"No session can be had now: {why}.",
        code="no_capacity",
        headers=(retry_after(why),),
    )
