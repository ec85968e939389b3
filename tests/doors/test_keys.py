import base64
import hmac
import random
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.doors.keys import KEY_LENGTH, PREFIX, Grant, Keys, KeyTooLong, is_ephemeral
from trio_bridge.errors import KeyRefused

SECRET = "a secret that replicas share"  # noqa: S105
KEYS = Keys(SECRET)
NOW = 1_800_000_000

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text(), values, max_size=8),
    st.sampled_from(["ga", "beta"]),
    st.sampled_from(["realtime", "transcription"]),
)
def test_a_key_holds_what_it_grants(session, dialect, kind):
    """Whatever the session: another replica with the same secret reads it back."""
    grant = Grant(NOW + 60, dialect, kind, session)
    key = KEYS.make(grant)
    assert is_ephemeral(key)
    assert Keys(SECRET).read(key, NOW) == grant


def test_a_key_fits_a_header_and_a_subprotocol():
    """Its characters are those of a token, in both places."""
    key = KEYS.make(Grant(NOW, session={"instructions": "ä\n" * 500}))
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_a_key_ends_at_its_time():
    key = KEYS.make(Grant(NOW))
    KEYS.read(key, NOW - 0.001)
    with pytest.raises(KeyRefused, match="expired"):
        KEYS.read(key, NOW)


def test_a_key_of_another_secret_is_refused():
    key = Keys("another secret, as long").make(Grant(NOW))
    with pytest.raises(KeyRefused) as caught:
        KEYS.read(key, 0)
    assert key not in str(caught.value)


def test_without_a_secret_each_process_has_its_own():
    first, second = Keys(), Keys()
    key = first.make(Grant(NOW))
    assert first.read(key, 0) == Grant(NOW)
    with pytest.raises(KeyRefused):
        second.read(key, 0)


@given(st.data())
def test_a_key_with_one_other_byte_is_refused(data):
    """Wherever it is, in the signature or in what is signed."""
    key = KEYS.make(Grant(NOW, session={"instructions": "be brief"}))
    signed = bytearray(base64.urlsafe_b64decode(key.removeprefix(PREFIX) + "=="))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= data.draw(st.integers(1, 255))
    forged = PREFIX + base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
    with pytest.raises(KeyRefused):
        KEYS.read(forged, 0)


@given(st.text() | st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_what_is_no_key_is_refused(text):
    """With no other error, whatever it is."""
    with pytest.raises(KeyRefused):
        KEYS.read(PREFIX + text, 0)


def test_a_key_signed_for_another_purpose_is_refused():
    """The same secret may sign other things; they are no keys."""
    content = zlib.compress(orjson.dumps([NOW, "ga", "realtime", {}]))
    signed = hmac.digest(SECRET.encode(), content, "sha256") + content
    with pytest.raises(KeyRefused):
        KEYS.read(PREFIX + base64.urlsafe_b64encode(signed).decode(), 0)


def test_a_session_that_is_too_large_makes_no_key():
    """What repeats itself is compressed; what does not has its bound."""
    assert len(KEYS.make(Grant(NOW, session={"instructions": "be brief. " * 5000}))) < 1000
    text = random.Random(1).randbytes(8000).hex()  # noqa: S311
    with pytest.raises(KeyTooLong) as caught:
        KEYS.make(Grant(NOW, session={"instructions": text}))
    assert caught.value.length > KEY_LENGTH


def test_the_secret_is_not_shown():
    assert SECRET not in repr(KEYS)
