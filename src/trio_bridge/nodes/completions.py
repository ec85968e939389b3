"""Answers from any OpenAI-compatible chat completions server, streamed as they are made."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import orjson
import trio
from attrs import define, field, frozen

from trio_bridge.messages import Failure, ResponseRequest
from trio_bridge.nodes.answering import Finish, Give
from trio_bridge.nodes.completion_stream import CompletionStream
from trio_bridge.nodes.prompts import chat_request
from trio_bridge.nodes.server_quirks import REFUSALS, adapted, newly_refused

Json = dict[str, Any]


TIMEOUT: Final = 60.0
"""Seconds that a server may be silent; somebody waits for its answer to be spoken."""


@frozen
class Patience:
    """How long the server may take, in seconds.

    Attributes:
        connect: To accept a connection.
        first: To begin its answer, counted from the request: local servers load a model first.
        idle: Between two pieces of an answer.
        closing: To end the stream after it said that it is done; then the connection is
            closed instead of kept.
    """

    connect: float = 10.0
    first: float = TIMEOUT
    idle: float = TIMEOUT
    closing: float = 1.0


CONNECTIONS_MAX: Final = 64
"""Connections at once, as many as the node answers at once; 8 are kept for 60 s."""

REPLY_MAX: Final = 64 * 1024
"""Bytes read of a reply that is not a stream: an error, or the list of models."""

DETAIL_MAX: Final = 300
"""Characters of the server's own words that an error repeats."""

_EXPLAINED: Final[Mapping[int, tuple[str, str]]] = {
    401: ("llm_unauthorized", "refuses the key (TRIO_BRIDGE_LLM_KEY)"),
    403: ("llm_unauthorized", "does not permit this with the key given (TRIO_BRIDGE_LLM_KEY)"),
    404: ("llm_not_found", "knows no such model or address"),
    429: ("llm_rate_limited", "is asked too often, or its quota is used up"),
}


class LanguageModelError(Exception):
    """The server did not do what was asked; the message is fit for a client."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def endpoint(url: str, path: str) -> str:
    """The address of `path` (such as `chat/completions`) on a server given by its base URL or
    by the URL of its completions."""
    return f"{re.sub('/(chat/completions)?/*$', '', url.strip())}/{path}"


@define(eq=False)
class Completions:
    """A chat completions server.

    Args:
        client: What connections are made with; see `open_completions`.
        url: The server's base URL, or that of its completions.
        key: Sent as a bearer token; appears in no message.
        model: Which model; None asks the server and takes its first. The model a client names
            is one of the Realtime API's and is never passed on.
        patience: Deadlines.
    """

    client: httpx2.AsyncClient
    url: str
    key: str | None = field(default=None, repr=False)
    model: str | None = None
    patience: Patience = field(factory=Patience)
    _first_model: str | None = field(default=None, init=False)
    _refused: frozenset[str] = field(default=frozenset(), init=False)
    """What the server is known not to take; see `server_quirks`."""

    async def answer(self, request: ResponseRequest, give: Give) -> Finish:
        """See `Answerer.answer`. Being cancelled closes the connection."""
        stream = CompletionStream(request, give)
        deadline = trio.current_time() + self.patience.first
        try:
            body = chat_request(request, await self._model_name(deadline))
            await self._run(body, stream, deadline)
        except LanguageModelError as exc:
            return stream.failed(Failure(exc.code, str(exc)))
        return stream.finish()

    async def _run(self, body: Json, stream: CompletionStream, deadline: float) -> None:
        refused = self._refused
        while True:
            asked = self._asked("POST", "chat/completions", deadline, adapted(body, refused))
            async with asked as response:
                if response.status_code == 200:
                    # Only now is it certain that a refusal meant what it seemed to.
                    self._refused |= refused
                    await self._read(response, stream, deadline)
                    return
                detail = await self._reply(response)
            if response.status_code == 404:
                self._first_model = None
            helped = newly_refused(body, refused, detail)
            if response.status_code not in REFUSALS or helped is None:
                raise self._refusal(response.status_code, detail)
            refused |= {helped}

    async def _read(
        self, response: httpx2.Response, stream: CompletionStream, deadline: float
    ) -> None:
        """Feed the stream. One scope serves the deadline and the end: the loop is never left
        by itself, as the generators below it must be run to their end, or be cancelled."""
        begun = False
        scope = trio.CancelScope(deadline=deadline)
        with scope, self._errors_mapped():
            async for event in httpx2.EventSource(response):
                begun = True
                stream.feed(event.data)
                if stream.broken:
                    scope.cancel()
                elif stream.ended:
                    scope.deadline = trio.current_time() + self.patience.closing
                else:
                    scope.deadline = trio.current_time() + self.patience.idle
        if scope.cancelled_caught and not stream.broken and not stream.ended:
            raise self._timeout(self.patience.idle if begun else self.patience.first)

    async def _model_name(self, deadline: float) -> str:
        if self.model:
            return self.model
        if self._first_model is None:
            self._first_model = await self._ask_for_model(deadline)
        return self._first_model

    async def _ask_for_model(self, deadline: float) -> str:
        async with self._asked("GET", "models", deadline) as response:
            reply = await self._reply(response)
        if response.status_code in (401, 403):
            raise self._refusal(response.status_code, reply)
        try:
            found = orjson.loads(reply) if response.status_code == 200 else None
        except orjson.JSONDecodeError:
            found = None
        models = found.get("data") if isinstance(found, dict) else None
        for model in models if isinstance(models, list) else ():
            if isinstance(model, dict) and isinstance(model.get("id"), str):
                return str(model["id"])
        raise LanguageModelError(
            "llm_no_model",
            f"the language model server at {self._host} lists no model:"
            " load one, or set TRIO_BRIDGE_LLM_MODEL",
        )

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, deadline: float, body: Json | None = None
    ) -> AsyncGenerator[httpx2.Response, None]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with self._errors_mapped():
            request = self.client.build_request(
                method,
                endpoint(self.url, path),
                headers=headers | {"Content-Type": "application/json"},
                content=orjson.dumps(body) if body is not None else None,
            )
            with trio.move_on_at(deadline) as scope:
                response = await self.client.send(request, stream=True)
        if scope.cancelled_caught:
            raise self._timeout(self.patience.first)
        try:
            yield response
        finally:
            # Closing is at once; the shield is for the case that this is being cancelled.
            deadline = trio.current_time() + self.patience.closing
            with trio.CancelScope(deadline=deadline, shield=True):
                await response.aclose()

    async def _reply(self, response: httpx2.Response) -> bytes:
        """The beginning of a reply that is not a stream."""
        found = b""
        scope = trio.CancelScope(deadline=trio.current_time() + self.patience.idle)
        with scope, self._errors_mapped():
            async for chunk in response.aiter_bytes():
                found = (found + chunk)[:REPLY_MAX]
                if len(found) == REPLY_MAX:
                    scope.cancel()
        return found

    def _refusal(self, status: int, reply: bytes) -> LanguageModelError:
        server = f"the language model server at {self._host}"
        code, words = _EXPLAINED.get(status, ("llm_failed", f"answered with status {status}"))
        # What servers say about a key may repeat it.
        detail = "" if code == "llm_unauthorized" else self._detail(reply)
        return LanguageModelError(code, f"{server} {words}{detail}")

    def _detail(self, reply: bytes) -> str:
        try:
            found = orjson.loads(reply)
        except orjson.JSONDecodeError:
            return ""
        error = found.get("error", found) if isinstance(found, dict) else None
        words = error.get("message") if isinstance(error, dict) else error
        if not isinstance(words, str) or not words.strip():
            return ""
        words = words.strip().replace(self.key, "…") if self.key else words.strip()
        return f": {words[:DETAIL_MAX]}"

    def _timeout(self, seconds: float) -> LanguageModelError:
        return LanguageModelError(
            "llm_timeout",
            f"the language model server at {self._host} has said nothing for {seconds:g} s"
            " (TRIO_BRIDGE_LLM_TIMEOUT)",
        )

    @property
    def _host(self) -> str:
        """Where the server is, without what a URL may carry that is secret."""
        found = httpx2.URL(self.url)
        return f"{found.host}:{found.port}" if found.port else found.host

    def _errors_mapped(self) -> _ErrorsMapped:
        return _ErrorsMapped(self._host)


@frozen
class _ErrorsMapped:
    """Turns the HTTP library's errors into ours."""

    host: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        server = f"the language model server at {self.host}"
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                raise LanguageModelError(
                    "llm_unreachable", f"{server} cannot be reached"
                ) from error
            case httpx2.TimeoutException():
                raise LanguageModelError("llm_timeout", f"{server} is too slow") from error
            case httpx2.SSEError() | httpx2.DecodingError():
                raise LanguageModelError(
                    "llm_malformed", f"{server} does not answer with a stream of events"
                ) from error
            case httpx2.HTTPError():
                raise LanguageModelError("llm_failed", f"{server} broke off") from error


@asynccontextmanager
async def open_completions(
    url: str,
    *,
    key: str | None = None,
    model: str | None = None,
    patience: Patience | None = None,
) -> AsyncGenerator[Completions, None]:
    """A chat completions server and the connections to it, which leaving closes.

    Certificates are checked against the system's authorities. Proxies are taken from the
    environment, except for servers on this machine.

    Raises:
        ValueError: The URL is none, or not of HTTP.
    """
    patience = patience or Patience()
    try:
        found = httpx2.URL(url.strip())
    except httpx2.InvalidURL as exc:
        raise ValueError(f"TRIO_BRIDGE_LLM_URL is no URL: {exc}") from exc
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("TRIO_BRIDGE_LLM_URL must start with http:// or https:// and a host")
    local = found.host in ("localhost", "127.0.0.1", "::1")
    async with httpx2.AsyncClient(
        # Answers have deadlines of their own, piece by piece.
        timeout=httpx2.Timeout(None, connect=patience.connect, write=patience.idle),
        limits=httpx2.Limits(
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=8, keepalive_expiry=60
        ),
        trust_env=not local,
    ) as client:
        yield Completions(client, url, key, model, patience)
