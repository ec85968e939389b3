import time

import orjson
import pytest
from openai.types import Model

from trio_bridge.doors.exchange import BadRequest, HttpRequest, split_target
from trio_bridge.doors.http import Site, Status
from trio_bridge.doors.keys import Keys
from trio_bridge.doors.minting import Mint
from trio_bridge.errors import BackendUnavailable

DETAILS = {"dataflows": {"voice": "ready"}}


def site(*, state="healthy", not_ready=None):
    why = not_ready and BackendUnavailable(not_ready, retry_after=2.5)
    status = Status(state, why, active_sessions=3, uptime=1.5, details=DETAILS)
    mint = Mint(Keys(), lambda: 1_800_000_000)
    return Site(lambda: status, mint, ("trio-bridge", "echo*", "org/model"))


def ask(path, method="GET", **more):
    response = site(**more).answer(HttpRequest(method=method, path=path))
    return response, orjson.loads(response.body) if "json" in response.content_type else None


def test_health_tells_state_and_sessions():
    """`GET /health` says how many sessions there are and merges the server's details in."""
    response, body = ask("/health")
    assert response.status == 200
    assert body["status"] == "healthy"
    assert body["activeSessions"] == 3
    assert body["dataflows"] == {"voice": "ready"}
    assert body["timestamp"].endswith("+00:00")


@pytest.mark.parametrize("state", ["starting", "degraded"])
def test_health_says_how_it_is(state):
    """A server that cannot serve still answers 200, and says what it is."""
    response, body = ask("/health", state=state)
    assert (response.status, body["status"]) == (200, state)


@pytest.mark.parametrize("path", ["/ready", "/ready/", "/openai/ready"])
def test_ready_says_by_its_status_whether_sessions_may_come(path):
    """What balancers look at; also where not all dataflows run."""
    response, body = ask(path, state="degraded")
    assert (response.status, body) == (200, {"ready": True})
    response, body = ask(path, not_ready="no dataflow is warm")
    assert (response.status, body) == (503, {"ready": False, "reason": "no dataflow is warm"})
    assert dict(response.headers)["retry-after"] == "3"
    assert ask(path, "HEAD", not_ready="it stops")[0].status == 503


def test_root_is_a_line_of_text():
    """A person who opens the server in a browser learns where to point a client."""
    response, _ = ask("/")
    assert response.content_type.startswith("text/plain")
    assert b"/v1/realtime" in response.body


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", "/v1/models/"])
def test_models_are_listed(path):
    """Each as the SDKs' own type, under every prefix that a client may use."""
    response, body = ask(path)
    assert response.status == 200
    assert body["object"] == "list"
    models = [Model.model_validate(each, strict=True) for each in body["data"]]
    assert [model.id for model in models] == ["trio-bridge", "echo*", "org/model"]
    assert models[0].created <= time.time()


def test_one_model():
    response, body = ask("/v1/models/org/model")
    assert response.status == 200
    assert Model.model_validate(body, strict=True).id == "org/model"
    response, body = ask("/v1/models/other")
    assert response.status == 404
    assert body["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/realtime/nothing", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/realtime/client_secrets", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/echo", 405, "method_not_allowed"),
        ("GET", "/v1/realtime", 426, "upgrade_required"),
        ("POST", "/v1/realtime/calls", 501, "not_implemented"),
        ("POST", "/v1/realtime/calls/rtc_1/hangup", 501, "not_implemented"),
        ("POST", "/openai/v1/realtime/calls", 501, "not_implemented"),
        ("GET", "/v1/realtime/translations", 501, "not_implemented"),
        ("POST", "/v1/realtime/translations/client_secrets", 501, "not_implemented"),
    ],
)
def test_refusals_have_the_apis_shape(method, path, status, code):
    """What is refused is refused in the JSON that the API's clients parse."""
    response, body = ask(path, method)
    assert response.status == status
    assert body["error"]["code"] == code
    kind = "invalid_request_error" if status < 500 else "server_error"
    assert body["error"]["type"] == kind
    assert body["error"]["param"] is None


def test_who_takes_another_method_says_which():
    response, _ = ask("/v1/models", "POST")
    assert dict(response.headers)["allow"] == "GET, HEAD"
    response, _ = ask("/v1/realtime/sessions", "GET")
    assert dict(response.headers)["allow"] == "POST"


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
