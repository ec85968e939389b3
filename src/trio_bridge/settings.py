"""What can be set, in one tree: defaults, then a TOML file, then the environment, then flags.

In the file each section is a table (`[server]`), in the environment a key is
`TRIO_BRIDGE_<SECTION>_<KEY>`. What is misspelt is refused, wherever it stands.

The environment also speaks to the nodes of a dataflow (`TRIO_BRIDGE_LLM_URL` and the like).
Those variables are theirs: they are passed on, not read here. Secrets are only ever among them.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs
import cattrs
import typed_settings
from attrs import Attribute, Factory, field, frozen
from attrs.validators import ge, in_, le, min_len
from cattrs.errors import CattrsError
from typed_settings.exceptions import TsError
from typed_settings.loaders import DictLoader

from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import SettingsError

ENVIRONMENT_PREFIX = "TRIO_BRIDGE_"

NODE_PREFIXES = ("LLM_", "ASR_", "TTS_", "VAD_", "NODE_")
"""What follows `ENVIRONMENT_PREFIX` in variables that the nodes read for themselves."""

LOG_FORMATS = ("console", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")

MAX_FILE_BYTES = 1024 * 1024
"""A configuration is a page of text; what is larger is another file by mistake."""


def _finite(_instance: object, attribute: Attribute[float], value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"'{attribute.name}' must be a finite number: {value}")


def _number(_instance: object, attribute: Attribute[float], value: float) -> None:
    if math.isnan(value):
        raise ValueError(f"'{attribute.name}' must be a number: {value}")


@frozen
class ServerSettings:
    """The server itself.

    Attributes:
        host: The address to listen on.
        port: The port; 0 takes any that is free.
        drain_timeout: Seconds that open sessions have to end when the server stops.
        resume_window: Seconds that a session outlives its connection. 0: not at all.
        lead: Seconds that outgoing audio may be ahead of real time. `inf`: not paced.
    """

    host: str = field(default="127.0.0.1", validator=min_len(1))
    port: int = field(default=8080, validator=[ge(0), le(65535)])
    drain_timeout: float = field(default=3.0, validator=[_finite, ge(0), le(3600)])
    resume_window: float = field(default=0.0, validator=[_finite, ge(0), le(3600)])
    lead: float = field(default=2.0, validator=[_number, ge(0.1)])


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
    """Everything that can be set, with its defaults."""

    server: ServerSettings = Factory(ServerSettings)
    dora: DoraSettings = Factory(DoraSettings)
    log: LogSettings = Factory(LogSettings)


SECTIONS: dict[str, type] = {
    section.name: section.type
    for section in attrs.fields(attrs.resolve_types(Settings))
    if section.type is not None
}
"""Section → its class."""

KEYS: dict[str, tuple[str, ...]] = {
    name: tuple(key.name for key in attrs.fields(section)) for name, section in SECTIONS.items()
}
"""Section → its keys."""


def load_settings(
    *,
    config_path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Put the settings together.

    Args:
        config_path: A TOML file.
        environ: The environment; what does not begin with `TRIO_BRIDGE_` is passed over.
        flags: Values that win over both, by dotted key (`server.port`); None is not set.

    Raises:
        SettingsError: The file cannot be read, a section, key or variable is unknown, or a
            value is of the wrong type or out of range. Names the culprit and where it stands.
    """
    layers: list[tuple[str, dict[str, dict[str, Any]]]] = []
    if config_path is not None:
        layers.append((str(config_path), _from_file(Path(config_path))))
    layers.append(("environment", _from_environment(environ or {})))
    layers.append(("command line", _from_flags(flags or {})))
    settings = Settings()
    merged: dict[str, dict[str, Any]] = {}
    for origin, layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
        # After each layer, so that a message can tell where the bad value came from.
        settings = _structure(merged, origin)
    return settings


def _structure(values: dict[str, dict[str, Any]], origin: str) -> Settings:
    try:
        return typed_settings.load_settings(Settings, [DictLoader(values)])
    except TsError as exc:
        raise SettingsError(f"{origin}: {_reason(values) or exc}") from exc


def _reason(values: dict[str, dict[str, Any]]) -> str | None:
    """What is wrong, in the validator's own words: typed-settings keeps them to itself."""
    converter = cattrs.Converter(detailed_validation=False)
    for section, given in values.items():
        for key, value in given.items():
            try:
                converter.structure({key: value}, SECTIONS[section])
            except CattrsError:
                choices = ", ".join(
                    get_args(getattr(attrs.fields(SECTIONS[section]), key).type)
                )
                return f"{section}.{key}: {value!r} is none of: {choices}"
            except (ValueError, TypeError) as exc:
                return f"{section}.{key}: {str(exc).splitlines()[0]}"
    return None


def _from_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES} bytes, not a configuration")
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: not TOML: {exc}") from exc
    for section, values in document.items():
        if section not in KEYS:
            raise SettingsError(f"{path}: unknown section [{section}]{_hint(section, KEYS)}")
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: '{section}' must be a table, [{section}]")
        for key, value in values.items():
            if key not in KEYS[section]:
                hint = _hint(key, KEYS[section])
                raise SettingsError(f"{path}: unknown key '{key}' in [{section}]{hint}")
            _check_toml_type(f"{path}: {section}.{key}", section, key, value)
    return document


def _check_toml_type(where: str, section: str, key: str, value: object) -> None:
    # A converter made for the environment takes "8080" for a number and 1 for a text. A file
    # has types of its own, and one that is wrong is a mistake.
    default = getattr(getattr(Settings(), section), key)
    wanted = (int, float) if isinstance(default, float) else type(default)
    if isinstance(value, bool) is not isinstance(default, bool) or not isinstance(
        value, wanted
    ):
        kind = "number" if isinstance(default, int | float) else type(default).__name__
        raise SettingsError(f"{where} must be a {kind}: {value!r}")


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    known = {
        f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(): (section, key)
        for section, keys in KEYS.items()
        for key in keys
    }
    layer: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        if name in known:
            section, key = known[name]
            layer.setdefault(section, {})[key] = value
        elif name.startswith(ENVIRONMENT_PREFIX):
            rest = name.removeprefix(ENVIRONMENT_PREFIX)
            if not rest.startswith(NODE_PREFIXES):
                raise SettingsError(f"environment: {name} sets nothing{_hint(name, known)}")
    return layer


def _from_flags(flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    layer: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        section, _, key = name.partition(".")
        if key not in KEYS.get(section, ()):
            raise SettingsError(f"command line: {name} sets nothing")
        if value is not None:
            layer.setdefault(section, {})[key] = value
    return layer


def _hint(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"
