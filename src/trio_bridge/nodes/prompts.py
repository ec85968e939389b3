"""A conversation of the Realtime API as the messages of a chat completions request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from trio_bridge.messages import ResponseRequest
from trio_bridge.nodes.answering import content_text

Json = dict[str, Any]

NO_OUTPUT = "(no result)"
"""Stands for the output of a call that was never answered: servers refuse a call without."""


def chat_request(request: ResponseRequest, model: str) -> Json:
    """The body of a streaming request; a field that was not asked for is left out."""
    body: Json = {"model": model, "messages": chat_messages(request), "stream": True}
    body["stream_options"] = {"include_usage": True}
    if request.max_output_tokens is not None:
        body["max_tokens"] = request.max_output_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.reasoning and request.reasoning.get("effort"):
        body["reasoning_effort"] = request.reasoning["effort"]
    if tools := [_tool(tool) for tool in request.tools if _is_function(tool)]:
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    return body


def chat_messages(request: ResponseRequest) -> list[Json]:
    """The conversation, oldest first.

    Calls made at once are one message, with the words said before them, and all their outputs
    follow, wherever those stood, as servers demand. A call that comes after an output was made
    because of it. Items without words, calls that were broken off, and outputs without a call
    are left out.
    """
    outputs = {
        item.get("call_id"): str(item.get("output") or "")
        for item in request.items
        if item.get("type") == "function_call_output"
    }
    messages: list[Json] = []
    if request.instructions.strip():
        messages.append({"role": "system", "content": request.instructions})
    said = _Said()
    for item in request.items:
        match item.get("type"):
            case "function_call" if item.get("status") != "incomplete":
                if said.answered:
                    messages += said.messages(outputs)
                    said = _Said()
                said.calls.append(item)
            case "function_call_output":
                said.answered |= any(
                    call.get("call_id") == item.get("call_id") for call in said.calls
                )
            case "message" if message := _message(item):
                messages += said.messages(outputs)
                said = _Said()
                if message["role"] == "assistant":
                    said.text = message["content"]
                else:
                    messages.append(message)
    return messages + said.messages(outputs)


@define
class _Said:
    """What an assistant did at a time: words, then calls."""

    text: str | None = None
    calls: list[Json] = field(factory=list)
    answered: bool = False
    """An output of one of the calls has been seen."""

    def messages(self, outputs: Mapping[Any, str]) -> list[Json]:
        """One message, and the outputs of its calls."""
        if not self.calls:
            return [{"role": "assistant", "content": self.text}] if self.text else []
        calls = [_call(call) for call in self.calls]
        return [
            {"role": "assistant", "content": self.text, "tool_calls": calls},
            *(
                {
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": outputs.get(call["id"], NO_OUTPUT),
                }
                for call in calls
            ),
        ]


def _message(item: Json) -> Json | None:
    role = item.get("role")
    if role not in ("system", "user", "assistant"):
        return None
    text = content_text(item)
    images = _images(item) if role == "user" else []
    if images:
        words = [{"type": "text", "text": text}] if text else []
        return {"role": role, "content": words + images}
    return {"role": role, "content": text} if text else None


def _images(item: Json) -> list[Json]:
    content = item.get("content")
    return [
        {"type": "image_url", "image_url": {"url": part["image_url"]}}
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and isinstance(part.get("image_url"), str)
    ]


def _call(item: Json) -> Json:
    function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _is_function(tool: Json) -> bool:
    return tool.get("type") == "function" and isinstance(tool.get("name"), str)


def _tool(tool: Json) -> Json:
    wanted = ("name", "description", "parameters")
    function = {key: tool[key] for key in wanted if tool.get(key) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: str | Json) -> str | Json:
    if isinstance(choice, str):
        return choice
    if choice.get("type") != "function":
        # Tools of other kinds are none of this node's: it cannot be made to call one.
        return "auto"
    return {"type": "function", "function": {"name": choice.get("name")}}
