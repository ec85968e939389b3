"""The language node: requests in, answers as text and tool calls out on `speak`.

`python -m trio_bridge.nodes.chat`. With `TRIO_BRIDGE_LLM_URL` it streams from a chat
completions server (`TRIO_BRIDGE_LLM_KEY`, `TRIO_BRIDGE_LLM_MODEL`; `TRIO_BRIDGE_LLM_TIMEOUT`:
the seconds that it may be silent), without it the built-in responder answers. It keeps nothing
between requests: each brings the whole conversation.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import attrs
import orjson
import trio
from attrs import define, field

from trio_bridge.dora.contract import Answer, Cancel, Request
from trio_bridge.messages import Failure, ResponseRequest
from trio_bridge.nodes.answering import (
    Answerer,
    Finish,
    Piece,
    Text,
    ToolDelta,
    ToolDone,
    parse_request,
)
from trio_bridge.nodes.gently import import_gently
from trio_bridge.nodes.host import NodeIO, open_node
from trio_bridge.nodes.recent import Recent
from trio_bridge.nodes.variables import Variable

RUNNING_MAX: Final = 64
"""Answers made at once, over all sessions: what a model server is asked in parallel."""

RUNNING_PER_SESSION: Final = 4
"""Answers of one session made at once; more wait, and nobody waits behind them."""

WAITING_MAX: Final = 1024
"""Requests that wait for their turn; one more fails at once. A request holds a conversation,
so this is what bounds the node's memory."""

REMEMBERED: Final = 4096
"""Cancellations that came before their request, which another port may delay by moments."""

PORT: Final = "speak"

Key: TypeAlias = tuple[str, str]
Emit: TypeAlias = Callable[[str, Answer], None]


@define(eq=False)
class _Outgoing:
    """The rows of one answer, numbered; the first carries how it is to be given."""

    key: Key
    emit: Emit
    delivery: str | None = None
    seq: int = 0

    def send(self, event: str, **fields: Any) -> None:
        data = self.delivery if self.seq == 0 else None
        self.emit(PORT, Answer(*self.key, self.seq, event, data=data, **fields))
        self.seq += 1

    def give(self, piece: Piece) -> None:
        match piece:
            case Text(text):
                self.send("text", text=text)
            case ToolDelta(call_id, name, arguments):
                self.send("tool_delta", call_id=call_id, name=name, arguments=arguments)
            case ToolDone(call_id, name, arguments):
                self.send("tool_done", call_id=call_id, name=name, arguments=arguments)

    def finish(self, finish: Finish) -> None:
        failure = finish.failure
        self.send(
            "done",
            status=finish.status,
            reason=finish.reason,
            usage=orjson.dumps(attrs.asdict(finish.usage)).decode(),
            error_code=failure.code if failure else None,
            error=failure.message if failure else None,
        )


@define(eq=False)
class Chat:
    """All answers under way, of all sessions.

    Sessions that wait take turns, however many requests each has.

    Args:
        answerer: What makes the answers.
        emit: Sends a row on a port; never waits.
        nursery: Where each answer has its task.
    """

    answerer: Answerer
    emit: Emit
    nursery: trio.Nursery
    _running: dict[Key, trio.CancelScope] = field(factory=dict, init=False)
    _waiting: dict[str, deque[Request]] = field(factory=dict, init=False)
    _cancelled_early: Recent[Key, None] = field(factory=lambda: Recent(REMEMBERED), init=False)

    def sessions(self) -> int:
        """How many sessions have an answer under way or waiting."""
        return len({session_id for session_id, _ in self._running} | self._waiting.keys())

    def take(self, row: Request | Cancel) -> None:
        """Take a row from either port, in any order of the ports."""
        key = row.session_id, row.response_id
        match row:
            case Cancel():
                self._cancel(key)
            case Request():
                if key in self._cancelled_early:
                    self._cancelled_early.pop(key, None)
                    self._end(key, Finish("cancelled"))
                elif key in self._running or self._queued(key) is not None:
                    # The first of the two will end the response.
                    pass
                elif sum(map(len, self._waiting.values())) >= WAITING_MAX:
                    self._fail(key, "too_many_requests", "too many answers are being made")
                else:
                    self._waiting.setdefault(row.session_id, deque()).append(row)
                    self._start_next()

    def _cancel(self, key: Key) -> None:
        if key in self._running:
            self._running[key].cancel()
            return
        row = self._queued(key)
        if row is None:
            # Either it has not come yet, or it is over and this never matters.
            self._cancelled_early.put(key, None)
            return
        self._waiting[key[0]].remove(row)
        if not self._waiting[key[0]]:
            del self._waiting[key[0]]
        self._end(key, Finish("cancelled"))

    def _queued(self, key: Key) -> Request | None:
        waiting = self._waiting.get(key[0], ())
        return next((row for row in waiting if row.response_id == key[1]), None)

    def _start_next(self) -> None:
        """Start what may start, one request of each session in turn."""
        for session_id in list(self._waiting):
            if len(self._running) >= RUNNING_MAX:
                return
            own = sum(1 for running, _ in self._running if running == session_id)
            if own < RUNNING_PER_SESSION:
                queue = self._waiting.pop(session_id)
                row = queue.popleft()
                if queue:
                    # Back in line, behind the others.
                    self._waiting[session_id] = queue
                scope = self._running[row.session_id, row.response_id] = trio.CancelScope()
                self.nursery.start_soon(self._answer, row, scope)

    async def _answer(self, row: Request, scope: trio.CancelScope) -> None:
        key = row.session_id, row.response_id
        try:
            out, request = self._read(row)
        except (ValueError, TypeError) as exc:
            finish = _failed("bad_request", f"the request cannot be read: {exc}")
            out = _Outgoing(key, self.emit)
        else:
            finish = Finish("cancelled")
            with scope:
                finish = await self._make(request, out)
        del self._running[key]
        out.finish(finish)
        self._start_next()

    async def _make(self, request: ResponseRequest, out: _Outgoing) -> Finish:
        try:
            return await self.answerer.answer(request, out.give)
        except Exception as exc:  # noqa: BLE001  one odd request must not end everybody's node
            traceback.print_exception(exc, file=sys.stderr)
            return _failed("internal_error", "the language node failed on this request")

    def _read(self, row: Request) -> tuple[_Outgoing, ResponseRequest]:
        request = parse_request(row.data)
        delivery = {
            "modality": request.output_modality,
            "voice": request.voice,
            "speed": request.speed,
        }
        key = row.session_id, row.response_id
        return _Outgoing(key, self.emit, orjson.dumps(delivery).decode()), request

    def _end(self, key: Key, finish: Finish) -> None:
        _Outgoing(key, self.emit, _AS_TEXT).finish(finish)

    def _fail(self, key: Key, code: str, message: str) -> None:
        self._end(key, _failed(code, message))


_AS_TEXT: Final = '{"modality":"text"}'
"""Delivery of an answer that has nothing to speak."""


def _failed(code: str, message: str) -> Finish:
    return Finish("failed", failure=Failure(code, message))


@asynccontextmanager
async def open_answerer(environment: Mapping[str, str]) -> AsyncGenerator[Answerer, None]:
    """The answerer that the environment asks for.

    Raises:
        ValueError: `TRIO_BRIDGE_LLM_URL` is not an HTTP URL, or `TRIO_BRIDGE_LLM_TIMEOUT` no
            number of seconds.
    """
    url = environment.get(Variable.LLM_URL, "").strip()
    if not url:
        import_gently(["trio_bridge.nodes.responder"])
        from trio_bridge.nodes.responder import Responder

        yield Responder()
        return
    import_gently(["trio_bridge.nodes.completions"])
    from trio_bridge.nodes.completions import Patience, open_completions

    key = environment.get(Variable.LLM_KEY, "").strip() or None
    model = environment.get(Variable.LLM_MODEL, "").strip() or None
    silence = _timeout(environment)
    patience = Patience(first=silence, idle=silence)
    async with open_completions(url, key=key, model=model, patience=patience) as completions:
        yield completions


def _timeout(environment: Mapping[str, str]) -> float:
    from trio_bridge.nodes.completions import TIMEOUT

    given = environment.get(Variable.LLM_TIMEOUT, "").strip()
    try:
        seconds = float(given or TIMEOUT)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise ValueError(
            f"TRIO_BRIDGE_LLM_TIMEOUT={given!r} is not a number of seconds above 0"
        )
    return seconds


async def serve(io: NodeIO, answerer: Answerer) -> None:
    """Answer what comes in until the dataflow stops."""
    async with trio.open_nursery() as nursery:
        chat = Chat(answerer, io.send, nursery)
        io.sessions = chat.sessions
        async for batch in io:
            for row in batch.rows:
                chat.take(row)
        nursery.cancel_scope.cancel()


async def main() -> None:
    """Be the node. Ends the process with a word on stderr if the settings are wrong."""
    failure = None
    async with open_node("chat") as io, AsyncExitStack() as stack:
        try:
            answerer = await stack.enter_async_context(open_answerer(os.environ))
        except ValueError as exc:
            # Raised outside, or the nursery would wrap it and show its insides.
            failure = str(exc)
        else:
            await serve(io, answerer)
    if failure is not None:
        raise SystemExit(f"chat: {failure}")


if __name__ == "__main__":
    trio.run(main)
