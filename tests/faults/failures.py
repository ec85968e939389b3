"""The failures: how each is made to happen, and what must come of it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, frozen

from tests.faults.bystander import bystander
from tests.faults.house import House, ask, open_house, served
from tests.support.client import Client, connected
from tests.support.resources import abandoned_segments
from tests.support.server import is_running, resident_mb

TOLD_WITHIN = 5.0
SERVED_WITHIN = 5.0
"""Seconds after the failure was told."""

MEMORY_MB = 150.0
"""What the bridge may use more while something is wrong: 64 MB wait to be taken at most, and a
large message is held twice while it is read."""

RESTART_WITHIN = 15.0
"""Seconds after which a bridge that was killed and started again serves; most of them are the
start of an interpreter and of two dataflows."""


@frozen
class Failure:
    """One row of the table.

    Attributes:
        name: What happens.
        saw: What the client must see: error codes in order, and the close code.
        words: What the words it is told must hold.
        misdeed: What the node is told to do, if it is the node's deed.
        signal: What is sent to whom otherwise.
        whom: `node`, `daemon` or `coordinator`.
    """

    name: str
    saw: str
    words: str = ""
    misdeed: str = ""
    signal: int = 0
    whom: str = "node"

    @property
    def concerns_all(self) -> bool:
        """Whether it happens to every dataflow."""
        return self.whom != "node"


BROKEN = "error dataflow_broken, close 1011"
REFUSED = "response failed node_broke_contract"
DROPPED = "response completed"

ON_NODES = (
    Failure("a node is killed (SIGKILL)", BROKEN, "'bad' has", signal=signal.SIGKILL),
    Failure("a node hangs (SIGSTOP)", BROKEN, "'bad' has", signal=signal.SIGSTOP),
    Failure("a flood of messages", BROKEN, "sends more than", "flood"),
    Failure("a flood of 48 MB messages", BROKEN, "sends more than", "huge"),
    Failure("200 rows of unknown kind", BROKEN, "again and again", "unknown kinds"),
    Failure("speech rows of the wrong type", BROKEN, "int64, not string", "speech type"),
    Failure("text that is not UTF-8", BROKEN, "decode", "not utf-8"),
)
"""Each happens to a dataflow of its own."""

ON_ONE = (
    Failure("a row of unknown kind", DROPPED, "", "unknown kind"),
    Failure("a row for a session that is not there", DROPPED, "", "session"),
    Failure("seq with a gap of 7 (counted as lost)", DROPPED, "", "gap"),
    Failure("seq jumps by 2^40", DROPPED, "", "seq"),
    Failure("message numbers jump by 2^40", DROPPED, "", "numbers"),
    Failure("an acknowledgement in another's name", DROPPED, "", "ack"),
    Failure("samples that are text", REFUSED, "not list", "wrong type"),
    Failure("no struct array", REFUSED, "struct", "no struct"),
    Failure("a message number that is none", REFUSED, "many", "no number"),
    Failure("10,000 rows in a message", REFUSED, "10000 rows", "rows"),
    Failure("NaN audio", REFUSED, "finite", "nan"),
    Failure("audio at 0 Hz", REFUSED, "sample_rate", "no rate"),
    Failure("audio at 1 GHz", "response failed response_too_large", "Hz", "giant rate"),
    Failure("usage that is no number", REFUSED, "int()", "bad usage"),
    Failure("speech 2^60 ms before its session", "error node_broke_contract, close 1011",
            "no moment", "moment"),
)  # fmt: skip
"""All happen to one instance, which lives on."""

ON_RUNTIME = (
    Failure("the daemon dies", BROKEN, "daemon has died", "", signal.SIGKILL, "daemon"),
    Failure(
        "the coordinator dies",
        BROKEN,
        "coordinator has died",
        "",
        signal.SIGKILL,
        "coordinator",
    ),
)

HANGS = (
    Failure("the daemon hangs", BROKEN, "daemon hangs", "", signal.SIGSTOP, "daemon"),
    Failure(
        "the coordinator hangs",
        BROKEN,
        "coordinator hangs",
        "",
        signal.SIGSTOP,
        "coordinator",
    ),
)

BRIDGE_KILLED = "the bridge is killed, and started again"


@define
class Row:
    """What came of a failure.

    Attributes:
        failure: Its name.
        saw: What the client saw.
        reason: The words it was told.
        told: Seconds until it was told.
        again: Seconds from then until a new session had its answer.
        memory: How much more memory the bridge used meanwhile, at most, in MB.
        other: What the session on the other dataflow noticed.
        left: What was left behind.
        wrong: What is not as it must be.
    """

    failure: str
    saw: str
    reason: str
    told: float
    again: float
    memory: float
    other: str
    left: str
    wrong: list[str]


async def run_all(folder: Path) -> AsyncGenerator[Row, None]:
    """Make every failure happen, one after the other."""
    own = {failure: f"copy-{number}" for number, failure in enumerate(ON_NODES)}
    (folder / "nodes").mkdir()
    async with open_house(folder / "nodes", list(own.values())) as house:
        for failure in ON_ONE:
            yield await happen(house, failure, "copy-0")
        for failure, model in own.items():
            yield await happen(house, failure, model)
    # Runtimes that fail one soon after the other are started later and later.
    for name, failures in (("hung", HANGS), ("runtime", ON_RUNTIME)):
        (folder / name).mkdir()
        async with open_house(folder / name, ["one"]) as house:
            for failure in failures:
                yield await happen(house, failure, "one")
    yield await bridge_killed(folder / "runtime")


async def happen(house: House, failure: Failure, model: str) -> Row:
    """Make a failure happen, and look at what comes of it."""
    url = house.server.ws_url
    async with bystander(url) as other:
        before = house.holds()
        async with connected(url, model) as client, watched_memory(house.pid) as memory:
            began = trio.current_time()
            if failure.misdeed:
                await ask(client, failure.misdeed)
            else:
                whom = failure.whom
                os.kill(house.node_of(model) if whom == "node" else house.child(whom),
                        failure.signal)  # fmt: skip
            await told(client, failure)
            told_at = trio.current_time()
            saw, reason = summary(client)
        with trio.move_on_after(SERVED_WITHIN * 3):
            await served(url, model)
        again = trio.current_time() - told_at
        noticed = await other.finish()
        pause = other.pause
    left = await house.left_since(before)
    took, more = told_at - began, memory[1] - memory[0]
    row = Row(failure.name, saw, reason, took, again, more, noticed, left, [])
    row.wrong = list(judge(row, failure))
    if not noticed:
        row.other = f"nothing (longest pause {pause * 1000:.0f} ms)"
    row.left = left or "nothing"
    return row


@asynccontextmanager
async def watched_memory(pid: int) -> AsyncGenerator[list[float], None]:
    """The resident memory of a process at first, and the most of it since."""
    memory = [resident_mb(pid)] * 2

    async def watch() -> None:
        while True:
            memory[1] = max(memory[1], resident_mb(pid))
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield memory
        nursery.cancel_scope.cancel()


async def told(client: Client, failure: Failure) -> None:
    """Wait until a client knows all that it will be told."""
    with trio.move_on_after(TOLD_WITHIN * 2):
        if "close" in failure.saw:
            await client.wait_closed(TOLD_WITHIN * 3)
        else:
            await client.wait_for("response.done")


def summary(client: Client) -> tuple[str, str]:
    """What a client saw, in a line, and the words it was told."""
    seen = [f"error {event['error']['code']}" for event in client.of_type("error")]
    words = ""
    if client.closed is not None:
        seen.append(f"close {int(client.closed[0])}")
        words = client.closed[1]
    elif not seen:
        for event in client.of_type("response.done"):
            error = (event["response"]["status_details"] or {}).get("error") or {}
            seen.append(
                f"response {event['response']['status']} {error.get('code', '')}".strip()
            )
            words = error.get("message", "")
    return ", ".join(seen), words


def judge(row: Row, failure: Failure) -> Iterable[str]:
    """What is not as it must be."""
    if row.saw != failure.saw:
        yield f"saw {row.saw!r}, not {failure.saw!r}"
    if failure.words not in row.reason:
        yield f"told {row.reason!r}, without {failure.words!r}"
    if row.memory > MEMORY_MB:
        yield f"{row.memory:.0f} MB more memory"
    if row.told > TOLD_WITHIN:
        yield f"told after {row.told:.1f} s"
    if row.again > SERVED_WITHIN:
        yield f"served again after {row.again:.1f} s"
    if failure.concerns_all and "1011" not in row.other:
        yield f"the other dataflow's session was not told: {row.other}"
    if not failure.concerns_all and row.other:
        yield f"the other dataflow's session noticed: {row.other}"
    if row.left:
        yield f"left behind: {row.left}"


async def bridge_killed(folder: Path) -> Row:
    """Kill the server, and start it again on the same port."""
    async with open_house(folder, ["one"]) as house:
        url, port = house.server.ws_url, house.server.http_url.rpartition(":")[2]
        before = house.holds()
        async with connected(url, "one") as client, bystander(url) as other:
            began = trio.current_time()
            house.server.process.kill()
            code, _ = await client.wait_closed()
            told_at = trio.current_time()
            noticed = await other.finish()
        await house.server.process.wait()
        gone = await ended(before.processes)
        async with open_house(folder, ["one"], "--port", port) as heir:
            with trio.move_on_after(RESTART_WITHIN * 2):
                await served(heir.server.ws_url, "one")
            again = trio.current_time() - told_at
            left = [] if gone else ["processes"]
            if len(heir.holds().folders) != 1:
                left.append("a folder")
    if before.segments & abandoned_segments():
        left.append("shared memory")
    row = Row(
        BRIDGE_KILLED, f"close {int(code)}", "", told_at - began, again, 0.0, noticed,
        ", ".join(left) or "nothing", [],
    )  # fmt: skip
    if row.again > RESTART_WITHIN:
        row.wrong.append(f"served again after {row.again:.1f} s")
    if left:
        row.wrong.append(f"left behind: {row.left}")
    return row


async def ended(pids: Iterable[int], seconds: float = TOLD_WITHIN) -> bool:
    """Whether processes end within a time."""
    with trio.move_on_after(seconds):
        for pid in pids:
            while is_running(pid):  # noqa: ASYNC110  it tells nobody
                await trio.sleep(0.05)
        return True
    return False
