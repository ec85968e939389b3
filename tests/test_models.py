from contextlib import nullcontext

import pytest
from attrs import define, field

from trio_bridge.messages import Capabilities
from trio_bridge.models import Models


@define(eq=False)
class Named:
    """A backend that does nothing but have a name."""

    name: str
    healthy: bool = True
    capabilities: Capabilities = field(factory=Capabilities)

    def status(self):
        return {"dataflows": [{"name": self.name}], "host": self.name}

    def chosen(self, wishes):
        return LOUD if wishes.get("voice") == "loud" else self

    def session(self, session_id):
        return nullcontext()

    def refusal(self, ahead=()):
        return None


VOICE, ECHO, LOUD = Named("voice"), Named("echo"), Named("loud")
MODELS = Models(VOICE, {"echo*": ECHO, "echo-loud": LOUD, "gpt-4.?": ECHO, "echo-l*": LOUD})


@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("echo", ECHO),
        ("echo-1", ECHO),
        ("echo-loud", LOUD),  # by its name, though a pattern before it fits
        ("echo-low", ECHO),  # two patterns fit: the first
        ("gpt-4.1", ECHO),
        ("gpt-4x1", VOICE),
        ("Echo", VOICE),
        ("my-echo", VOICE),
        ("", VOICE),
    ],
)
def test_a_model_is_answered_by_name_then_by_pattern_then_by_default(model, backend):
    assert MODELS.backend_for(model, {}) is backend


def test_the_backend_has_a_say_by_what_the_session_wishes_for():
    assert MODELS.backend_for("echo", {"voice": "loud"}) is LOUD


def test_the_state_of_all_backends_is_told_once_each():
    """Lists of the backends are joined, in the order default first."""
    status = MODELS.status()
    assert [each["name"] for each in status["dataflows"]] == ["voice", "echo", "loud"]


def test_one_ill_backend_makes_the_server_ill():
    assert MODELS.healthy
    assert not Models(VOICE, {"x": Named("x", healthy=False)}).healthy


def test_sessions_may_come_while_one_backend_is_well():
    """Else a dataflow that fails on every bridge would take all the others away."""
    ill = Named("x", healthy=False)
    assert Models(VOICE, {"x": ill}).ready
    assert Models(ill, {"x": VOICE}).ready
    assert not Models(ill, {"y": Named("y", healthy=False)}).ready
