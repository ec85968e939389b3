"""Arguments for a tool call, from its JSON schema and what a person said.

No understanding, only care: the result has the schema's shape, and what was said is used where
it fits. Patterns and formats other than dates are not attempted.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from attrs import define, field

from trio_bridge.nodes.number_words import find_numbers

Json = dict[str, Any]

DEPTH: Final = 8
"""Levels of a schema that are followed; schemas may refer to themselves."""

ITEMS_MAX: Final = 16
"""Items made for an array at most, whatever its schema wants."""

_NO = re.compile(r"\b(no|not|don't|do not|off|false|never|without|disable)\b", re.IGNORECASE)
_ABOUT = re.compile(r"\b(?:in|for|at|to|of|about|named|called|on|is)\s+", re.IGNORECASE)


@define
class ArgumentFiller:
    """Fills one call's arguments.

    Args:
        root: The schema of the tool's parameters.
        said: What the person said.
        now: For dates.
    """

    root: Json
    said: str
    now: datetime
    _numbers: list[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._numbers = find_numbers(self.said)

    def fill(self) -> Json:
        """The arguments: an object with every required property."""
        filled = self._value(self.root, 0)
        return filled if isinstance(filled, dict) else {}

    def _value(self, schema: Any, depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._choice(schema["enum"])
        match _kind(schema) if depth < DEPTH else "null":
            case "object":
                return self._object(schema, depth)
            case "array":
                wanted = max(1, _whole(schema.get("minItems"), 1))
                items = schema.get("items", {"type": "string"})
                return [self._value(items, depth + 1) for _ in range(min(wanted, ITEMS_MAX))]
            case "string":
                return schema.get("default", self._string(schema))
            case "integer":
                return schema.get("default", int(self._number(schema)))
            case "number":
                return schema.get("default", self._number(schema))
            case "boolean":
                return schema.get("default", _NO.search(self.said) is None)
            case _:
                return None

    def _object(self, schema: Json, depth: int) -> Json:
        properties = schema.get("properties")
        required = schema.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return {}
        return {
            name: self._value(properties.get(name, {"type": "string"}), depth + 1)
            for name in required
            if isinstance(name, str)
        }

    def _choice(self, options: list[Any]) -> Any:
        said = f" {' '.join(_words(self.said))} "
        for option in options:
            if (words := " ".join(_words(str(option)))) and f" {words} " in said:
                return option
        return options[0]

    def _string(self, schema: Json) -> str:
        wanted = schema.get("format")
        if wanted == "date":
            return self.now.date().isoformat()
        if wanted == "date-time":
            return self.now.isoformat()
        # What a question is about stands at its end: "the weather in Paris".
        about = _ABOUT.split(self.said)[-1].strip(" ?!.,")
        text = about or self.said.strip() or "unknown"
        text = text[: _whole(schema.get("maxLength"), len(text))]
        return text.ljust(_whole(schema.get("minLength"), 0), ".")

    def _number(self, schema: Json) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        whole = _kind(schema) == "integer"
        value = self._numbers.pop(0) if self._numbers else 0.0
        if whole:
            value = float(int(value))
        if isinstance(least, int | float):
            value = max(value, float(least + ("minimum" not in schema)))
        if isinstance(most, int | float):
            value = min(value, float(most - ("maximum" not in schema)))
        return value

    def _resolve(self, schema: Any) -> Json:
        """Follow references, and take the first of alternatives that is not null."""
        for _ in range(DEPTH):
            if not isinstance(schema, dict):
                return {}
            if isinstance(schema.get("$ref"), str):
                schema = self._referred(schema["$ref"])
            elif isinstance(options := _alternatives(schema), list):
                usable = [one for one in options if one != {"type": "null"}]
                schema = next(iter(usable), {})
            else:
                return schema
        return {}

    def _referred(self, reference: str) -> Any:
        found: Any = self.root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        return found


def _alternatives(schema: Json) -> Any:
    return schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")


def _kind(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    return str(kind)


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 <= value <= 10_000 else otherwise


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))
