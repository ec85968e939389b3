"""A conversation of the Realtime API as the messages of a chat completions request. Pure."""

from __future__ import annotations

from typing import Any

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
    if tools := [_tool(tool) for tool in request.tools if _is_function(tool)]:
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    return body


def chat_messages(request: ResponseRequest) -> list[Json]:
    """The conversation, oldest first.

    Each call is followed by its output, wherever that stood, as servers demand; items without
    words, and outputs without a call, are left out.
    """
    outputs = {
        item.get("call_id"): str(item.get("output") or "")
        for item in request.items
        if item.get("type") == "function_call_output"
    }
    messages: list[Json] = []
    if request.instructions.strip():
        messages.append({"role": "system", "content": request.instructions})
    calling: Json | None = None
    answers: list[Json] = []
    for item in request.items:
        kind = item.get("type")
        if kind == "function_call":
            if calling is None:
                calling = {"role": "assistant", "content": None, "tool_calls": []}
            calling["tool_calls"].append(_call(item))
            output = outputs.get(item.get("call_id"), NO_OUTPUT)
            answers.append(
                {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
            )
        elif kind == "message" and (message := _message(item)):
            # Calls made one after the other belong to one message.
            messages += [calling, *answers] if calling else []
            calling, answers = None, []
            messages.append(message)
    return messages + ([calling, *answers] if calling else [])


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
    return {"type": "function", "function": {"name": choice.get("name")}}
