"""Where settings come from: defaults, then a TOML file, then the environment, then flags.

In the file each section is a table (`[server]`), in the environment a key is
`TRIO_BRIDGE_<SECTION>_<KEY>`. What is misspelt is refused, wherever it stands. Three tables are
different. `[models]` and `[session_values]` are mappings, which `TRIO_BRIDGE_MODELS` and
`TRIO_BRIDGE_SESSION_VALUES` hold whole. `[dataflows.<name>]` is for one dataflow, and can be in
the file only.

The environment also speaks to the nodes of a dataflow (`TRIO_BRIDGE_LLM_URL` and the like, see
`nodes.variables`). Those variables are theirs: they are passed on, not read here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import attrs
import cattrs
import typed_settings
from cattrs.errors import CattrsError
from typed_settings.converters import to_bool
from typed_settings.exceptions import TsError
from typed_settings.loaders import DictLoader

from trio_bridge.dora.settings import NUMBERS, DataflowSettings
from trio_bridge.errors import SettingsError
from trio_bridge.nodes.variables import NAMES, PREFIX, meant_by
from trio_bridge.settings import (
    CHECKS,
    DATAFLOWS,
    KEYS,
    MODELS,
    SECTIONS,
    TABLES,
    VALUES,
    Settings,
    near_or_known,
)

MAX_FILE_BYTES = 1024 * 1024
"""A configuration is a page of text; what is larger is another file by mistake."""


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
    named: set[str] = set()
    for origin, layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
        # After each layer, so that a message can tell where the bad value came from.
        settings = _structure(merged, origin)
        named |= {settings.dora.dataflow, *settings.models.values()}
    # Named by any layer will do: a flag may choose another dataflow than the file is for.
    for dataflow in settings.dataflows:
        if dataflow not in named:
            meant = near_or_known(dataflow, tuple(sorted(named)))
            raise SettingsError(
                f"{config_path}: no model is answered by the dataflow of"
                f" [{DATAFLOWS}.{dataflow}]{meant}"
            )
    return settings


def _structure(values: dict[str, dict[str, Any]], origin: str) -> Settings:
    try:
        return typed_settings.load_settings(Settings, [DictLoader(values)])
    except TsError as exc:
        raise SettingsError(f"{origin}: {_reason(values) or exc}") from exc


def _reason(values: dict[str, dict[str, Any]]) -> str | None:
    """What is wrong, in the validator's own words: typed-settings keeps them to itself."""
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(bool, lambda value, _: to_bool(value))
    for section, given in values.items():
        if section in TABLES:
            try:
                CHECKS[section](None, None, given)
            except ValueError as exc:
                return f"{section}: {exc}"
            continue
        if section == DATAFLOWS:
            for name, numbers in given.items():
                try:
                    DataflowSettings(**numbers)
                except ValueError as exc:
                    return f"{DATAFLOWS}.{name}: {str(exc).splitlines()[0]}"
            continue
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
        if section not in (*KEYS, *TABLES, DATAFLOWS):
            meant = near_or_known(section, (*KEYS, *TABLES, DATAFLOWS))
            raise SettingsError(f"{path}: unknown section [{section}]{meant}")
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: '{section}' must be a table, [{section}]")
        for key, value in values.items():
            where = f"{path}: {section}.{key}"
            if section in TABLES:
                _check_toml_type(where, "" if section == MODELS else (), value)
                continue
            if section == DATAFLOWS:
                _check_numbers(path, key, value)
                continue
            if key not in KEYS[section]:
                meant = near_or_known(key, KEYS[section])
                raise SettingsError(f"{path}: unknown key '{key}' in [{section}]{meant}")
            attribute = getattr(attrs.fields(SECTIONS[section]), key)
            _check_toml_type(where, attribute.default, value, shown=bool(attribute.repr))
    return document


def _check_numbers(path: Path, dataflow: str, numbers: object) -> None:
    table = f"{DATAFLOWS}.{dataflow}"
    if not isinstance(numbers, dict):
        raise SettingsError(f"{path}: '{table}' must be a table, [{table}]")
    for key, value in numbers.items():
        if key not in NUMBERS:
            meant = near_or_known(key, tuple(NUMBERS))
            raise SettingsError(f"{path}: unknown key '{key}' in [{table}]{meant}")
        _check_toml_type(f"{path}: {table}.{key}", NUMBERS[key], value)


def _check_toml_type(where: str, default: object, value: object, *, shown: bool = True) -> None:
    # A converter made for the environment takes "8080" for a number and 1 for a text. A file
    # has types of its own, and one that is wrong is a mistake.
    if isinstance(default, tuple):
        fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
        kind = "list of str"
    elif isinstance(default, bool):
        fits, kind = isinstance(value, bool), "bool"
    elif isinstance(default, int | float):
        wanted = (int, float) if isinstance(default, float) else int
        fits, kind = isinstance(value, wanted) and not isinstance(value, bool), "number"
    else:
        fits, kind = isinstance(value, str), "str"
    if not fits:
        raise SettingsError(f"{where} must be a {kind}" + (f": {value!r}" if shown else ""))


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    known = {
        f"{PREFIX}{section}_{key}".upper(): (section, key)
        for section, keys in KEYS.items()
        for key in keys
    }
    models, values = (f"{PREFIX}{table}".upper() for table in TABLES)
    layer: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        if name == models:
            layer[MODELS] = dict(_pair(name, word, "MODEL=DATAFLOW") for word in _words(value))
        elif name == values:
            pairs = (_pair(name, word, "NAME=VALUE|VALUE") for word in _words(value))
            layer[VALUES] = {key: allowed.split("|") for key, allowed in pairs}
        elif name in known:
            section, key = known[name]
            listed = isinstance(getattr(attrs.fields(SECTIONS[section]), key).default, tuple)
            layer.setdefault(section, {})[key] = _words(value) if listed else value
        elif name.startswith(PREFIX) and name not in NAMES:
            everything = (*known, models, values, *NAMES)
            near = meant_by(name, everything)
            meant = f"did you mean {near}?" if near else f"known: {', '.join(everything)}"
            raise SettingsError(f"environment: {name} sets nothing ({meant})")
    return layer


def _words(value: str) -> list[str]:
    return [word for part in value.split(",") if (word := part.strip())]


def _pair(name: str, word: str, form: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in word.partition("="))
    if not equals:
        raise SettingsError(f"environment: {name}: {word!r} is not {form}")
    return key, value


def _from_flags(flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    layer: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        section, _, key = name.partition(".")
        if key not in KEYS.get(section, ()):
            raise SettingsError(f"command line: {name} sets nothing")
        if value is not None:
            layer.setdefault(section, {})[key] = value
    return layer
