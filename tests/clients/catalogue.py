"""The clients: how each is started, and how its program is run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

PROGRAM_TIMEOUT = 90.0
"""Seconds for all scenarios of one client, which run side by side."""

SCENARIOS = frozenset({"connect", "text_turn", "voice_turn", "function_call", "barge_in"})


@frozen
class Client:
    """A client, and how it is run.

    Attributes:
        name: What the tests call it.
        program: The command that runs its scenarios.
        options: What the program is told beside URL and recording.
        tls: Whether it talks to the server over TLS.
        shows_events: Whether its user sees the protocol's events: ids, status, reasons.
    """

    name: str
    program: tuple[str, ...]
    options: tuple[str, ...] = ()
    tls: bool = False
    shows_events: bool = True

    @property
    def scenarios(self) -> frozenset[str]:
        """What its program reports."""
        return SCENARIOS if self.shows_events else SCENARIOS - {"connect"}


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.clients.{module}")


def _node(script: str) -> tuple[str, ...]:
    return ("node", str(HERE / "javascript" / script))


CLIENTS = {
    client.name: client
    for client in (
        Client("openai-python-async", _python("openai_python"), ("ga", "async")),
        Client("openai-python-sync", _python("openai_python"), ("ga", "sync"), tls=True),
        Client("openai-python-beta-async", _python("openai_python"), ("beta", "async")),
        Client("openai-python-beta-sync", _python("openai_python"), ("beta", "sync"), tls=True),
        Client("openai-node", _node("openai_node.mjs"), ("ga", "ws")),
        Client("openai-node-platform", _node("openai_node.mjs"), ("ga", "platform"), tls=True),
        Client("openai-node-beta", _node("openai_node.mjs"), ("beta", "ws"), tls=True),
        Client(
            "openai-node-beta-platform",
            _node("openai_node.mjs"),
            ("beta", "platform"),
            tls=True,
        ),
        Client("openai-agents-python", _python("openai_agents_python")),
        Client("openai-agents-js", _node("openai_agents.mjs"), tls=True),
        Client("livekit-python", _python("livekit_python")),
        Client("pipecat-python", _python("pipecat_python"), shows_events=False),
    )
}


@define
class Run:
    """What a client's program reported, by scenario, and what else it printed."""

    status: int | None = None
    reports: dict[str, dict[str, Any]] = field(factory=dict)
    stderr: str = ""


async def run_client(client: Client, url: str, recording: Path, ca: Path) -> Run:
    """Run a client's program to its end.

    Args:
        client: Which.
        url: The server's, `http://…` or `https://…`.
        recording: What it says: 24 kHz PCM16.
        ca: The PEM file of who signed the server's certificate.
    """
    run = Run()
    trust = {"SSL_CERT_FILE": str(ca), "NODE_EXTRA_CA_CERTS": str(ca)} if client.tls else {}
    with trio.move_on_after(PROGRAM_TIMEOUT) as scope:
        ended = await trio.run_process(
            [*client.program, url, str(recording), *client.options],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, **trust},
        )
        run.status = ended.returncode
        run.stderr = ended.stderr.decode(errors="replace")
        for line in ended.stdout.decode().splitlines():
            report = json.loads(line)
            run.reports[report.pop("scenario")] = report
    if scope.cancelled_caught:
        run.stderr = f"not done after {PROGRAM_TIMEOUT} s"
    return run
