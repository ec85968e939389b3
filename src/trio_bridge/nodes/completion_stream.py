"""The events of a chat completions stream as pieces of an answer. Does no I/O."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import orjson
from attrs import define, field

from trio_bridge.messages import Failure, ResponseRequest, Usage
from trio_bridge.nodes.answering import Finish, Give, Text, ToolDelta, ToolDone, estimate_usage

Json = dict[str, Any]

ANSWER_MAX: Final = 100_000
"""Characters of text and arguments in one answer: two hours of speech. An answer that has run
away ends there, as incomplete."""

CALLS_MAX: Final = 128
"""Tool calls in one answer, the most that servers themselves allow."""

CALL_ID_MAX: Final = 32
"""Characters in a `call_id` that the protocol allows."""

END: Final = "[DONE]"


@define
class _Call:
    index: int
    server_id: str | None
    call_id: str
    name: str = ""
    arguments: str = ""
    told: bool = False


@define(eq=False)
class CompletionStream:
    """Reads one answer: `feed` it the data of each event, then ask it to `finish`.

    Attributes:
        ended: The server has said that it is done.
        broken: There is no point in reading on.
    """

    request: ResponseRequest
    give: Give
    ended: bool = field(default=False, init=False)
    _failure: Failure | None = field(default=None, init=False)
    _too_long: bool = field(default=False, init=False)
    _reason: str | None = field(default=None, init=False)
    _usage: Usage | None = field(default=None, init=False)
    _texts: list[str] = field(factory=list, init=False)
    _length: int = field(default=0, init=False)
    _calls: list[_Call] = field(factory=list, init=False)

    @property
    def broken(self) -> bool:
        return self._failure is not None or self._too_long

    def feed(self, data: str) -> None:
        """Take an event's data. Never raises: what is wrong shows in `finish`."""
        if self.broken or self.ended:
            return
        if data.strip() == END:
            self.ended = True
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._fail("llm_malformed", "the language model server sent what is not JSON")
            return
        if not isinstance(chunk, dict):
            self._fail("llm_malformed", "the language model server sent what is no object")
        elif chunk.get("error"):
            error = chunk["error"]
            words = error.get("message") if isinstance(error, dict) else error
            self._fail("llm_failed", f"the language model server failed: {str(words)[:300]}")
        else:
            self._take(chunk)

    def finish(self) -> Finish:
        """How the answer ended. Gives what completes it: the calls."""
        if self._failure is None and not self.ended and not self._reason and not self._too_long:
            self._fail("llm_failed", "the language model server broke off in mid-answer")
        if self._failure is not None:
            return self.failed(self._failure)
        if self._too_long or self._reason == "length":
            return Finish("incomplete", "max_output_tokens", self._counted())
        if self._reason == "content_filter":
            return Finish("incomplete", "content_filter", self._counted())
        for call in self._calls:
            if call.told:
                self.give(ToolDone(call.call_id, call.name, call.arguments or "{}"))
        return Finish("completed", None, self._counted())

    def failed(self, failure: Failure) -> Finish:
        """The end of an answer that failed, wherever it failed."""
        return Finish("failed", None, self._counted(), failure)

    def _fail(self, code: str, message: str) -> None:
        self._failure = Failure(code, message)

    def _take(self, chunk: Json) -> None:
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = _usage(usage)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for key in ("content", "refusal"):
                if isinstance(text := delta.get(key), str) and text and self._grow(text):
                    self._texts.append(text)
                    self.give(Text(text))
            calls = delta.get("tool_calls")
            for part in calls if isinstance(calls, list) else ():
                if isinstance(part, dict):
                    self._take_call(part)
        if isinstance(reason := choice.get("finish_reason"), str):
            self._reason = reason

    def _take_call(self, part: Json) -> None:
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        call = self._find_call(part)
        name = function.get("name")
        if isinstance(name, str) and not call.told:
            call.name += name
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers parse them
            arguments = orjson.dumps(arguments).decode()
        if not isinstance(arguments, str) or not self._grow(arguments):
            arguments = ""
        if not call.name:
            call.arguments += arguments
            return
        # Arguments that came before the name go out with the first delta.
        fresh = arguments if call.told else call.arguments + arguments
        call.arguments += arguments
        if fresh or not call.told:
            call.told = True
            self.give(ToolDelta(call.call_id, call.name, fresh))

    def _find_call(self, part: Json) -> _Call:
        """The call a part belongs to: by its index; some servers give all calls the same one
        (or none) and tell them apart by id alone."""
        index = part.get("index")
        server_id = part.get("id") or None
        for call in reversed(self._calls):
            same_index = not isinstance(index, int) or call.index == index
            if same_index and server_id in (None, call.server_id):
                return call
            if same_index and call.server_id is None:
                call.server_id = server_id
                return call
        if len(self._calls) >= CALLS_MAX:
            self._too_long = True
            return self._calls[-1]
        number = index if isinstance(index, int) else len(self._calls)
        call = _Call(number, server_id, self._call_id(server_id))
        self._calls.append(call)
        return call

    def _call_id(self, server_id: Any) -> str:
        """The server's own id if it will do: some are too long, or alike in every answer."""
        known = [call.call_id for call in self._calls]
        known += [item.get("call_id", "") for item in self.request.items]
        fits = isinstance(server_id, str) and len(server_id) <= CALL_ID_MAX
        return server_id if fits and server_id not in known else f"call_{uuid4().hex[:24]}"

    def _grow(self, text: str) -> bool:
        self._length += len(text)
        self._too_long = self._too_long or self._length > ANSWER_MAX
        return not self._too_long

    def _counted(self) -> Usage:
        if self._usage is not None:
            return self._usage
        arguments = (call.arguments for call in self._calls)
        return estimate_usage(self.request, [*self._texts, *arguments])


def _usage(found: Json) -> Usage:
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        _count(found.get("prompt_tokens")),
        _count(found.get("completion_tokens")),
        _count(cached),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
