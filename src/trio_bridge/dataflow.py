"""`dataflow check` and `dataflow list`: what dataflows offer, and which of them run."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import trio

from trio_bridge.dora.descriptors.dataflow_file import check_servable, examine, find_dataflow
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.validation import validate_alone
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import allowed_for
from trio_bridge.errors import BridgeError, DataflowError, RuntimeFailed, SettingsError
from trio_bridge.settings import ServerSettings, Settings
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
        _print_all(_running(options.url, _health(options.url)))
    else:
        _print_all(_running_here(settings.server))
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
    yield f"nodes      {', '.join(descriptor.nodes) or 'none'}"
    if descriptor.others:
        yield f"beside     {', '.join(descriptor.others)}: on no way from or to the bridge"
    if descriptor.session_values:
        yield f"started by the session's {', '.join(sorted(descriptor.session_values))}"
    how = ", started by Dora: for `dora start`" if descriptor.starts_bridge else ""
    yield f"bridge     {descriptor.bridge}{how}"
    for output in descriptor.outputs:
        readers = (f"{link.node}/{link.input_id}" for link in descriptor.readers(output))
        yield f"  output   {output} -> {', '.join(readers) or 'nobody'}"
    for link in descriptor.links:
        if link.node == descriptor.bridge:
            yield f"  input    {link.input_id} <- {link.source}/{link.output}"


def _check(path: Path) -> int:
    descriptor, problems = _examine(path)
    if descriptor is not None:
        _print_all(describe(descriptor))
        _print_all(f"doubt      {doubt}" for doubt in descriptor.doubts)
    _print_all(f"problem    {problem}" for problem in problems)
    if not problems:
        _print("no problem was found")
    return 1 if problems else 0


def _examine(path: Path) -> tuple[Descriptor | None, list[BridgeError]]:
    """What is wrong with a dataflow, as it is found at a start of the server: by its file, and
    then by Dora."""
    descriptor, found = examine(path)
    problems: list[BridgeError] = [*found]
    if descriptor is None or problems:
        return descriptor, problems
    try:
        if descriptor.starts_bridge:
            # It reads them there, and ends at once if they are wrong.
            env = {str(name): str(value) for name, value in descriptor.bridge_env.items()}
            load_settings(environ=env)
        filled = descriptor.filled(dict.fromkeys(descriptor.session_values, "value"))
        with tempfile.TemporaryDirectory(prefix="trio_bridge-check-") as folder:
            trio.run(validate_alone, filled, Path(folder))
    except SettingsError as exc:
        problems.append(DataflowError(f"node {descriptor.bridge!r}: {exc}"))
    except (DataflowError, RuntimeFailed) as exc:
        problems.append(exc)
    return descriptor, problems


def _configured(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Each dataflow of the settings in a line, and whether it is sound."""
    wanted = {"(every other)": settings.dora.dataflow}
    for model, dataflow in {**settings.models, **wanted}.items():
        try:
            path = find_dataflow(dataflow)
        except DataflowError as exc:
            yield f"model {model}: {exc}", False
            continue
        descriptor, problems = _examine(path)
        if descriptor is not None:
            try:
                check_servable(descriptor)
                allowed_for(descriptor.session_values, settings.session_values)
            except DataflowError as exc:
                problems.append(exc)
        contract = f", {descriptor.contract.name} contract" if descriptor else ""
        state = _state(dataflow, len(problems))
        numbers = _numbers(settings.of_dataflow(dataflow), descriptor)
        words = f"model {model}: {dataflow} ({path}{contract}): {state}; {numbers}"
        yield words, not problems


def _state(dataflow: str, problems: int) -> str:
    if not problems:
        return "sound"
    many = "1 problem" if problems == 1 else f"{problems} problems"
    return f"{many} (`dataflow check {dataflow}`)"


def _numbers(settings: DoraSettings, descriptor: Descriptor | None) -> str:
    most = descriptor.contract.sessions if descriptor else None
    sessions = min(settings.sessions, most or settings.sessions)
    instances = max(settings.max_instances, settings.warm)
    return (
        f"sessions {sessions}, warm {settings.warm}, max_instances {instances},"
        f" idle_stop {settings.idle_stop:g}"
    )


def _health(url: str, trusted: ssl.SSLContext | None = None) -> dict[str, Any]:
    address = f"{url.rstrip('/')}/health"
    if not address.startswith(("http://", "https://")):
        raise ServerUnreachable(f"{url} is no http:// or https:// address")
    try:
        health = json.loads(_answer(address, trusted))
    except OSError as exc:
        why = getattr(exc, "reason", exc)
        raise ServerUnreachable(f"no server answers at {url}: {why}") from exc
    except (http.client.HTTPException, ValueError) as exc:
        raise ServerUnreachable(f"what answers at {url} is no trio_bridge") from exc
    if not isinstance(health, dict):
        raise ServerUnreachable(f"what answers at {url} is no trio_bridge")
    return health


def _answer(address: str, trusted: ssl.SSLContext | None) -> bytes:
    try:
        answer = urllib.request.urlopen(  # noqa: S310
            address, timeout=ANSWER_TIMEOUT, context=trusted
        )
    except urllib.error.HTTPError as exc:
        # A server that is not well says so with a status of its own, and what is wrong.
        answer = exc
    with answer:
        body: bytes = answer.read()
    return body


def _running_here(server: ServerSettings) -> Iterator[str]:
    """What runs where a server with these settings would be, if one is there."""
    if not server.port:
        yield "running: --url tells it of a server; these settings take any free port"
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    url = f"http{'s' if server.tls_cert else ''}://{host}:{server.port}"
    try:
        yield from _running(url, _health(url, _trusting(server.tls_cert)))
    except ServerUnreachable as exc:
        yield f"running: {exc}; --url asks another one"


def _trusting(certificate: str) -> ssl.SSLContext | None:
    """TLS with one server and no other, whatever name it is called by."""
    if not certificate:
        return None
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as exc:
        raise ServerUnreachable(f"{certificate} is no certificate: {exc}") from exc
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _running(url: str, health: dict[str, Any]) -> Iterator[str]:
    dataflows = health.get("dataflows") or []
    if not dataflows:
        yield f"running: none at {url}"
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
