import pytest
from attrs import evolve

from trio_bridge.bench.plan import Plan, Tally
from trio_bridge.bench.report import lines
from trio_bridge.bench.run import figures, percentiles, spent
from trio_bridge.bench.usage import Process, Usage

PLAN = Plan(
    url="ws://127.0.0.1:1/v1/realtime",
    numbers=(0, 1, 2),
    of=3,
    frame_ms=40,
    seconds=10.0,
    ramp=0.5,
    look_ahead=0.005,
    playout=0.06,
)


def test_a_plan_arrives_as_it_was_sent():
    """A worker gets it as a line."""
    assert Plan.load(PLAN.dump()) == PLAN
    voice = evolve(PLAN, scenario="voice", heard=(("hello", "hullo"), ("good bye",)))
    assert Plan.load(voice.dump()) == voice


def test_tallies_add_up(tmp_path):
    """What several workers saw becomes one."""
    total = Tally()
    for number in (1, 2):
        tally = Tally(added=[0.25 * number], created=[0.5], underruns=number, finished=1)
        tally.fail(number, "the connection broke")
        tally.heard.append((number, "hello", "You said: hello."))
        tally.save(tmp_path / "worker.npz")
        total.add_saved(tmp_path / "worker.npz")
    assert total.added == [0.25, 0.5]
    assert total.created == [0.5, 0.5]
    assert (total.underruns, total.finished) == (3, 2)
    assert total.heard[1] == (2, "hello", "You said: hello.")
    assert total.failures == [(1, "the connection broke"), (2, "the connection broke")]


def test_percentiles_are_in_milliseconds():
    """And nothing is nothing, not zero."""
    found = percentiles([number / 1000 for number in range(101)])
    assert found == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100})
    assert percentiles([]) is None


def test_processors_are_told_apart():
    """The server's processes by name, the generator, and whoever else was busy."""

    def usage(at, bridge, node, busy):
        processes = {
            7: Process(7, "bridge", bridge, 60.0),
            8: Process(8, "echo", node, 40.0),
        }
        return Usage(processes, busy, at)

    found = spent(
        PLAN, Tally(worker_cpu=1.0), [usage(5.0, 2.0, 1.0, 100.0), usage(15.0, 7.0, 2.0, 110.0)]
    )
    assert found["processes"]["bridge"] == pytest.approx({"cores": 0.5, "mb": 60.0})
    assert found["sessions_per_core"] == pytest.approx(5)
    assert found["generator_cores"] == pytest.approx(0.1)
    assert found["other_cores"] == pytest.approx(0.3)


def test_the_report_tells_each_failure_once():
    """A hundred sessions often fail for one reason."""
    tally = Tally(finished=1)
    tally.fail(1, "the connection broke")
    tally.fail(2, "the connection broke")
    told = "\n".join(lines(figures(PLAN, tally) | spent(PLAN, tally, [])))
    assert told.count("the connection broke") == 1
    assert "2 (session 1" in told
    assert "nothing measured" in told
