import os
import signal
from contextlib import asynccontextmanager, nullcontext

import pytest
import trio

from trio_bridge.__main__ import _run_server, main
from trio_bridge.errors import AddressError, DataflowError, RuntimeFailed


@pytest.fixture
def fail_with(monkeypatch):
    """Let the command under way end with an exception."""

    def arrange(exc):
        def run(*args, **kwargs):
            raise exc

        monkeypatch.setattr(trio, "run", run)
        monkeypatch.setattr(
            "trio_bridge.telemetry.native.output_logged", lambda *_: nullcontext()
        )

    return arrange


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("HOST", "PORT"):
        monkeypatch.delenv(f"TRIO_BRIDGE_SERVER_{name}", raising=False)


def test_a_known_error_is_one_line(fail_with, capsys):
    """No traceback, status 1."""
    fail_with(AddressError("cannot listen on 127.0.0.1:1: the port is in use"))
    assert main(["--port", "1"]) == 1
    err = capsys.readouterr().err
    assert err == "trio_bridge: cannot listen on 127.0.0.1:1: the port is in use\n"


def test_a_known_error_is_found_in_nested_groups(fail_with, capsys):
    """Nurseries wrap what escapes from them, several deep."""
    fail_with(ExceptionGroup("a", [ExceptionGroup("b", [AddressError("in use")])]))
    assert main([]) == 1
    assert capsys.readouterr().err == "trio_bridge: in use\n"


def test_a_dataflow_that_fails_shows_its_last_lines(fail_with, capsys):
    """The end of the node's own output says more than we could."""
    log = "\n".join(f"line {number}" for number in range(100))
    fail_with(DataflowError("node asr has died", node="asr", log=log))
    assert main(["serve"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("trio_bridge: node asr has died\n")
    assert err.endswith("  | line 99\n")
    assert "line 1\n" not in err


def test_a_mistake_in_the_settings_is_status_2(monkeypatch, capsys):
    """As for the command line itself."""
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_PORT", "http")
    assert main([]) == 2
    err = capsys.readouterr().err
    assert "server.port" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "exc",
    [KeyboardInterrupt(), BaseExceptionGroup("a", [KeyboardInterrupt()])],
    ids=["bare", "from a nursery"],
)
def test_ctrl_c_is_quiet(fail_with, capsys, exc):
    """Whoever pressed it knows why it ended."""
    fail_with(exc)
    assert main([]) == 130
    assert capsys.readouterr().err == ""


def test_an_unknown_flag_is_status_2(capsys):
    """argparse's usage line, and no server."""
    with pytest.raises(SystemExit) as caught:
        main(["--prot", "1"])
    assert caught.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_help_shows_no_secret(monkeypatch, capsys):
    """Secrets come from the environment, and stay there."""
    monkeypatch.setenv("TRIO_BRIDGE_LLM_KEY", "sk-secret")
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "sk-secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sessions", "0"), "--sessions: must be a number from 1 up"),
        (("--sessions", "5,x"), "--sessions: must be a number from 1 up"),
        (("--seconds", "0"), "--seconds: must be a number above 0: '0'"),
        (("--seconds", "inf"), "--seconds: must be a number above 0: 'inf'"),
        (("--bound", "soon"), "--bound: must be a number above 0: 'soon'"),
        (("--barge-in", "1.5"), "--barge-in: must be a number without a fraction, from 0 up"),
        (("--buffer-ms", "-1"), "--buffer-ms: must be a number from 0 up: '-1'"),
    ],
)
def test_what_is_wrong_with_a_number_is_said(words, said, capsys):
    """In the words of the command line, not of its source."""
    with pytest.raises(SystemExit):
        main(["bench", *words])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("told", [True, False])
async def test_a_start_that_is_broken_off_has_not_failed(told):
    """Whatever breaks on its way; one that fails by itself has."""

    @asynccontextmanager
    async def starting():
        if not told:
            raise RuntimeFailed("the runtime has gone")
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await trio.sleep(60)
        except trio.Cancelled as exc:
            raise RuntimeFailed("the runtime has gone") from exc
        yield

    if told:
        await _run_server(starting())
        return
    with pytest.RaisesGroup(RuntimeFailed, flatten_subgroups=True):
        await _run_server(starting())
