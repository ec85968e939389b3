"""Ephemeral keys: what a back end hands to a browser so that it may open sessions for a while.

A key holds everything that it grants, and a signature. The server keeps nothing, so a key works
on every replica that has the same secret, and cannot be taken back before it expires. It is
signed, not encrypted: whoever has it can read the configuration in it.

    ek_ base64url( HMAC-SHA256 · zlib( JSON ) )
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import zlib

import orjson
from attrs import Factory, field, frozen

from trio_bridge.errors import KeyRefused
from trio_bridge.realtime.config import Kind
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.wire import Dialect

PREFIX = "ek_"
"""What tells an ephemeral key from an account's."""

KEY_LENGTH = 8_000
"""Characters in a key. It travels in one header line, and proxies take lines of 8 KiB."""

_PURPOSE = b"trio-bridge ephemeral key 1\0"
"""Signed with every key, so that nothing else signed with the same secret passes for one."""

_SIGNATURE_BYTES = hashlib.sha256().digest_size


class KeyTooLong(ValueError):
    """A grant does not fit into a key.

    Attributes:
        length: Characters that the key would have had.
    """

    def __init__(self, length: int) -> None:
        super().__init__(f"the key would have {length} characters")
        self.length = length


@frozen
class Grant:
    """What a key lets its bearer do.

    Attributes:
        expires_at: Until when sessions may be opened with it, Unix time in seconds.
        dialect: What the sessions speak.
        kind: What they are for.
        session: What they are set to, as the `session` of a GA `session.update`, and `model`.
    """

    expires_at: int
    dialect: Dialect = "ga"
    kind: Kind = "realtime"
    session: Json = Factory(dict)


@frozen
class Keys:
    """Makes and reads ephemeral keys.

    Args:
        secret: What they are signed with; the same on all replicas. Default: a random one, and
            its keys end with the process.
    """

    _secret: str = field(factory=secrets.token_hex, repr=False)

    def make(self, grant: Grant) -> str:
        """The key for a grant.

        Raises:
            KeyTooLong: The session's configuration is too large for a header.
        """
        fields = [grant.expires_at, grant.dialect, grant.kind, grant.session]
        content = zlib.compress(orjson.dumps(fields), level=9)
        signed = self._signature(content) + content
        key = PREFIX + base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
        if len(key) > KEY_LENGTH:
            raise KeyTooLong(len(key))
        return key

    def read(self, key: str, now: float) -> Grant:
        """What a key grants.

        Args:
            key: As the client sent it.
            now: Unix time in seconds.

        Raises:
            KeyRefused: It was not made with this secret, or has expired. The message does not
                repeat it.
        """
        signed = _bytes_of(key)
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(content)):
            raise KeyRefused("Incorrect API key provided: this server did not make it.")
        # What carries our signature is what we wrote.
        expires_at, dialect, kind, session = orjson.loads(zlib.decompress(content))
        if now >= expires_at:
            raise KeyRefused("Incorrect API key provided: the ephemeral key has expired.")
        return Grant(expires_at, dialect, kind, session)

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self._secret.encode(), _PURPOSE + content, "sha256")


def is_ephemeral(key: str) -> bool:
    """Whether a key says that it is one of these."""
    return key.startswith(PREFIX)


def _bytes_of(key: str) -> bytes:
    if len(key) > KEY_LENGTH:
        return b""
    try:
        text = key.removeprefix(PREFIX).encode("ascii")
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""
