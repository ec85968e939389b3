"""What the cache keeps, what it lets go, and what it never gives away."""

import threading

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_bridge.nodes.synthesis import Mark, Utterance
from trio_bridge.nodes.voicing import ENTRY_BYTES, UtteranceCache, Voicing


def utterance(samples: int) -> Utterance:
    return Utterance(np.zeros(samples, np.float32), (Mark(0, 0),))


class Engine:
    """Makes a second of sound; `open` lets it go on, and a stop cuts it in half."""

    def __init__(self) -> None:
        self.made: list[tuple[str, float, str]] = []
        self.open = threading.Event()
        self.open.set()

    def rate_of(self, voice: str) -> int:
        return 1000

    def synthesise(
        self, text: str, *, voice: str, speed: float, stop: threading.Event
    ) -> Utterance:
        self.made.append((voice, speed, text))
        assert self.open.wait(10)
        return utterance(500 if stop.is_set() else 1000)


async def speak(
    voicing: Voicing, text: str = "Hello.", voice: str = "", speed: float = 1.0
) -> Utterance:
    return await voicing.speak(text, voice=voice, speed=speed, stop=threading.Event())


@given(
    st.integers(0, 20_000),
    st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(1, 2_000))),
)
def test_it_never_holds_more_than_its_limit(
    limit: int, steps: list[tuple[bool, int, int]]
) -> None:
    """And of what was put in, those asked for last."""
    cache = UtteranceCache(limit)
    order: dict[str, int] = {}
    for is_put, name, samples in steps:
        key = ("", 1.0, str(name))
        if is_put:
            cache.put(key, utterance(samples))
            cost = ENTRY_BYTES + 4 + 4 * samples + 160
            if cost <= limit:
                order.pop(str(name), None)
                order[str(name)] = cost
            while sum(order.values()) > limit:
                del order[next(iter(order))]
        elif (cache.get(key) is not None) and str(name) in order:
            order[str(name)] = order.pop(str(name))
        assert cache.size == sum(order.values()) <= limit
        assert len(cache) == len(order)
    assert all(cache.get(("", 1.0, name)) is not None for name in order)


async def test_voice_speed_and_text_all_count() -> None:
    voicing = Voicing(Engine(), UtteranceCache(10**6))
    first = await speak(voicing)
    others = [
        await speak(voicing, "Hello!"),
        await speak(voicing, voice="echo"),
        await speak(voicing, speed=1.5),
    ]
    assert await speak(voicing) is first
    assert all(other is not first for other in others)


async def test_what_is_shared_cannot_be_changed() -> None:
    voicing = Voicing(Engine(), UtteranceCache(10**6))
    made = await speak(voicing)
    with pytest.raises(ValueError, match="read-only"):
        made.samples[0] = 1


async def test_half_an_utterance_is_nobody_elses(nursery: trio.Nursery) -> None:
    """A cancel while it is made: who waited for the same sentence gets a whole one."""
    engine = Engine()
    voicing = Voicing(engine, UtteranceCache(10**6))
    stop = threading.Event()
    heard: list[Utterance] = []
    engine.open.clear()
    cancelled = trio.CancelScope()

    async def interrupted() -> None:
        with cancelled:
            await voicing.speak("Hello.", voice="", speed=1.0, stop=stop)

    async def patient() -> None:
        heard.append(await speak(voicing))

    nursery.start_soon(interrupted)
    await wait_all_tasks_blocked()
    nursery.start_soon(patient)
    await wait_all_tasks_blocked()
    stop.set()
    cancelled.cancel()
    engine.open.set()
    with trio.fail_after(10):
        while not heard:
            await trio.to_thread.run_sync(lambda: None)
    assert len(heard[0].samples) == 1000
    assert len(engine.made) == 2


async def test_two_at_once_are_made_once(nursery: trio.Nursery) -> None:
    """Who comes while it is being made waits for that."""
    engine = Engine()
    voicing = Voicing(engine, UtteranceCache(10**6))
    engine.open.clear()
    heard: list[Utterance] = []

    async def listen() -> None:
        heard.append(await speak(voicing))

    for _ in range(3):
        nursery.start_soon(listen)
    await wait_all_tasks_blocked()
    engine.open.set()
    with trio.fail_after(10):
        while len(heard) < 3:
            await trio.to_thread.run_sync(lambda: None)
    assert len(engine.made) == 1
    assert heard[0] is heard[1] is heard[2]


async def test_a_sentence_that_is_there_does_not_wait_for_the_engine(
    nursery: trio.Nursery,
) -> None:
    engine = Engine()
    voicing = Voicing(engine, UtteranceCache(10**6))
    known = await speak(voicing, "Known.")
    engine.open.clear()
    nursery.start_soon(speak, voicing, "Slow.")
    await wait_all_tasks_blocked()
    assert await speak(voicing, "Known.") is known
    engine.open.set()
