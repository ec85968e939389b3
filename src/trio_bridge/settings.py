"""What can be set, in one tree, with its defaults; `settings_layers` says where it is set.

A key that `repr` does not show is a secret: no message repeats its value.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
from attrs import Attribute, Factory, field, frozen
from attrs.validators import ge, in_, le, min_len

from trio_bridge.dora.settings import SESSION_VALUES, VALUE, DataflowSettings, DoraSettings

LOG_FORMATS = ("console", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")

MODELS = "models"
"""The table whose keys are names and patterns of models."""

VALUES = "session_values"
"""The table whose keys are names of values, each with the list of those allowed."""

TABLES = (MODELS, VALUES)
DATAFLOWS = "dataflows"
"""The table of tables, one for each dataflow that has settings of its own."""

SECRET_LENGTH = 16
"""Characters a secret has at least. Whoever holds a key can try secrets on it at leisure."""

_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+")


def _finite(_instance: object, attribute: Attribute[float], value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"'{attribute.name}' must be a finite number: {value}")


def _number(_instance: object, attribute: Attribute[float], value: float) -> None:
    if math.isnan(value):
        raise ValueError(f"'{attribute.name}' must be a number: {value}")


def _origins(_instance: object, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    for origin in value:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"'{attribute.name}' must hold origins such as https://app.example.com, "
                f"without a path: {origin!r}"
            )


def _secret(_instance: object, attribute: Attribute[str], value: str) -> None:
    if value and len(value) < SECRET_LENGTH:
        raise ValueError(f"'{attribute.name}' must have at least {SECRET_LENGTH} characters")


def _dataflows(_instance: object, _attribute: object, value: Mapping[str, str]) -> None:
    for model, dataflow in value.items():
        if not model or not dataflow:
            raise ValueError(f"{model!r} = {dataflow!r} must name a model and a dataflow")


def _session_values(
    _instance: object, _attribute: object, value: Mapping[str, tuple[str, ...]]
) -> None:
    for name, allowed in value.items():
        if name not in SESSION_VALUES:
            raise ValueError(f"there is no value {name!r}{near_or_known(name, SESSION_VALUES)}")
        if not allowed:
            raise ValueError(f"{name} needs at least one value: the first is the default")
        for each in allowed:
            if not VALUE.fullmatch(each):
                raise ValueError(
                    f"{name}: {each!r} is no value: 1 to 64 letters, digits and . _ : + -"
                )


@frozen
class ServerSettings:
    """The server itself.

    Attributes:
        host: The address to listen on.
        port: The port; 0 takes any that is free.
        drain_timeout: Seconds that open sessions have to end when the server stops.
        resume_window: Seconds that a session outlives its connection. 0: not at all.
        lead: Seconds that outgoing audio may be ahead of real time. `inf`: not paced.
        strict: Fields that the protocol does not know are errors, instead of ignored.
        secret: What ephemeral keys are signed with; the same on all replicas. Empty: a random
            one for each process.
        cors_origins: The web pages that may use the server, besides its own, by their origin;
            `*`: any.
        tls_cert: The PEM file with the certificate. Empty: no TLS.
        tls_key: The PEM file with its private key. Empty: it is in `tls_cert`.
    """

    host: str = field(default="127.0.0.1", validator=min_len(1))
    port: int = field(default=8080, validator=[ge(0), le(65535)])
    drain_timeout: float = field(default=3.0, validator=[_finite, ge(0), le(3600)])
    resume_window: float = field(default=0.0, validator=[_finite, ge(0), le(3600)])
    lead: float = field(default=2.0, validator=[_number, ge(0.1)])
    strict: bool = False
    secret: str = field(default="", repr=False, validator=_secret)
    cors_origins: tuple[str, ...] = field(default=(), validator=_origins)
    tls_cert: str = ""
    tls_key: str = ""


@frozen
class LogSettings:
    """What is logged, to standard error.

    Attributes:
        format: `console` for people, `json` for machines: one object per line.
        level: The least level that is logged.
    """

    format: Literal["console", "json"] = field(default="console", validator=in_(LOG_FORMATS))
    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", validator=in_(LOG_LEVELS)
    )


@frozen
class Settings:
    """Everything that can be set, with its defaults.

    `models` chooses the dataflow by the model that a client asks for: a name, or a pattern with
    `*` and `?`, → a dataflow as in `dora.dataflow`, which answers all other models. `dataflows`
    says what holds for one of them alone. `session_values` lists what the nodes of a dataflow
    may be started with by a session's wish: a name of `dora.settings.SESSION_VALUES` → the
    values allowed, the default first.
    """

    server: ServerSettings = Factory(ServerSettings)
    dora: DoraSettings = Factory(DoraSettings)
    log: LogSettings = Factory(LogSettings)
    models: dict[str, str] = field(factory=dict, validator=_dataflows)
    session_values: dict[str, tuple[str, ...]] = field(factory=dict, validator=_session_values)
    dataflows: dict[str, DataflowSettings] = field(factory=dict)

    def of_dataflow(self, name: str) -> DoraSettings:
        """What holds for a dataflow."""
        return self.dataflows.get(name, DataflowSettings()).over(
            attrs.evolve(self.dora, dataflow=name)
        )


CHECKS: dict[str, Callable[[object, object, Mapping[str, Any]], None]] = {
    MODELS: _dataflows,
    VALUES: _session_values,
}
"""Table → what raises ValueError for one that is wrong."""

SECTIONS: dict[str, type] = {
    section.name: section.type
    for section in attrs.fields(attrs.resolve_types(Settings))
    if section.type is not None and attrs.has(section.type)
}
"""Section → its class."""

KEYS: dict[str, tuple[str, ...]] = {
    name: tuple(key.name for key in attrs.fields(section)) for name, section in SECTIONS.items()
}
"""Section → its keys."""


def near_or_known(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """What may have been meant, in brackets; all that is known if nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"
