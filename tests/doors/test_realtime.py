from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.realtime import DEFAULT_MODEL, MODEL_LENGTH, handshake, serves


def test_every_address_a_client_may_append_is_served():
    """The canonical path and its aliases, with or without a slash at the end."""
    assert serves("/v1/realtime")
    assert serves("/v1/realtime/")
    assert serves("/openai/v1/realtime")
    assert serves("/realtime")
    assert not serves("/v1/realtimes")
    assert not serves("/")


def test_the_model_comes_from_the_query():
    """The first model that has a name counts, cut to a sane length."""
    request = HttpRequest("GET", "/v1/realtime", query={"model": ["", "gpt-realtime"]})
    assert handshake(request).model == "gpt-realtime"
    request = HttpRequest("GET", "/v1/realtime", query={"model": ["x" * 1000]})
    assert len(handshake(request).model) == MODEL_LENGTH


def test_without_a_model_there_is_a_default():
    """Clients that name no model are served all the same."""
    assert handshake(HttpRequest("GET", "/v1/realtime")).model == DEFAULT_MODEL
