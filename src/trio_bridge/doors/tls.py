"""The server's TLS: its certificate, and what can be wrong with the files it is in."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from trio_bridge.errors import SettingsError


def server_context(cert: str, key: str) -> ssl.SSLContext | None:
    """What a server needs to speak TLS; None when neither file is named.

    Args:
        cert: The PEM file with the certificate and those that sign it; "" for none.
        key: The PEM file with its private key. "": it is in the file `cert`.

    Raises:
        SettingsError: A file cannot be used; says which, and why.
    """
    if not cert and not key:
        return None
    if not cert:
        raise SettingsError("server.tls_key is set, and server.tls_cert is not")
    # Looked at here, because the library does not say which of the two it could not use.
    _check("server.tls_cert", cert, "CERTIFICATE")
    if key:
        _check("server.tls_key", key, "PRIVATE KEY")
    else:
        _check("server.tls_cert", cert, "PRIVATE KEY", " (its file is set with server.tls_key)")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key or None, password=_refuse_password)
    except ssl.SSLError as exc:
        fault = "the key is not the certificate's"
        if exc.reason != "KEY_VALUES_MISMATCH":
            fault = f"cannot be used: {exc}"
        raise SettingsError(f"server.tls_cert: {cert}: {fault}") from exc
    return context


def _check(name: str, path: str, content: str, hint: str = "") -> None:
    try:
        text = Path(path).read_bytes()
    except OSError as exc:
        raise SettingsError(f"{name}: {path} cannot be read: {exc.strerror}") from exc
    if f"{content}-----".encode() not in text:
        raise SettingsError(f"{name}: {path} holds no {content.lower()} in PEM{hint}")


def _refuse_password() -> NoReturn:
    # Without this the library would ask the terminal, and the start would hang.
    raise SettingsError("server.tls_key: the private key is encrypted; it must not be")
