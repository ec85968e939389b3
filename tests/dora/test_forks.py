"""Nodes that are forked, by the real server and under the real Dora."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from tests.support.resources import command
from tests.support.server import is_running

from trio_bridge.dora.descriptors.dataflow_file import find_dataflow, read_descriptor
from trio_bridge.dora.instances.instance import Instance
from trio_bridge.dora.runtimes import attach, forks
from trio_bridge.dora.runtimes.processes import child_of, children_of
from trio_bridge.dora.runtimes.runtime import Runtime
from trio_bridge.dora.runtimes.supervision import open_supervisor
from trio_bridge.errors import DataflowError

pytestmark = pytest.mark.e2e

ECHO = find_dataflow("echo")


async def settled(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  other processes tell nobody
            await trio.sleep(0.01)


def server(runtime: Runtime) -> int | None:
    """The fork server's process, if there is one."""
    child = runtime._forks._child
    return child.pid if child is not None else None


def stand_in_of(runtime: Runtime, pid: int) -> int:
    """The process that Dora has started in the place of a node."""
    (link,) = (
        link
        for link in runtime._forks.folder.iterdir()
        if link.is_symlink() and str(link.readlink()) == str(pid)
    )
    return int(link.name)


def begins_as_program(runtime: Runtime, pid: int) -> bool:
    return child_of(runtime._daemon.pid, pid) is not None


@asynccontextmanager
async def instance_of(
    runtime: Runtime, file: Path = ECHO, name: str = "one"
) -> AsyncGenerator[Instance, None]:
    """A warm instance, not in a pool, which would replace it."""
    instance = Instance(f"{runtime.mark}-{name}", 1, read_descriptor(file), runtime)
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.run, 30)
        yield instance
        nursery.cancel_scope.cancel()


def with_env(folder: Path, **env: str) -> Path:
    """The dataflow `echo`, with an environment for its node."""
    lines = ECHO.read_text().split("\n")
    at = next(i for i, line in enumerate(lines) if "trio_bridge.nodes.echo" in line)
    lines[at:at] = ["    env:", *(f"      {name}: '{value}'" for name, value in env.items())]
    file = folder / "echo.yml"
    file.write_text("\n".join(lines))
    return file


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


async def test_every_node_is_forked_and_shows_as_itself() -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime, find_dataflow("voice")) as instance:
            forked = {each.pid for each in children_of(server(runtime) or 0)}
            assert set(instance.pids.values()) == forked
            for node, pid in instance.pids.items():
                assert command(pid).split("\0")[1:] == ["-m", f"trio_bridge.nodes.{node}"]
                folder = Path(f"/proc/{pid}/cwd").readlink()
                assert folder == runtime.directory / instance.name
            started = {each.pid for each in children_of(runtime._daemon.pid)}
            assert {stand_in_of(runtime, pid) for pid in forked} == started
            # In hundredths of a second.
            begun = sorted(each.started for each in children_of(server(runtime) or 0))
            assert all(later - earlier >= 9 for earlier, later in pairwise(begun))
        await settled(lambda: not any(map(is_running, forked | started)))
        assert [path.name for path in runtime._forks.folder.iterdir()] == ["wake"]


@pytest.mark.parametrize("with_server", [True, False])
async def test_nodes_end_by_themselves_when_the_dataflow_stops(
    with_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dora hears that all went well, from the stand-ins, whoever has told them."""
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        results = []
        stop = runtime._commands.stop

        async def noted(name: str) -> object:
            results.append(await stop(name))
            return results[-1]

        monkeypatch.setattr(type(runtime._commands), "stop", lambda _, name: noted(name))
        async with instance_of(runtime):
            pid = server(runtime)
            assert pid is not None
            if not with_server:
                os.kill(pid, signal.SIGKILL)
                await settled(lambda: server(runtime) != pid)
        (result,) = results
        assert (result.stopped, result.failed) == (True, None)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
async def test_dora_hears_how_a_node_has_ended(how: signal.Signals) -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        descriptor = read_descriptor(ECHO)
        instance = Instance(f"{runtime.mark}-one", 1, descriptor, runtime)
        async with trio.open_nursery() as nursery:
            await nursery.start(instance.run, 30)
            pid = instance.pids["echo"]
            stand_in = stand_in_of(runtime, pid)
            watch = os.pidfd_open(stand_in)
            os.kill(pid, how)
            await trio.lowlevel.wait_readable(watch)
            os.close(watch)
        assert not is_running(pid)
        assert instance.problem is not None


async def test_what_dora_kills_is_gone_even_if_it_hangs() -> None:
    """A stopped process heeds nothing but the kernel."""
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime) as instance:
            pid = instance.pids["echo"]
            os.kill(pid, signal.SIGSTOP)
            os.kill(stand_in_of(runtime, pid), signal.SIGKILL)
            await settled(lambda: not is_running(pid), 1)


async def test_a_server_that_dies_is_replaced_and_its_nodes_go_on() -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime) as first:
            dead = server(runtime)
            assert dead is not None
            os.kill(dead, signal.SIGKILL)
            await settled(lambda: server(runtime) is None)
            async with instance_of(runtime, name="two") as second:
                assert begins_as_program(runtime, second.pids["echo"])
            await settled(lambda: server(runtime) is not None)
            assert server(runtime) != dead
            async with instance_of(runtime, name="three") as third:
                assert not begins_as_program(runtime, third.pids["echo"])
            assert first.warm
            last = first.pids["echo"]
        await settled(lambda: not is_running(last))


@pytest.mark.parametrize("after", [0.05, 0.25, 0.4, 0.55])
async def test_a_start_outlives_the_server(after: float) -> None:
    """Some of its nodes are forked by then, others not, or all of them and what waits for
    them."""
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime):
            pass  # the server has imported

        async def kill() -> None:
            await settled(lambda: any(runtime._forks.folder.glob("[0-9]*")))
            await trio.sleep(after)
            pid = server(runtime)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            async with instance_of(runtime, find_dataflow("voice"), "two") as instance:
                assert instance.warm


async def test_a_server_that_hangs_before_it_is_ready_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "LOOK_INTERVAL", 0.1)
    monkeypatch.setattr(forks, "PATIENCE", 10)
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        old = server(runtime)
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        async with instance_of(runtime) as instance:
            assert begins_as_program(runtime, instance.pids["echo"])
        assert not is_running(old)


async def test_a_file_in_the_place_of_the_pipe_is_removed() -> None:
    """A shell that writes to a pipe that has just gone makes one."""
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        old = server(runtime)
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await settled(lambda: server(runtime) is None)
        (runtime._forks.folder / "wake").write_text("")
        await settled(lambda: server(runtime) is not None)
        async with instance_of(runtime) as instance:
            assert not begins_as_program(runtime, instance.pids["echo"])


async def test_nodes_begin_as_programs_where_no_pipe_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "mkfifo", refused)
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        assert server(runtime) is None
        async with instance_of(runtime) as instance:
            assert begins_as_program(runtime, instance.pids["echo"])


async def test_what_a_node_says_last_is_in_its_log(tmp_path: Path) -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        voice = find_dataflow("voice").read_text()
        args = "args: -m trio_bridge.nodes.asr\n"
        file = tmp_path / "voice.yml"
        file.write_text(voice.replace(args, f"{args}    env: {{ASR_ENGINE: none-such}}\n"))
        instance = Instance(f"{runtime.mark}-one", 1, read_descriptor(file), runtime)
        with pytest.raises(DataflowError, match="'asr' failed: exited with code 1") as caught:
            await instance.run(30)
        assert "none-such" in caught.value.log


async def test_a_node_has_the_processors_and_the_priority_of_its_stand_in() -> None:
    before = os.sched_getaffinity(0)
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime):
            pass
        daemon = runtime._daemon.pid
        one = {min(before)}
        for thread in Path(f"/proc/{daemon}/task").iterdir():
            os.sched_setaffinity(int(thread.name), one)
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 3)
        async with instance_of(runtime, name="two") as instance:
            pid = instance.pids["echo"]
            assert not begins_as_program(runtime, pid)
            assert os.sched_getaffinity(pid) == one
            assert os.getpriority(os.PRIO_PROCESS, pid) == 3


async def test_an_old_link_leads_to_nobody(tmp_path: Path) -> None:
    """The numbers of processes come again."""
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        file = with_env(tmp_path, OMP_NUM_THREADS="2")
        async with instance_of(runtime, file) as instance:
            node = instance.pids["echo"]
            bystander = await trio.lowlevel.open_process(["sleep", "60"])
            (runtime._forks.folder / str(node)).symlink_to(str(bystander.pid))
            assert not runtime.processes.kill(bystander.pid)
            assert runtime.processes.pids(instance._deployment._file) == {"echo": node}
            assert bystander.returncode is None
            bystander.kill()
            await bystander.wait()


async def test_nodes_begin_as_programs_where_no_server_comes_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "_MODULE", "trio_bridge.no_such_module")
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime) as instance:
            assert begins_as_program(runtime, instance.pids["echo"])


async def test_a_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it begins as a program."""
    monkeypatch.setattr(forks, "LOOK_INTERVAL", 0.1)
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        pid = server(runtime)
        assert pid is not None
        # Not before it has begun: it could not be seen to hang.
        async with instance_of(runtime):
            pass
        monkeypatch.setattr(forks, "PATIENCE", 10)
        os.kill(pid, signal.SIGSTOP)
        async with instance_of(runtime, name="two") as second:
            assert begins_as_program(runtime, second.pids["echo"])
            assert not is_running(pid)
        await settled(lambda: server(runtime) is not None)
        async with instance_of(runtime, name="three") as third:
            assert not begins_as_program(runtime, third.pids["echo"])


async def test_what_waits_for_the_nodes_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not begun, and it hears what Dora says."""
    monkeypatch.setattr(attach, "_PROBE", "raise SystemExit('begun')")
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime):
            pass
        assert await attach.wait_attached(runtime, "no-such-node") == "unknown"


async def test_what_waits_for_the_nodes_may_be_sent_away() -> None:
    """When the server dies. Begun as a program, it waits just so."""
    outcomes: list[str] = []

    async def wait() -> None:
        outcomes.append(await attach.wait_attached(runtime, "no-such-node"))

    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        pid = server(runtime)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            # The stand-in has its pipe open.
            await settled(lambda: len(list(runtime._forks.folder.iterdir())) == 2)
            await trio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
    assert outcomes == ["unknown"]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "PYTHONHASHSEED"])
async def test_what_only_works_from_the_start_is_given_to_a_program(
    name: str, tmp_path: Path
) -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        file = with_env(tmp_path, **{name: "2"})
        async with instance_of(runtime, file) as instance:
            pid = instance.pids["echo"]
            assert begins_as_program(runtime, pid)
            assert environment(pid)[name] == "2"


async def test_other_variables_reach_a_forked_node(tmp_path: Path) -> None:
    """Its worker is asked: a forked process shows the environment of the server."""
    voice = find_dataflow("voice").read_text()
    args = "args: -m trio_bridge.nodes.asr\n"
    assert args in voice
    file = tmp_path / "voice.yml"
    file.write_text(voice.replace(args, f"{args}    env: {{OF_THIS_NODE: 'yes, it is'}}\n"))
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        async with instance_of(runtime, file) as instance:
            asr = instance.pids["asr"]
            assert not begins_as_program(runtime, asr)
            await settled(lambda: bool(children_of(asr)))
            (worker,) = children_of(asr)
            await settled(lambda: "asr_worker" in command(worker.pid))
            assert environment(worker.pid)["OF_THIS_NODE"] == "yes, it is"


async def test_a_stand_in_that_does_not_read_holds_nobody_up() -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        folder = runtime._forks.folder
        os.mkfifo(folder / str(os.getpid()))
        async with instance_of(runtime), instance_of(runtime, name="two"):
            assert (folder / str(os.getpid())).exists()


async def test_nothing_is_kept_for_a_stand_in_that_has_gone() -> None:
    async with open_supervisor() as supervisor:
        runtime = supervisor.ground
        gone = await trio.lowlevel.open_process(["true"])
        await gone.wait()
        place = runtime._forks.folder / str(gone.pid)
        os.mkfifo(place)
        async with instance_of(runtime):
            await settled(lambda: not place.exists())
