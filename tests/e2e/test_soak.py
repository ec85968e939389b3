"""Sessions in a row against the real thing, in short; `benchmarks/soak.py` has the long way."""

import pytest
from benchmarks.soak import GROWTH_MB, in_a_row

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("dataflow", "sessions"), [("echo", 20), ("voice", 5)])
async def test_sessions_in_a_row_leave_nothing_in_any_process(dataflow, sessions):
    """Neither in the bridge nor in a node nor in Dora's own processes."""
    found = await in_a_row(sessions, dataflow)
    names = {name.rpartition(" ")[0] for name in found["after"]}
    assert {"bridge", "dora daemon"} < names
    assert set(found["after"]) == set(found["before"]), "a process was replaced"
    for name, grown in found["growth"].items():
        assert grown["mb"] <= GROWTH_MB, name
        # Dora's threads and connections come and go.
        assert grown["threads"] <= 4, name
        assert grown["files"] <= 10, name
