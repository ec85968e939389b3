import orjson
import pytest

from trio_bridge.doors.exchange import BadRequest, HttpRequest, split_target
from trio_bridge.doors.http import Status, answer

HEALTHY = Status(
    healthy=True, active_sessions=3, uptime=1.5, details={"dataflows": {"voice": "ready"}}
)


def get(path, method="GET"):
    response = answer(HttpRequest(method=method, path=path), HEALTHY)
    return response, orjson.loads(response.body) if "json" in response.content_type else None


def test_health_tells_state_and_sessions():
    """`GET /health` says how many sessions there are and merges the server's details in."""
    response, body = get("/health")
    assert response.status == 200
    assert body["status"] == "healthy"
    assert body["activeSessions"] == 3
    assert body["dataflows"] == {"voice": "ready"}
    assert body["timestamp"].endswith("+00:00")


def test_health_says_degraded():
    """An unhealthy server still answers 200, and says what it is."""
    body = answer(
        HttpRequest("GET", "/health"), Status(healthy=False, active_sessions=0, uptime=0)
    ).body
    assert orjson.loads(body)["status"] == "degraded"


def test_root_is_a_line_of_text():
    """A person who opens the server in a browser learns where to point a client."""
    response, _ = get("/")
    assert response.content_type.startswith("text/plain")
    assert b"/v1/realtime" in response.body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/realtime", 426, "upgrade_required"),
    ],
)
def test_refusals_have_the_apis_shape(method, path, status, code):
    """What is refused is refused in the JSON that the API's clients parse."""
    response, body = get(path, method)
    assert response.status == status
    assert body["error"]["code"] == code
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["param"] is None


def test_target_is_split_into_path_and_query():
    """Repeated query fields keep all their values, blank ones too."""
    assert split_target("/v1/realtime?model=a&model=b&x=") == (
        "/v1/realtime",
        {"model": ["a", "b"], "x": [""]},
    )


@pytest.mark.parametrize("target", ["http://[::1", "/?" + "&".join(["a=1"] * 65)])
def test_impossible_targets_are_refused(target):
    """A target that is no URL, or that has too many fields, is the client's error."""
    with pytest.raises(BadRequest) as caught:
        split_target(target)
    assert caught.value.status == 400


def test_header_tokens_span_repeated_headers():
    """Comma lists may be spread over several headers of one name."""
    request = HttpRequest("GET", "/", headers={"connection": ["keep-alive, Upgrade", "x"]})
    assert request.tokens("connection") == ["keep-alive", "Upgrade", "x"]
    assert request.header("connection") == "keep-alive, Upgrade"
    assert request.header("host") is None
