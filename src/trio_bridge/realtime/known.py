"""The fields that the protocol knows: what strict sessions refuse any other of.

A shape names an object's fields, each with the shape of what it holds; None is anything. The
same shape holds for every element of an array. Fields of kinds that differ by their `type`
stand in one shape: what a kind makes of them is for its check to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from trio_bridge.realtime import problems

Shape: TypeAlias = "Mapping[str, Shape | None]"


def _open(names: str, **inner: Shape) -> Shape:
    return {**dict.fromkeys(names.split()), **inner}


_FORMAT = _open("type rate")
_TOOL = _open(
    "type name description parameters server_label server_url connector_id tunnel_id "
    "authorization headers allowed_tools allowed_callers defer_loading require_approval "
    "server_description"
)
_TOOL_CHOICE = _open("type name server_label")
_PROMPT = _open("id version variables")
_REASONING = _open("effort")
_INPUT = _open(
    "",
    format=_FORMAT,
    transcription=_open("model language languages prompt keywords delay"),
    noise_reduction=_open("type strength"),
    turn_detection=_open(
        "type threshold prefix_padding_ms silence_duration_ms idle_timeout_ms eagerness "
        "create_response interrupt_response"
    ),
)

SESSION: Final = _open(
    "type object id model expires_at instructions max_output_tokens output_modalities "
    "include parallel_tool_calls temperature",
    audio=_open("", input=_INPUT, output=_open("voice speed", format=_FORMAT)),
    tools=_TOOL,
    tool_choice=_TOOL_CHOICE,
    tracing=_open("workflow_name group_id metadata"),
    truncation=_open("type retention_ratio", token_limits=_open("post_instructions")),
    prompt=_PROMPT,
    reasoning=_REASONING,
)
"""The `session` of `session.update`."""

ITEM: Final = _open(
    "id object type status role name call_id arguments output server_label tools error "
    "approval_request_id approve reason",
    content=_open("type text audio transcript image_url detail"),
)
"""An item, and a reference to one."""

RESPONSE: Final = _open(
    "conversation instructions max_output_tokens metadata output_modalities "
    "parallel_tool_calls temperature",
    audio=_open("", output=_open("voice", format=_FORMAT)),
    input=ITEM,
    tools=_TOOL,
    tool_choice=_TOOL_CHOICE,
    prompt=_PROMPT,
    reasoning=_REASONING,
)
"""The `response` of `response.create`."""


def refuse_unknown(value: Any, shape: Shape, path: str) -> None:
    """Refuse a field that the protocol does not know.

    Args:
        value: What the client sent; anything but objects and arrays is passed over.
        shape: What is known there.
        path: Where it stands in the client's event.

    Raises:
        ProtocolError: There is such a field; the error names the first by its path.
    """
    if isinstance(value, list):
        for index, each in enumerate(value):
            refuse_unknown(each, shape, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in shape:
                raise problems.unknown_parameter(f"{path}.{name}")
            inner = shape[name]
            if inner is not None:
                refuse_unknown(each, inner, f"{path}.{name}")
