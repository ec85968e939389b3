"""The language node's logic: rows in, rows out, with an answerer made for the test."""

import orjson
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_bridge.dora.contract import Cancel, Request
from trio_bridge.messages import Usage
from trio_bridge.nodes import chat as chat_module
from trio_bridge.nodes.answering import Finish, Text, ToolDelta, ToolDone
from trio_bridge.nodes.chat import Chat, open_answerer
from trio_bridge.nodes.completions import Completions
from trio_bridge.nodes.responder import Responder


class Script:
    """Says the first word at once and the second when it is let go."""

    def __init__(self):
        self.started = []
        self.ended = []
        self.go = trio.Event()

    async def answer(self, request, give):
        name = request.instructions
        self.started.append(name)
        try:
            give(Text("Well, "))
            await self.go.wait()
            if name == "broken":
                raise KeyError(name)
            give(ToolDelta("c", "f", "{}"))
            give(ToolDone("c", "f", "{}"))
            return Finish(usage=Usage(3, 2, 1))
        finally:
            self.ended.append(name)


class Stage:
    def __init__(self, nursery):
        self.script = Script()
        self.out = []
        self.chat = Chat(self.script, self._emit, nursery)

    def _emit(self, port, row):
        assert port == "speak"
        self.out.append(row)

    def ask(self, rid, sid="s", **fields):
        data = orjson.dumps({"items": [], "instructions": rid, **fields}).decode()
        self.chat.take(Request(sid, rid, data))

    def cancel(self, rid, sid="s"):
        self.chat.take(Cancel(sid, rid))

    def rows(self, rid):
        return [row for row in self.out if row.response_id == rid]


async def test_an_answer_in_rows(nursery):
    """Numbered from 0, the first says how to speak, the last how it ended."""
    stage = Stage(nursery)
    stage.ask("r", voice="echo", speed=1.2)
    assert stage.chat.sessions() == 1
    stage.script.go.set()
    await wait_all_tasks_blocked()
    assert [(row.seq, row.event) for row in stage.out] == [
        (0, "text"),
        (1, "tool_delta"),
        (2, "tool_done"),
        (3, "done"),
    ]
    first, *others = stage.out
    assert orjson.loads(first.data) == {"modality": "audio", "voice": "echo", "speed": 1.2}
    assert all(row.data is None for row in others)
    done = stage.out[-1]
    assert done.status == "completed"
    assert orjson.loads(done.usage) == {
        "input_tokens": 3,
        "output_tokens": 2,
        "cached_tokens": 1,
    }
    assert stage.chat.sessions() == 0


async def test_cancel_stops_the_answerer(nursery):
    """What it was doing is cancelled, and the answer says so."""
    stage = Stage(nursery)
    stage.ask("r")
    await wait_all_tasks_blocked()
    stage.cancel("r")
    await wait_all_tasks_blocked()
    assert stage.script.ended == ["r"]
    assert [(row.event, row.status) for row in stage.out] == [
        ("text", None),
        ("done", "cancelled"),
    ]
    assert stage.chat.sessions() == 0


async def test_cancel_may_overtake_its_request(nursery):
    """Then nothing is begun, whether it overtook the row or only the task."""
    stage = Stage(nursery)
    stage.cancel("r")
    stage.ask("r")
    stage.ask("q")
    stage.cancel("q")
    stage.script.go.set()
    await wait_all_tasks_blocked()
    assert [row.status for row in stage.rows("r")] == ["cancelled"]
    assert stage.rows("r")[0].data is not None
    assert stage.rows("q")[-1].status == "cancelled"


async def test_sessions_take_turns(nursery, monkeypatch):
    """One that asks for much waits for itself only."""
    monkeypatch.setattr(chat_module, "RUNNING_MAX", 3)
    monkeypatch.setattr(chat_module, "RUNNING_PER_SESSION", 2)
    stage = Stage(nursery)
    for number in range(4):
        stage.ask(f"a{number}", "a")
    stage.ask("b0", "b")
    stage.ask("b1", "b")
    stage.ask("c0", "c")
    await wait_all_tasks_blocked()
    assert sorted(stage.script.started) == ["a0", "a1", "b0"]
    stage.cancel("a3", "a")
    assert [row.status for row in stage.rows("a3")] == ["cancelled"]
    stage.cancel("a0", "a")
    stage.cancel("a1", "a")
    await wait_all_tasks_blocked()
    assert set(stage.script.started[3:]) <= {"a2", "b1", "c0"}
    assert len(stage.script.started) == 5
    stage.script.go.set()
    await wait_all_tasks_blocked()
    assert sum(row.event == "done" for row in stage.out) == 7
    assert stage.chat.sessions() == 0


async def test_too_many_requests_fail_at_once(nursery, monkeypatch):
    """Nothing is kept that cannot be served."""
    monkeypatch.setattr(chat_module, "RUNNING_MAX", 1)
    monkeypatch.setattr(chat_module, "WAITING_MAX", 1)
    stage = Stage(nursery)
    for rid in ("a", "b", "c"):
        stage.ask(rid)
    assert [(row.response_id, row.error_code) for row in stage.out] == [
        ("c", "too_many_requests")
    ]


async def test_a_request_sent_twice_is_answered_once(nursery):
    """The second of two rows with one name is passed over."""
    stage = Stage(nursery)
    stage.ask("r")
    stage.ask("r")
    stage.script.go.set()
    await wait_all_tasks_blocked()
    assert [row.event for row in stage.out].count("done") == 1


async def test_a_broken_request_fails_alone(nursery, capsys):
    """Bad JSON and surprises in the answerer end their response, not the node."""
    stage = Stage(nursery)
    stage.chat.take(Request("s", "bad", "{"))
    stage.ask("broken")
    stage.ask("fine")
    stage.script.go.set()
    await wait_all_tasks_blocked()
    assert stage.rows("bad")[-1].error_code == "bad_request"
    assert stage.rows("broken")[-1].error_code == "internal_error"
    assert stage.rows("fine")[-1].status == "completed"
    assert "KeyError" in capsys.readouterr().err


async def test_the_environment_chooses_the_answerer():
    """A URL means a model; without one the built-in responder answers."""
    async with open_answerer({}) as answerer:
        assert isinstance(answerer, Responder)
    environment = {"TRIO_BRIDGE_LLM_URL": "http://127.0.0.1:1/v1", "TRIO_BRIDGE_LLM_KEY": "k"}
    async with open_answerer(environment) as answerer:
        assert isinstance(answerer, Completions)
        assert "'k'" not in repr(answerer)
        assert (answerer.patience.first, answerer.patience.idle) == (60, 60)
    async with open_answerer(environment | {"TRIO_BRIDGE_LLM_TIMEOUT": "7.5"}) as answerer:
        assert isinstance(answerer, Completions)
        assert (answerer.patience.first, answerer.patience.idle) == (7.5, 7.5)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
async def test_a_timeout_that_is_none_is_refused(given):
    environment = {
        "TRIO_BRIDGE_LLM_URL": "http://127.0.0.1:1/v1",
        "TRIO_BRIDGE_LLM_TIMEOUT": given,
    }
    with pytest.raises(ValueError, match="TRIO_BRIDGE_LLM_TIMEOUT"):
        async with open_answerer(environment):
            pass
