"""`dataflow check` and `dataflow list`: what dataflows offer, and which of them run."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trio_bridge.dora.descriptor import Descriptor, examine, find_dataflow
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import allowed_for
from trio_bridge.errors import BridgeError, DataflowError
from trio_bridge.settings import Settings
from trio_bridge.settings_layers import load_settings

ANSWER_TIMEOUT = 5.0
"""Seconds a server may take to tell of its health."""


def run(options: argparse.Namespace) -> int:
    """Run a command; returns the exit status: 1 if a dataflow is wrong.

    Raises:
        SettingsError: The settings are wrong.
        DataflowError: There is no such dataflow.
        ServerUnreachable: The server does not answer.
    """
    if options.action == "check":
        return _check(find_dataflow(options.file))
    settings = load_settings(config_path=options.config, environ=os.environ, flags={})
    sound = True
    for line, is_sound in _configured(settings):
        sound = sound and is_sound
        _print(line)
    if options.url:
        _print_all(_running(_health(options.url)))
    return 0 if sound else 1


class ServerUnreachable(BridgeError):
    """A server does not tell how it is."""


def describe(descriptor: Descriptor) -> Iterator[str]:
    """What a dataflow offers, line by line."""
    contract, offers = descriptor.contract, descriptor.capabilities
    yield f"dataflow   {descriptor.name}"
    sessions = f", {contract.sessions} session an instance" if contract.sessions else ""
    yield f"contract   {contract.name}{sessions}"
    answers = "answers when asked" if offers.responses else "answers of its own accord only"
    hears = (
        "says where speech starts and stops" if offers.speech else "",
        "says what was heard" if offers.transcripts else "",
        answers,
    )
    yield f"offers     {'; '.join(each for each in hears if each)}"
    yield f"nodes      {', '.join(descriptor.nodes)}"
    if descriptor.session_values:
        yield f"started by the session's {', '.join(sorted(descriptor.session_values))}"
    yield f"bridge     {descriptor.bridge}"
    for output in descriptor.outputs:
        readers = (f"{link.node}/{link.input_id}" for link in descriptor.readers(output))
        yield f"  output   {output} -> {', '.join(readers) or 'nobody'}"
    for link in descriptor.links:
        if link.node == descriptor.bridge:
            yield f"  input    {link.input_id} <- {link.source}/{link.output}"


def _check(path: Path) -> int:
    descriptor, problems = examine(path)
    if descriptor is not None:
        _print_all(describe(descriptor))
    _print_all(f"problem    {problem}" for problem in problems)
    if not problems:
        _print("no problem was found")
    return 1 if problems else 0


def _configured(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Each dataflow of the settings in a line, and whether it is sound."""
    wanted = {"(every other)": settings.dora.dataflow}
    for model, dataflow in {**settings.models, **wanted}.items():
        try:
            path = find_dataflow(dataflow)
        except DataflowError as exc:
            yield f"model {model}: {exc}", False
            continue
        descriptor, problems = examine(path)
        if descriptor is not None:
            try:
                allowed_for(descriptor.session_values, settings.session_values)
            except DataflowError as exc:
                problems.append(exc)
        contract = f", {descriptor.contract.name} contract" if descriptor else ""
        state = f"{len(problems)} problems" if problems else "sound"
        numbers = _numbers(settings.of_dataflow(dataflow), descriptor)
        words = f"model {model}: {dataflow} ({path}{contract}): {state}; {numbers}"
        yield words, not problems


def _numbers(settings: DoraSettings, descriptor: Descriptor | None) -> str:
    most = descriptor.contract.sessions if descriptor else None
    sessions = min(settings.sessions, most or settings.sessions)
    instances = max(settings.max_instances, settings.warm)
    return (
        f"sessions {sessions}, warm {settings.warm}, max_instances {instances},"
        f" idle_stop {settings.idle_stop:g}"
    )


def _health(url: str) -> dict[str, Any]:
    address = f"{url.rstrip('/')}/health"
    if not address.startswith(("http://", "https://")):
        raise ServerUnreachable(f"{url} is no http:// or https:// address")
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_TIMEOUT) as answer:  # noqa: S310
            body = answer.read()
    except urllib.error.HTTPError as exc:
        # A server that is not well says so with a status of its own, and what is wrong.
        body = exc.read()
    except OSError as exc:
        raise ServerUnreachable(f"no server answers at {url}: {exc}") from exc
    try:
        health = json.loads(body)
    except ValueError as exc:
        raise ServerUnreachable(f"what answers at {url} is no trio_bridge") from exc
    if not isinstance(health, dict):
        raise ServerUnreachable(f"what answers at {url} is no trio_bridge")
    return health


def _running(health: dict[str, Any]) -> Iterator[str]:
    dataflows = health.get("dataflows") or []
    if not dataflows:
        yield "running: none"
    for each in dataflows:
        yield (
            f"running {each['name']}: {each['dataflow']}, {each['state']}, "
            f"{each['sessions']} sessions, {each['lostMessages']} messages lost"
        )


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        _print(line)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201
