"""Requests and responses as values. The connection itself, with its bytes and its deadlines,
is in `front.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
from attrs import Factory, field, frozen

from trio_bridge.errors import BridgeError

QUERY_FIELDS = 64
"""More fields than this in a query string are no client of ours; parsing each costs time."""

SOFTWARE = "trio_bridge"


class BadRequest(BridgeError):
    """The client's HTTP request cannot be served.

    Attributes:
        status: The HTTP status that says so.
        code: The machine-readable code in the body.
        headers: Headers that the status calls for (`Allow`, `Retry-After`, …).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


@frozen
class HttpRequest:
    """A request, read whole. Header names are in lower case; a header or query field that came
    several times has all its values, in order. `peer` is the other end's (host, port)."""

    method: str
    path: str
    query: Mapping[str, list[str]] = Factory(dict)
    headers: Mapping[str, list[str]] = Factory(dict)
    body: bytes = field(default=b"", repr=False)
    peer: tuple[str, int] = ("", 0)

    def header(self, name: str) -> str | None:
        """The first value of a header (`name` in lower case), or None."""
        return next(iter(self.headers.get(name, ())), None)

    def tokens(self, name: str) -> list[str]:
        """The comma-separated tokens of a header, over all its occurrences."""
        values = ",".join(self.headers.get(name, ())).split(",")
        return [token for value in values if (token := value.strip())]


@frozen
class HttpResponse:
    """A response, whole. `front.py` adds length, date and connection headers."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def split_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """A request target as (path, query).

    Raises:
        BadRequest: It is no URL, or has more than `QUERY_FIELDS` fields.
    """
    try:
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS)
    except ValueError as exc:
        raise BadRequest(
            400, f"The request target is not a URL: {exc}.", code="invalid_url"
        ) from exc
    return unquote(parts.path), query


def json_response(
    value: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """`value` as a JSON body."""
    return HttpResponse(status=status, body=orjson.dumps(value), headers=headers)


def error_response(
    status: int,
    message: str,
    *,
    code: str | None,
    param: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> HttpResponse:
    """An error in the shape the API's clients parse (`error.type`, `.code`, `.message`).

    `param` is the path of the field of the body that is wrong.
    """
    error = {
        "message": message,
        "type": "invalid_request_error" if status < 500 else "server_error",
        "param": param,
        "code": code,
    }
    return json_response({"error": error}, status=status, headers=headers)


def refusal(problem: BadRequest) -> HttpResponse:
    """The response that tells the client of `problem`."""
    return error_response(
        problem.status, str(problem), code=problem.code, headers=problem.headers
    )
