"""Every server event, held against the types of the `openai` package."""

from __future__ import annotations

from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

_UNION: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def validate(event: dict[str, Any]) -> BaseModel:
    """The event as its own type; raises when it does not fit.

    The union alone is not enough: for a type it does not know it may build some other member.
    """
    model = _UNION.validate_python(event)
    assert isinstance(model, BaseModel)
    tag = type(model).model_fields["type"].annotation
    assert event["type"] in str(tag), f"{event['type']} was taken for {type(model).__name__}"
    return model
