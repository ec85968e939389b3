"""The clients' programs, run side by side before the first test looks at what they reported."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
import trustme
from tests.clients.catalogue import CLIENTS, Client, Run, run_client
from tests.support import recordings
from tests.support.client import to_24k
from tests.support.server import running_server

from trio_bridge.audio.pcm import float32_to_pcm16

AT_ONCE = 4
"""Programs that run at once. Each holds five conversations, two of them spoken."""

RECORDING = "go_forward_ten_meters"
SILENCE = 2.0
"""Seconds of silence after the recording, in which the turn ends."""

Runs = dict[str, Run]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Client → its run. Only the clients that the selected tests ask for have run."""
    asked = {
        str(item.callspec.params["client"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    return trio.run(_run_all, asked & CLIENTS.keys(), tmp_path_factory.mktemp("clients"))


async def _run_all(names: set[str], folder: Path) -> Runs:
    recording = folder / "speech.pcm"
    quiet = np.zeros(int(16_000 * SILENCE), np.float32)
    samples = np.concatenate([recordings.load(RECORDING), quiet])
    recording.write_bytes(float32_to_pcm16(to_24k(samples, 16_000)))
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    runs: Runs = {}
    places = trio.CapacityLimiter(AT_ONCE)

    async def run(client: Client, url: str) -> None:
        async with places:
            runs[client.name] = await run_client(client, url, recording, ca)

    async with _plain_and_tls(folder, authority) as urls, trio.open_nursery() as nursery:
        for name in sorted(names):
            nursery.start_soon(run, CLIENTS[name], urls[CLIENTS[name].tls])
    return runs


@asynccontextmanager
async def _plain_and_tls(
    folder: Path, authority: trustme.CA
) -> AsyncGenerator[dict[bool, str], None]:
    """Two servers, and whether a URL is the one with TLS → the URL."""
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    async with (
        running_server(folder / "plain.log") as plain,
        running_server(
            folder / "tls.log", env={"TRIO_BRIDGE_SERVER_TLS_CERT": str(certificate)}
        ) as secure,
    ):
        yield {False: plain.http_url, True: secure.http_url}
