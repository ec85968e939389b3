import json
import logging

import pytest
import structlog

from trio_bridge.telemetry.log import configure_logging


@pytest.fixture(autouse=True)
def restored():
    """Logging is the process's: put back what the tests change."""
    root = logging.getLogger()
    before = root.handlers, root.level, logging.getLogger("trio_bridge").level
    yield
    root.handlers = before[0]
    root.setLevel(before[1])
    logging.getLogger("trio_bridge").setLevel(before[2])
    structlog.reset_defaults()


def test_json_is_one_object_per_line_on_standard_error(capsys):
    """What is bound to the context, such as the session, is in every line."""
    configure_logging("json")
    with structlog.contextvars.bound_contextvars(session_id="sess_1"):
        structlog.get_logger("trio_bridge.test").info("opened", door="realtime")
    out, err = capsys.readouterr()
    assert out == ""
    line = json.loads(err)
    assert line["event"] == "opened"
    assert line["session_id"] == "sess_1"
    assert line["door"] == "realtime"
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_libraries_are_routed_in_and_kept_quiet(capsys):
    """Other people's warnings look like ours; their chatter does not appear."""
    configure_logging("json")
    logging.getLogger("trio-websocket").debug("frame")
    logging.getLogger("trio-websocket").warning("unknown %s", "event")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "unknown event"
    assert line["level"] == "warning"


def test_the_level_is_respected(capsys):
    """Less than the level asked for is not logged."""
    configure_logging("console", "warning")
    log = structlog.get_logger("trio_bridge.test")
    log.info("quiet")
    log.warning("loud")
    err = capsys.readouterr().err
    assert "loud" in err
    assert "quiet" not in err


def test_a_traceback_is_part_of_its_line(capsys):
    """In JSON an exception does not break the line into many."""
    configure_logging("json")
    try:
        raise RuntimeError("as the test asked")
    except RuntimeError:
        structlog.get_logger("trio_bridge.test").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "as the test asked" in json.loads(line)["exception"]
