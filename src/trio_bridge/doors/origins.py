"""Web pages as clients: which of them may come (the browser's `Origin`), and how they are told
(CORS).

A browser says which page asks; other clients say nothing, and are not held to anything here.
A page may come from the server's own host and port. Every other origin must be allowed by the
settings, also one on another port of this machine: any page that is open in the browser can
reach a server on loopback.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import evolve, frozen

from trio_bridge.doors.exchange import HttpRequest, HttpResponse, error_response

ANY = "*"

METHODS = "GET, POST, OPTIONS"

PREFLIGHT_SECONDS = 600
"""How long a browser need not ask again."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@frozen
class Origins:
    """Whose pages may come.

    Args:
        allowed: Origins such as `https://app.example.com`; `*` is any.
    """

    allowed: tuple[str, ...] = ()

    def refusal(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a page that may not come; None for all other requests."""
        origin = request.header("origin")
        if origin is None or _same_host(origin, request) or self._allows(origin):
            return None
        return error_response(
            403,
            "Pages of this origin may not use this server. Its operator can allow them with "
            "the setting server.cors_origins.",
            code="origin_not_allowed",
        )

    def preflight(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a browser that asks what a page may send; None for other requests."""
        asked = request.header("access-control-request-method")
        if request.method != "OPTIONS" or asked is None:
            return None
        headers = [
            ("access-control-allow-methods", METHODS),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        ]
        wanted = ", ".join(request.tokens("access-control-request-headers"))
        if wanted and wanted.isascii():
            # Whatever they are: SDKs send a dozen that describe themselves.
            headers.append(("access-control-allow-headers", wanted))
        if request.header("access-control-request-private-network") == "true":
            headers.append(("access-control-allow-private-network", "true"))
        return HttpResponse(headers=tuple(headers))

    def shared(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """`response`, such that the page that asked for it may read it."""
        origin = request.header("origin")
        if origin is None or not self._allows(origin):
            return response
        headers = (("access-control-allow-origin", origin), ("vary", "origin"))
        return evolve(response, headers=response.headers + headers)

    def _allows(self, origin: str) -> bool:
        return origin in self.allowed or (ANY in self.allowed and origin.isascii())


def _same_host(origin: str, request: HttpRequest) -> bool:
    # The scheme is left out: behind a proxy that speaks TLS the server does not know its own.
    try:
        page = urlsplit(origin)
        port = page.port or _DEFAULT_PORTS.get(page.scheme)
        here = urlsplit(f"//{request.header('host') or ''}")
        return page.hostname is not None and (page.hostname, port) == (
            here.hostname,
            here.port or _DEFAULT_PORTS.get(page.scheme),
        )
    except ValueError:
        return False
