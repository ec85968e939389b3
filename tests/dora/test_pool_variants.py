"""Several variants in one pool: one budget, and turns; on a virtual clock."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio
from tests.support.pool import START, STOP, House, Machine, open_house
from trio.testing import MockClock

from trio_bridge.dora.backoff import MOST
from trio_bridge.dora.pool import RETRY_AFTER
from trio_bridge.dora.variants import Choice
from trio_bridge.errors import BackendUnavailable

EN, DE, FR, ES, IT, PT = LANGUAGES = tuple[Choice, ...](
    (("language", each),) for each in ("en", "de", "fr", "es", "it", "pt")
)
SOON = 0.1


async def test_one_budget_holds_for_all(autojump_clock: MockClock) -> None:
    """However many values are wished for at once."""
    async with open_house(default=EN, sessions=1, max_instances=2) as house:
        for language in LANGUAGES:
            await house.come(f"{language}", language)
        await trio.sleep(20)
        assert len(house.served) == 2
        assert len(house.refused) == 4
        assert house.machine.most_running == 2
        assert house.pool.status()["instances"] == 2


async def test_an_idle_one_makes_room(autojump_clock: MockClock) -> None:
    """Also one that is kept warm, which is started again when there is room."""
    async with open_house(default=EN, max_instances=1, idle_stop=20) as house:
        await house.come("a", DE)
        assert house.pool.healthy
        await trio.sleep(STOP + SOON)
        assert house.pool.healthy  # it has stopped one itself
        await trio.sleep(START)
        assert house.waited("a") == STOP + START
        await house.go("a")
        await trio.sleep(19)
        assert [i.choice for i in house.pool.instances] == [DE]
        await trio.sleep(2 + STOP + START)
        assert [i.choice for i in house.pool.instances] == [EN]


async def test_one_that_is_full_makes_no_room(autojump_clock: MockClock) -> None:
    """Who wants its room is told so at once."""
    async with open_house(default=EN, sessions=1, max_instances=1) as house:
        await house.come("a", EN)
        await house.come("b", DE)
        at, refusal = house.refused["b"]
        assert at == house.came["b"]
        words = "all places are taken: 1 of 1 instances serve others than language=de"
        assert (str(refusal), refusal.retry_after) == (words, RETRY_AFTER)


async def test_where_nobody_waits_nothing_is_hoped_for(autojump_clock: MockClock) -> None:
    """Who cannot wait until sessions have ended is told so before the upgrade."""
    async with open_house(default=EN, max_instances=1, wait_timeout=0) as house:
        await house.come("a", EN)
        refusal = house.pool.refusal(DE)
        assert str(refusal).startswith("all places are taken: 1 of 1 ")
        await house.come("b", EN)
        assert house.waited("b") == 0


async def test_those_ahead_with_other_values_take_room(autojump_clock: MockClock) -> None:
    """Also of values that nobody has used yet; not where they have places, nor for those who
    have one themselves."""
    async with open_house(default=EN, sessions=2, max_instances=2) as house:
        await house.come("a", EN)
        refusal = house.pool.refusal(DE, {EN: 1, FR: 2})
        assert (
            str(refusal)
            == "all places are taken: 1 of 2 instances serve others than language=de"
        )
        assert house.pool.refusal(DE, {EN: 1, DE: 1}) is None
        assert house.pool.refusal(DE, {EN: 2}) is not None
        assert house.pool.refusal(EN, {FR: 2}) is None
        assert house.pool.refusal(FR, {FR: 2}) is not None


async def test_no_session_is_ended_for_another(autojump_clock: MockClock) -> None:
    """Who waits for its room waits until it is empty, or in vain."""
    async with open_house(default=EN, max_instances=1) as house:
        await house.come("a", EN)
        await house.come("b", DE)
        await trio.sleep(5)
        assert house.waiting == ["b"]
        await trio.sleep(100)
        at, refusal = house.refused["b"]
        assert at - house.came["b"] == 10
        words = "no place came free in 10 s: 1 of 1 instances serve others than language=de"
        assert str(refusal) == words
        assert "a" in house.scopes
        assert [i.choice for i in house.pool.instances] == [EN]


async def test_it_gets_its_turn_when_those_before_it_have_gone(
    autojump_clock: MockClock,
) -> None:
    """However many come after it, who get theirs then: a session lasts for 3 s here, one comes
    each second, and there is one instance. Who is refused while another starts asks again."""
    waits: dict[int, float] = {}
    refused: set[int] = set()

    async def visit(house: House, number: int) -> None:
        came = trio.current_time()
        while number not in waits:
            try:
                async with house.pool.session(f"{number}", DE if number == 20 else EN):
                    waits[number] = trio.current_time() - came
                    await trio.sleep(3)
            except BackendUnavailable as exc:
                refused.add(number)
                await trio.sleep(exc.retry_after)

    async with open_house(default=EN, sessions=20, max_instances=1) as house:
        for number in range(60):
            house.nursery.start_soon(visit, house, number)
            await trio.sleep(1)
        await trio.sleep(20)
    assert len(waits) == 60
    assert refused <= {22, 23, 24}
    assert 2 + STOP + START <= waits[20] <= 3 + STOP + START
    assert waits[21] <= waits[20] + 3 + STOP + START
    assert not any(waits[number] for number in (*range(20), *range(35, 60)))


async def test_who_has_one_with_a_place_makes_nobody_else_wait(
    autojump_clock: MockClock,
) -> None:
    """One instance is kept from its sessions, not in turn another for these."""
    async with open_house(default=EN, warm=0, max_instances=2) as house:
        for name, language in (("a", EN), ("b", FR), ("c", FR)):
            await house.come(name, language)
            await trio.sleep(START + SOON)
        await house.come("de", DE)
        await house.come("en", EN)
        await house.come("fr", FR)
        assert house.waiting == ["de", "en"]
        assert house.waited("fr") == 0
        await trio.sleep(20)
        assert "de" in house.refused
        assert house.waited("en") == 8


async def test_sessions_gather_where_there_are_places(autojump_clock: MockClock) -> None:
    """Those of a variant with several instances never wait; they fill the others, and go on
    doing so after a session of another has waited in vain: so it finds room when it asks
    again, though some come all the time."""
    async with open_house(default=EN, sessions=10, warm=3, max_instances=3) as house:
        for number in range(6):
            await house.come(f"{number}", EN)
        assert house.loads == [2, 2, 2]
        (first,) = (i for i in house.pool.instances if "0" in i.on)
        await house.go("0")
        await house.come("de", DE)
        for number in range(6, 16):
            await house.come(f"{number}", EN)
            await trio.sleep(3)
        assert "de" in house.refused
        assert first.on == {"3"}
        await house.go("3")
        await house.come("16", EN)
        await house.come("again", DE)
        await trio.sleep(STOP + START + SOON)
        assert house.waited("again") == STOP + START
        assert not any(house.waited(f"{number}") for number in range(17))


async def test_who_asks_again_and_again_in_vain_costs_others_little(
    autojump_clock: MockClock,
) -> None:
    """While one session stays for an hour, nobody of its variant is refused; a tenth of them
    waits, for as long as the others did."""
    async with open_house(default=EN, sessions=200, max_instances=1) as house:
        await house.come("stays", EN)

        async def insist() -> None:
            for number in count():
                await house.come(f"de{number}", DE)
                await trio.sleep(2 if f"de{number}" in house.refused else 6)

        house.nursery.start_soon(insist)
        names = [f"{number}" for number in range(1200)]
        for name in names:
            await house.come(name, EN)
            await trio.sleep(3)
            if name in house.served:
                await house.go(name)
        await trio.sleep(20)
        assert not {name for name in house.refused if not name.startswith("de")}
        waits = [house.waited(name) for name in names]
        assert max(waits) <= 8
        assert sum(wait > 0 for wait in waits) < len(waits) / 9


async def test_one_with_sessions_and_a_place_makes_no_room(autojump_clock: MockClock) -> None:
    """Not even for one who waited before they came, and could not be started then."""
    machine = Machine(hopeless={DE})
    async with open_house(machine, EN, sessions=2, max_instances=2, wait_timeout=30) as house:
        await house.come("a", EN)
        await house.come("b", DE)
        await trio.sleep(START + STOP + SOON)
        await house.come("c", FR)
        await trio.sleep(40)
        assert "b" in house.refused
        assert house.waited("c") < START + STOP + START
        assert {"a", "c"} <= set(house.scopes)
        assert not machine.disturbed


async def test_room_is_made_for_so_many_as_wait(autojump_clock: MockClock) -> None:
    """An instance that starts is for as many as it holds; the next makes others make room."""
    async with open_house(default=EN, sessions=2, max_instances=2) as house:
        for name in "abc":
            await house.come(name, DE)
            if name == "b":
                await house.come("d", EN)
                assert house.waited("d") == 0
                await house.go("d")
        await house.come("e", EN)
        assert "e" in house.refused
        await trio.sleep(START + STOP + START + SOON)
        assert house.waited("c") == START + STOP + START
        assert [i.choice for i in house.pool.instances] == [DE, DE]


async def test_the_one_that_is_missed_least_makes_room(autojump_clock: MockClock) -> None:
    """Not the warm one while there are others, and of those the one that is idle longest."""
    async with open_house(default=EN, sessions=1, max_instances=3, idle_stop=1000) as house:
        for language in (DE, FR):
            await house.come(f"{language}", language)
            await trio.sleep(START + SOON)
        for language in (FR, DE):
            await house.go(f"{language}")
            await trio.sleep(1)
        await house.come("es", ES)
        await trio.sleep(STOP + START + SOON)
        assert [i.choice for i in house.pool.instances] == [EN, DE, ES]


async def test_variants_take_turns_as_their_sessions_came(autojump_clock: MockClock) -> None:
    async with open_house(default=EN, sessions=1, warm=0, max_instances=4) as house:
        for name, language in (("a", DE), ("b", FR), ("c", DE), ("d", EN)):
            await house.come(name, language)
        await trio.sleep(4 * START + SOON)
        assert [house.waited(name) for name in "abcd"] == [START * n for n in (1, 2, 3, 4)]


async def test_nobody_overtakes_who_waits_for_room(autojump_clock: MockClock) -> None:
    """A place of an instance that is to make room goes to nobody who comes later; it does
    again when who waited for its room has gone."""
    async with open_house(default=EN, sessions=1, max_instances=1) as house:
        async with house.machine.changing:
            await house.come("a", DE)
            await house.come("b", EN)
            assert "b" in house.refused
            await house.go("a")
            assert len(house.pool.status()["variants"]) == 1
            await house.come("c", EN)
            assert house.waited("c") == 0
        await trio.sleep(20)
        assert "c" in house.scopes
        assert len(house.machine.made) == 1


async def test_what_is_left_of_the_budget_is_for_one(autojump_clock: MockClock) -> None:
    """The next in line has an idle one set aside, though there is room for the first."""
    async with open_house(default=EN, sessions=1, max_instances=2) as house:
        async with house.machine.changing:
            await house.come("a", DE)
            await house.come("b", FR)
            await house.come("c", EN)
            assert "c" in house.refused
        await trio.sleep(START + STOP + START + SOON)
        assert [i.choice for i in house.pool.instances] == [DE, FR]


async def test_room_is_made_by_what_nobody_waits_for(autojump_clock: MockClock) -> None:
    """Who waits first takes no instance for which others come, while there is another."""
    async with open_house(default=EN, sessions=1, warm=0, max_instances=2) as house:
        for name, language in (("a", FR), ("b", ES)):
            await house.come(name, language)
            await trio.sleep(START + SOON)
        await house.go("a")
        await house.go("b")
        async with house.machine.changing:
            await house.come("c", DE)
            await house.come("d", FR)
            assert house.waited("d") == 0
        await trio.sleep(STOP + START + SOON)
        assert [i.choice for i in house.pool.instances] == [FR, DE]


async def test_what_does_not_start_is_in_nobodys_way(autojump_clock: MockClock) -> None:
    """Its sessions are told by their deadline; others have room in between, and a place that
    is of use is not given up for it before its time."""
    machine = Machine(hopeless={DE})
    async with open_house(machine, EN, sessions=1, warm=0, max_instances=1) as house:
        await house.come("a", DE)
        await trio.sleep(START + STOP + SOON)
        await house.come("b", FR)
        await trio.sleep(10)
        assert "b" in house.scopes
        assert house.served["b"] - house.came["b"] <= 2 * START + STOP
        at, _ = house.refused["a"]
        assert at - house.came["a"] == 10


async def test_failures_are_kept_for_a_while_after_who_met_them(
    autojump_clock: MockClock,
) -> None:
    """Otherwise each who comes would have it started at once."""
    machine = Machine(hopeless={DE})
    async with open_house(machine, EN, max_instances=2, wait_timeout=100) as house:
        for number in range(300):
            name = f"{number}"
            await house.come(name, DE)
            await trio.sleep(1)
            if name in house.scopes:
                await house.go(name)
        assert len(machine.starts) < 20
        status = house.pool.status()
        assert status["lastFailure"] == "node 'x' failed"
        assert [each["failures"] for each in status["variants"]] == [0, status["failures"]]
        assert house.pool.healthy
        await trio.sleep(2 * MOST)
        assert house.pool.status()["failures"] == 0
        assert len(house.pool.status()["variants"]) == 1


@pytest.mark.parametrize("fault", ["hopeless", "fleeting"])
async def test_failures_are_kept_when_who_met_them_has_hung_up(
    autojump_clock: MockClock, fault: str
) -> None:
    """Whoever connects and goes again would have it started as often as he likes."""
    async with open_house(default=EN, max_instances=2) as house:
        machine = house.machine
        if fault == "hopeless":
            machine.hopeless = {DE}
        else:
            machine.fleeting = 1000
        for number in range(100):
            await house.come(f"{number}", DE)
            await trio.sleep(SOON)
            if f"{number}" in house.scopes:
                await house.go(f"{number}")
            await trio.sleep(START + SOON)
        assert len(machine.starts) < 15
        assert house.pool.status()["failures"] > 5


async def test_who_is_told_what_is_wrong_is_told_of_his_own(autojump_clock: MockClock) -> None:
    machine = Machine(hopeless={DE})
    async with open_house(machine, EN, max_instances=2, wait_timeout=1) as house:
        for number in range(20):
            await house.come(f"{number}", DE)
            await trio.sleep(2)
        refusal = house.pool.refusal(DE)
        assert refusal is not None
        assert "node 'x' failed" in str(refusal)
        assert house.pool.refusal(EN) is None
        assert house.pool.refusal(FR) is None


async def test_to_ask_creates_nothing(autojump_clock: MockClock) -> None:
    async with open_house(default=EN, sessions=1, max_instances=2) as house:
        before: dict[str, Any] = house.pool.status()
        for number in range(1000):
            assert house.pool.refusal((("language", f"{number}"),)) is None
        assert house.pool.status() == before
        assert len(house.nursery.child_tasks) == 2  # what tends, and the instance
        await house.come("a", EN)
        await trio.sleep(START + SOON)
        await house.come("b", EN)
        before = house.pool.status()
        await house.come("c", DE)  # refused
        assert "c" in house.refused
        assert house.pool.status() == before


async def test_what_nobody_uses_any_more_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_house(default=EN, max_instances=6, idle_stop=20, wait_timeout=20) as house:
        for language in LANGUAGES:
            await house.come(f"{language}", language)
        await trio.sleep(6 * START)
        assert len(house.pool.status()["variants"]) == 6
        # One task tends them all; the others are instances and sessions.
        assert len(house.nursery.child_tasks) == 1 + 6 + 6
        for language in LANGUAGES:
            await house.go(f"{language}")
        await trio.sleep(20 + 6 * STOP + SOON)
        (only,) = house.pool.status()["variants"]
        assert (only["values"], only["instances"]) == ({"language": "en"}, 1)
        assert len(house.nursery.child_tasks) == 2


@pytest.mark.parametrize("warm", [0, 2])
async def test_warm_is_meant_for_the_default(autojump_clock: MockClock, warm: int) -> None:
    """As far as others leave room; theirs start on demand."""
    async with open_house(default=EN, sessions=1, warm=warm, max_instances=3) as house:
        await house.come("a", DE)
        await house.come("b", DE)
        await trio.sleep(STOP + 2 * START + SOON)
        running = sorted(i.choice for i in house.pool.instances)
        assert running == sorted([DE, DE, *[EN] * min(warm, 1)])
