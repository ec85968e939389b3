import pytest

from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.keys import Grant, Keys
from trio_bridge.doors.realtime import (
    DEFAULT_MODEL,
    MODEL_LENGTH,
    Handshake,
    handshake,
    serves,
)
from trio_bridge.errors import KeyRefused
from trio_bridge.realtime.config import initial

KEYS = Keys()
NOW = 1_800_000_000
LATER = NOW + 60


def shake(path="/v1/realtime", *, query=None, headers=None, keys=KEYS, **more):
    lists = {name: [value] for name, value in (headers or {}).items()}
    request = HttpRequest("GET", path, query=query or {}, headers=lists)
    return handshake(request, keys, now=NOW, **more)


def bearer(grant):
    return {"authorization": f"Bearer {KEYS.make(grant)}"}


def test_every_address_a_client_may_append_is_served():
    """The canonical path and its aliases, with or without a slash at the end."""
    assert serves("/v1/realtime")
    assert serves("/v1/realtime/")
    assert serves("/openai/v1/realtime")
    assert serves("/openai/realtime")
    assert serves("/realtime")
    assert not serves("/v1/realtimes")
    assert not serves("/")


def test_without_a_word_it_is_a_ga_session_as_it_comes():
    assert shake() == Handshake(DEFAULT_MODEL, "ga", "realtime", initial(), strict=False)


def test_the_model_comes_from_the_query():
    """The first that has a name counts, cut to a sane length; Azure calls it otherwise."""
    assert shake(query={"model": ["", "gpt-realtime"]}).model == "gpt-realtime"
    assert shake(query={"deployment": ["mine"]}).model == "mine"
    assert len(shake(query={"model": ["x" * 1000]}).model) == MODEL_LENGTH


def test_strictness_is_the_servers():
    assert shake(strict=True).strict


def test_what_the_backend_may_be_chosen_by():
    """The key's session says it, and the address the language."""
    audio = {
        "input": {
            "transcription": {"model": "tiny", "language": "fr"},
            "turn_detection": {"type": "semantic_vad"},
        },
        "output": {"voice": "anna"},
    }
    key = bearer(Grant(LATER, "ga", session={"audio": audio}))
    wishes = shake(query={"model": ["m"]}, headers=key).wishes
    assert wishes == {
        "language": "fr",
        "model": "m",
        "recognition_model": "tiny",
        "turn_detection": "semantic_vad",
        "voice": "anna",
    }
    assert shake(query={"language": ["de", "en"]}, headers=key).wishes["language"] == "de"
    off = bearer(Grant(LATER, "ga", session={"audio": {"input": {"turn_detection": None}}}))
    assert shake(headers=off).wishes["turn_detection"] == "none"
    assert shake().wishes["recognition_model"] == ""


# --- dialect -------------------------------------------------------------------------------

BETA_KEY = bearer(Grant(LATER, "beta"))
GA_KEY = bearer(Grant(LATER, "ga"))
BETA_HEADER = {"openai-beta": "realtime=v1"}
BETA_OFFER = {"sec-websocket-protocol": "realtime, openai-beta.realtime-v1"}
AZURE = {"api-version": ["2025-04-01-preview"]}


@pytest.mark.parametrize(
    ("dialect", "path", "query", "headers"),
    [
        ("ga", "/v1/realtime", {}, {"openai-beta": "assistants=v2"}),
        ("ga", "/v1/realtime", {}, {"sec-websocket-protocol": "realtime"}),
        ("beta", "/v1/realtime", {}, BETA_HEADER),
        ("beta", "/v1/realtime", {}, {"openai-beta": "assistants=v2, realtime=v1"}),
        ("beta", "/v1/realtime", {}, BETA_OFFER),
        ("beta", "/v1/realtime", {}, BETA_KEY),
        ("ga", "/v1/realtime", {}, GA_KEY),
        ("ga", "/v1/realtime", AZURE, GA_KEY),
        ("beta", "/v1/realtime", {}, GA_KEY | BETA_HEADER),
        ("beta", "/v1/realtime", {}, GA_KEY | BETA_OFFER),
        ("beta", "/openai/realtime", AZURE, {}),
        ("ga", "/openai/realtime", {}, {}),
        ("ga", "/openai/v1/realtime", AZURE, {}),
        ("beta", "/openai/v1/realtime", {}, BETA_HEADER),
        ("beta", "/v1/realtime", {"dialect": ["beta"]}, GA_KEY),
        ("ga", "/v1/realtime", {"dialect": ["ga"]}, BETA_HEADER | BETA_OFFER | BETA_KEY),
        ("beta", "/v1/realtime", {"dialect": ["gamma"]}, BETA_HEADER),
    ],
)
def test_the_dialect(dialect, path, query, headers):
    """The query's word first, then the client's, then its key's, then its address's."""
    assert shake(path, query=query, headers=headers).dialect == dialect


# --- kind and configuration ----------------------------------------------------------------


def test_a_session_may_be_meant_to_transcribe_only():
    asked = shake(query={"intent": ["transcription"]})
    assert asked.kind == "transcription"
    assert asked.config == initial("transcription")
    assert shake(query={"intent": ["conversation"]}).kind == "realtime"


def test_a_key_brings_its_session_along():
    session = {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."}
    asked = shake(headers=bearer(Grant(LATER, session=session)))
    assert asked.model == "gpt-realtime"
    assert asked.config == initial().updated(session)
    named = shake(query={"model": ["other"]}, headers=bearer(Grant(LATER, session=session)))
    assert named.model == "other"


def test_a_key_for_transcription():
    session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    asked = shake(headers=bearer(Grant(LATER, "beta", "transcription", session)))
    assert (asked.kind, asked.dialect) == ("transcription", "beta")
    assert asked.config == initial("transcription").updated(session)


# --- keys ----------------------------------------------------------------------------------


def test_a_key_may_come_in_any_place():
    """The header, Azure's header, or a subprotocol, as browsers have to."""
    key = KEYS.make(Grant(LATER, session={"type": "realtime", "model": "m"}))
    offered = f"realtime, openai-insecure-api-key.{key}, openai-beta.realtime-v1"
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key}"},
        {"api-key": key},
        {"sec-websocket-protocol": offered},
        {"authorization": "Bearer sk-other", "sec-websocket-protocol": offered},
    ):
        assert shake(headers=headers).model == "m"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-secret"},
        {"authorization": "Basic ek_secret"},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"api-key": "anything"},
        {"sec-websocket-protocol": "openai-insecure-api-key."},
    ],
)
def test_a_key_of_another_kind_is_accepted_as_it_is(headers):
    assert shake(headers=headers) == Handshake()


@pytest.mark.parametrize(
    "key",
    ["ek_", "ek_68a0c0ffee", KEYS.make(Grant(NOW)), Keys().make(Grant(LATER))],
    ids=["empty", "foreign", "expired", "of another server"],
)
def test_an_ephemeral_key_that_is_not_good_is_refused(key):
    """Its words do not repeat the key."""
    with pytest.raises(KeyRefused) as caught:
        shake(headers={"sec-websocket-protocol": f"openai-insecure-api-key.{key}"})
    assert "ek_" not in str(caught.value)


def test_a_key_whose_session_is_not_served_here_is_refused():
    """A replica of another version may have made it."""
    with pytest.raises(KeyRefused, match="session cannot be had here"):
        shake(headers=bearer(Grant(LATER, session={"type": "realtime", "tools": 3})))
