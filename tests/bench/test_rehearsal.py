"""Words for sessions, against a server that hears what the test says it does."""

from itertools import count

import numpy as np
import pytest
import trio

from trio_bridge.bench import rehearsal
from trio_bridge.bench.command import for_sessions
from trio_bridge.bench.fleet import BenchError
from trio_bridge.bench.plan import Plan, Tally
from trio_bridge.bench.rehearsal import Rehearsal
from trio_bridge.bench.speech import Recording, SpeechError

PLAN = Plan(
    url="ws://127.0.0.1:1/v1/realtime",
    numbers=(),
    of=0,
    frame_ms=40,
    seconds=5.0,
    ramp=0.0,
    look_ahead=0.0,
    playout=0.06,
    scenario="voice",
    barge_in=2,
)
GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "my",
    "ny",
]


def recordings(number):
    return [
        Recording(f"{n}.wav", np.full(4800, 1000 * (n + 1), "<i2").tobytes())
        for n in range(number)
    ]


class Server:
    """It hears other words in each utterance, unless it is told which."""

    def __init__(self, monkeypatch):
        self.spoken = []
        self.failure = None
        self.repeats = True
        self.words = (f"{GREEK[n]} {GREEK[n + 1]} {'xyzuvw'[n % 6] * 9}" for n in count())
        monkeypatch.setattr(rehearsal, "carry_out", self.carry_out)

    async def carry_out(self, plan, workers, server, show):
        await trio.lowlevel.checkpoint()
        assert plan.barge_in == 0
        assert not plan.heard
        tally = Tally()
        self.spoken.append(len(plan.numbers))
        for number in plan.numbers:
            words = next(self.words)
            for heard in (words, words + " again"):
                answer = f"You said: {heard}." if self.repeats else "Well."
                tally.heard.append((number, heard, answer))
        if self.failure is not None:
            tally.fail(0, self.failure)
        return tally, []


@pytest.fixture
def server(monkeypatch):
    return Server(monkeypatch)


def rehearse(folder, number):
    return Rehearsal(recordings(number), folder, lambda _: None)


def spoken(plan):
    with np.load(plan.speech) as saved:
        return [saved[str(n)] for n in range(len(saved.files))]


async def test_only_what_is_new_is_spoken(server, tmp_path):
    """Each session keeps its words when others join it."""
    words = rehearse(tmp_path, 4)
    two = await words.rehearsed(for_sessions(PLAN, 2, 50))
    assert len(spoken(two)) == len(two.heard) == 2
    three = await words.rehearsed(for_sessions(PLAN, 3, 50))
    assert three.heard[:2] == two.heard
    assert len(set(three.heard)) == 3
    assert [len(each) for each in spoken(three)] == [4800] * 3
    assert server.spoken == [2, 1]
    assert three.barge_in == PLAN.barge_in
    again = await words.rehearsed(for_sessions(PLAN, 1, 50))
    assert again.heard == two.heard[:1]
    assert server.spoken == [2, 1]


async def test_recordings_are_joined_where_there_are_too_few(server, tmp_path):
    """Two of them give words to four sessions, and not to five."""
    words = rehearse(tmp_path, 2)
    plan = await words.rehearsed(for_sessions(PLAN, 4, 50))
    assert [len(each) for each in spoken(plan)] == [4800, 4800, 14400, 14400]
    with pytest.raises(SpeechError, match=r"5 sessions .* 4 can be told apart .* 2 recordings"):
        await words.rehearsed(for_sessions(PLAN, 5, 50))


async def test_what_is_heard_alike_is_passed_over(server, tmp_path):
    """It would tell nobody apart."""
    server.words = iter(["one two three", "one two three!", "four five six", "seven eight"])
    plan = await rehearse(tmp_path, 4).rehearsed(for_sessions(PLAN, 3, 50))
    assert [each[0] for each in plan.heard] == ["one two three", "four five six", "seven eight"]
    assert server.spoken == [3, 1]


@pytest.mark.parametrize("repeats", [True, False])
async def test_whether_answers_repeat_what_was_heard_is_found_out(server, tmp_path, repeats):
    server.repeats = repeats
    plan = await rehearse(tmp_path, 1).rehearsed(for_sessions(PLAN, 1, 50))
    assert plan.repeated == repeats


async def test_what_goes_wrong_with_hardly_anybody_there_is_told(server, tmp_path):
    server.failure = "turn 1: no transcript came within 30 s"
    with pytest.raises(BenchError, match=r"^0\.wav, spoken alone: turn 1: no transcript"):
        await rehearse(tmp_path, 2).rehearsed(for_sessions(PLAN, 2, 50))
