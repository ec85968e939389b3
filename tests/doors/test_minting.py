import random

import orjson
import pytest
from openai.types.beta.realtime import SessionCreateResponse, TranscriptionSession
from openai.types.realtime import ClientSecretCreateResponse

from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.keys import KEY_LENGTH, Keys
from trio_bridge.doors.minting import Mint
from trio_bridge.doors.realtime import DEFAULT_MODEL
from trio_bridge.realtime.config import initial

NOW = 1_800_000_000
KEYS = Keys()
TOOL = {"type": "function", "name": "look", "description": "Looks.", "parameters": {}}


def ask(endpoint, body=b"", *, strict=False):
    """The answer of an endpoint: its status and its JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    mint = Mint(KEYS, lambda: NOW, strict=strict)
    response = getattr(mint, endpoint)(HttpRequest("POST", "/", body=data))
    return response.status, orjson.loads(response.body)


def refused(endpoint, body, *, strict=False):
    """The code and param of a refusal."""
    status, answer = ask(endpoint, body, strict=strict)
    assert status == 400, answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]
    return answer["error"]["code"], answer["error"]["param"]


# --- client_secrets ------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", {}, {"session": None, "expires_after": None}])
def test_a_key_for_a_session_as_it_comes(body):
    """Ten minutes, GA, every default shown; the SDK's own type takes it."""
    status, answer = ask("client_secret", body)
    assert status == 200
    made = ClientSecretCreateResponse.model_validate(answer, strict=True)
    assert made.expires_at == NOW + 600
    assert made.session.type == "realtime"
    assert answer["session"]["object"] == "realtime.session"
    assert answer["session"]["id"].startswith("sess_")
    assert answer["session"]["model"] == DEFAULT_MODEL
    grant = KEYS.read(made.value, NOW)
    assert (grant.expires_at, grant.dialect, grant.kind) == (NOW + 600, "ga", "realtime")


def test_a_key_holds_the_session_that_was_asked_for():
    """What the answer shows is what a session with the key begins with."""
    session = {
        "type": "realtime",
        "model": "gpt-realtime",
        "instructions": "Be brief.",
        "tools": [TOOL],
        "audio": {"output": {"voice": "marin", "speed": 1.25}},
    }
    status, answer = ask("client_secret", {"session": session})
    assert status == 200
    made = ClientSecretCreateResponse.model_validate(answer, strict=True)
    shown = answer["session"]
    assert shown["model"] == "gpt-realtime"
    assert shown["audio"]["output"]["voice"] == "marin"
    grant = KEYS.read(made.value, NOW)
    config = initial().updated(grant.session)
    again = config.to_json(
        session_id=shown["id"], model=grant.session["model"], expires_at=shown["expires_at"]
    )
    assert again == shown


def test_a_key_for_transcription():
    session = {
        "type": "transcription",
        "audio": {"input": {"transcription": {"model": "whisper-1", "language": "de"}}},
    }
    status, answer = ask("client_secret", {"session": session})
    assert status == 200
    made = ClientSecretCreateResponse.model_validate(answer, strict=True)
    assert made.session.type == "transcription"
    assert answer["session"]["object"] == "realtime.transcription_session"
    assert KEYS.read(made.value, NOW).kind == "transcription"


@pytest.mark.parametrize("seconds", [10, 7200])
def test_how_long_a_key_is_good_for(seconds):
    after = {"anchor": "created_at", "seconds": seconds}
    _, answer = ask("client_secret", {"expires_after": after})
    assert answer["expires_at"] == NOW + seconds
    assert KEYS.read(answer["value"], NOW).expires_at == NOW + seconds


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b"[" * 2000 + b"]" * 2000, "invalid_json", None),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "invalid_json", None),
        ([], "invalid_event", None),
        ({"session": 1}, "invalid_type", "session"),
        ({"session": {"type": "other"}}, "invalid_value", "session.type"),
        ({"session": {"instructions": 1}}, "invalid_type", "session.instructions"),
        (
            {"session": {"audio": {"output": {"speed": 9}}}},
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
        ({"expires_after": 600}, "invalid_type", "expires_after"),
        ({"expires_after": {"anchor": "now"}}, "invalid_value", "expires_after.anchor"),
        (
            {"expires_after": {"seconds": 9}},
            "integer_below_min_value",
            "expires_after.seconds",
        ),
        (
            {"expires_after": {"seconds": 7201}},
            "integer_above_max_value",
            "expires_after.seconds",
        ),
        ({"expires_after": {"seconds": 60.5}}, "invalid_type", "expires_after.seconds"),
    ],
)
def test_what_is_wrong_is_named(body, code, param):
    assert refused("client_secret", body) == (code, param)


def test_unknown_fields_are_refused_by_strict_servers_only():
    inner = {"session": {"type": "realtime", "mood": "good"}}
    for body, param in (({"mood": "good"}, "mood"), (inner, "session.mood")):
        assert ask("client_secret", body)[0] == 200
        assert refused("client_secret", body, strict=True) == ("unknown_parameter", param)


@pytest.mark.parametrize("endpoint", ["client_secret", "session"])
def test_a_session_that_is_too_large_is_refused_with_advice(endpoint):
    """It would not fit into a header; the message says what to do."""
    text = random.Random(1).randbytes(9000).hex()  # noqa: S311
    body = {"instructions": text}
    status, answer = ask(endpoint, {"session": body} if endpoint == "client_secret" else body)
    assert status == 400
    assert answer["error"]["code"] == "session_too_large"
    assert str(KEY_LENGTH) in answer["error"]["message"]
    assert "session.update" in answer["error"]["message"]
    assert text not in answer["error"]["message"]


# --- beta ----------------------------------------------------------------------------------


def test_a_beta_key():
    """A minute; flat session in, flat session out, with the key in it."""
    body = {
        "model": "gpt-4o-realtime-preview",
        "modalities": ["text"],
        "instructions": "Be brief.",
        "input_audio_format": "g711_ulaw",
        "max_response_output_tokens": 100,
        "temperature": 0.7,
        "turn_detection": None,
    }
    status, answer = ask("session", body)
    assert status == 200, answer
    made = SessionCreateResponse.model_validate(answer, strict=True)
    assert made.client_secret.expires_at == NOW + 60
    assert made.input_audio_format == "g711_ulaw"
    assert made.max_response_output_tokens == 100
    assert made.temperature == 0.7
    assert made.modalities == ["text"]
    assert answer["model"] == "gpt-4o-realtime-preview"
    assert answer["turn_detection"] is None
    assert "audio" not in answer
    grant = KEYS.read(made.client_secret.value, NOW)
    assert (grant.dialect, grant.kind) == ("beta", "realtime")
    assert grant.session["model"] == "gpt-4o-realtime-preview"
    config = initial().updated(grant.session)
    assert config.output_modality == "text"
    assert config.temperature == 0.7


def test_a_beta_key_for_transcription():
    body = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
    }
    status, answer = ask("transcription_session", body)
    assert status == 200, answer
    made = TranscriptionSession.model_validate(answer, strict=True)
    assert made.input_audio_transcription is not None
    assert made.input_audio_transcription.language == "en"
    assert made.client_secret.expires_at == NOW + 60
    assert answer["object"] == "realtime.transcription_session"
    grant = KEYS.read(made.client_secret.value, NOW)
    assert (grant.dialect, grant.kind) == ("beta", "transcription")
    assert initial("transcription").updated(grant.session).type == "transcription"


def test_a_beta_key_may_be_asked_to_last():
    after = {"anchor": "created_at", "seconds": 120}
    _, answer = ask("session", {"client_secret": {"expires_after": after}})
    assert answer["client_secret"]["expires_at"] == NOW + 120


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input_audio_format": "mp3"}, "invalid_value", "input_audio_format"),
        ({"voice": 1}, "invalid_type", "voice"),
        ({"instructions": 1}, "invalid_type", "instructions"),
        (
            {"turn_detection": {"type": "server_vad", "threshold": 2.0}},
            "decimal_above_max_value",
            "turn_detection.threshold",
        ),
        ({"client_secret": 1}, "invalid_type", "client_secret"),
        (
            {"client_secret": {"expires_after": {"seconds": 1}}},
            "integer_below_min_value",
            "client_secret.expires_after.seconds",
        ),
    ],
)
def test_what_is_wrong_is_named_where_the_beta_dialect_has_it(body, code, param):
    assert refused("session", body) == (code, param)
