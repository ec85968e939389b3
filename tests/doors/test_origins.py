import pytest

from trio_bridge.doors.exchange import HttpRequest, HttpResponse
from trio_bridge.doors.origins import Origins

PAGE = "http://127.0.0.1:5173"


def request(method="GET", host="127.0.0.1:8080", **headers):
    values = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return HttpRequest(method, "/v1/models", headers={"host": [host], **values})


@pytest.mark.parametrize("allowed", [(), (PAGE,), ("*",)])
def test_who_is_no_browser_is_not_asked(allowed):
    """Without an Origin nothing is refused, and nothing is added to an answer."""
    origins = Origins(allowed)
    assert origins.refusal(request()) is None
    assert origins.preflight(request("OPTIONS")) is None
    assert origins.shared(request(), HttpResponse()) == HttpResponse()


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost", "localhost"),
        ("https://voice.example", "voice.example"),
        ("https://voice.example", "voice.example:443"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://VOICE.example:8080", "voice.example:8080"),
    ],
)
def test_pages_of_the_servers_own_host_and_port_may_come(origin, host):
    assert Origins().refusal(request(host=host, origin=origin)) is None


@pytest.mark.parametrize(
    "origin",
    [
        PAGE,  # another port is another origin
        "http://localhost:8080",  # so is another name
        "https://evil.example",
        "https://127.0.0.1",
        "null",
        "",
        "http://[::1",
        "http://127.0.0.1:port",
        "127.0.0.1:8080",
    ],
)
def test_pages_of_other_origins_are_refused_unless_allowed(origin):
    response = Origins((PAGE + "0",)).refusal(request(origin=origin))
    assert response is not None
    assert response.status == 403
    assert b"origin_not_allowed" in response.body
    assert Origins(("*",)).refusal(request(origin=origin)) is None
    assert Origins((origin,)).refusal(request(origin=origin)) is None


def test_an_origin_that_is_not_ascii_does_not_come_back():
    """A header could not say it."""
    origins = Origins(("*",))
    assert origins.refusal(request(origin="http://bücher.example")) is not None
    asked = {"access_control_request_method": "GET", "access_control_request_headers": "ü"}
    response = origins.preflight(request("OPTIONS", origin=PAGE, **asked))
    assert response is not None
    assert "access-control-allow-headers" not in dict(response.headers)


def test_an_allowed_page_may_read_the_answer():
    origins = Origins((PAGE,))
    shared = origins.shared(request(origin=PAGE), HttpResponse(headers=(("a", "b"),)))
    assert dict(shared.headers) == {
        "a": "b",
        "access-control-allow-origin": PAGE,
        "vary": "origin",
    }
    assert origins.shared(request(origin=PAGE + "0"), HttpResponse()) == HttpResponse()


def test_a_browser_may_send_what_it_asks_to_send():
    """SDKs send headers of their own; and a public page may need leave to reach loopback."""
    asked = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,content-type, x-stainless-lang",
        "access_control_request_private_network": "true",
    }
    response = Origins((PAGE,)).preflight(request("OPTIONS", origin=PAGE, **asked))
    assert response is not None
    headers = dict(response.headers)
    assert response.status == 200
    assert headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    allowed = headers["access-control-allow-headers"]
    assert allowed == "authorization, content-type, x-stainless-lang"
    assert headers["access-control-allow-private-network"] == "true"
