"""`python -m trio_bridge [serve|talk|bench|dataflow|node]`: the command line.

Whatever goes wrong on purpose (`BridgeError`) becomes one line on standard error and an exit
status: 1, or 2 for a mistake in the settings or the command line.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import trio

from trio_bridge.errors import BridgeError, DataflowError, SettingsError

if TYPE_CHECKING:
    from trio_bridge.bridge import Bridge

FORCED = 130
"""The exit status of a server that was told twice to stop: 128 + SIGINT, as shells have it."""

ONE_SIGNAL = 0.5
"""Seconds within which signals count as one: wrappers pass one on that the terminal, or the
process group, has also been sent."""

LOG_LINES = 12
"""Lines of a failed node's output that are shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(_with_default_command(argv))
    try:
        if options.command == "talk":
            from trio_bridge.client.talk import talk

            return trio.run(talk, options)
        if options.command == "bench":
            from trio_bridge.bench.command import bench

            return trio.run(bench, options)
        if options.command == "dataflow":
            from trio_bridge.dataflow import run

            return run(options)
        return _serve(options)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            return FORCED
        matched, rest = group.split(BridgeError)
        if rest is not None or matched is None:
            raise
        return _complain(_first(matched))
    except BridgeError as exc:
        return _complain(exc)
    except KeyboardInterrupt:
        return FORCED


def _with_default_command(argv: Sequence[str] | None) -> list[str]:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["-h"], ["--help"], ["--version"]):
        return words
    return words if words and not words[0].startswith("-") else ["serve", *words]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trio_bridge",
        description="A voice server: Realtime API clients in front, Dora dataflows behind.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="serve|talk|bench|dataflow|node"
    )
    serve = commands.add_parser("serve", help="run the server (the default)")
    serve.add_argument("--dataflow", metavar="NAME|PATH", help="what answers (voice)")
    _add_server(serve)
    serve.add_argument(
        "--coordinator", metavar="HOST:PORT", help="a Dora that runs already (a private one)"
    )
    node = commands.add_parser("node", help="the server as a node: for Dora to start")
    node.set_defaults(dataflow=None, coordinator=None)
    _add_server(node)
    talk = commands.add_parser("talk", help="talk to a server from a file or the microphone")
    what = talk.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE.wav", help="speech; -: the microphone")
    what.add_argument("--text", help="say this in writing instead")
    talk.add_argument("--url", default="ws://127.0.0.1:8080/v1/realtime", metavar="WS")
    talk.add_argument(
        "--ca",
        type=Path,
        metavar="FILE.pem",
        help="certificates to trust, at a wss:// URL",
    )
    talk.add_argument("--save", metavar="REPLY.wav", help="write the spoken answer to a file")
    talk.add_argument("--json", action="store_true", help="print a JSON object per event")
    _add_bench(commands.add_parser("bench", help="put a server under load, and measure it"))
    dataflow = commands.add_parser("dataflow", help="look at dataflows")
    actions = dataflow.add_subparsers(dest="action", required=True, metavar="check|list")
    check = actions.add_parser("check", help="what one offers, and what is wrong with it")
    check.add_argument("file", metavar="NAME|PATH", help="a YAML file, or one that ships")
    listing = actions.add_parser("list", help="those that are configured, and those that run")
    listing.add_argument("--config", metavar="FILE.toml", help="settings, as for the server")
    listing.add_argument("--url", metavar="HTTP", help="a running server, to tell what it runs")
    return parser


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", help="address to listen on (127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen on; 0: any free one (8080)")
    command.add_argument("--config", metavar="FILE.toml", help="settings; flags win over it")
    command.add_argument(
        "--strict",
        action="store_true",
        default=None,
        help="refuse fields that the protocol does not know",
    )
    command.add_argument(
        "--tls-cert", metavar="FILE.pem", help="speak TLS, as this certificate"
    )
    command.add_argument(
        "--tls-key", metavar="FILE.pem", help="its private key, if that is in another file"
    )
    command.add_argument("--log-format", choices=("console", "json"), help="(console)")
    command.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="(info)"
    )


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "--scenario",
        choices=("echo", "voice"),
        default="echo",
        help="sessions that hear themselves, or that converse (echo)",
    )
    bench.add_argument(
        "--url", metavar="WS", help="a running server with that dataflow (one is started)"
    )
    bench.add_argument(
        "--ca", type=Path, metavar="FILE.pem", help="certificates to trust, at a wss:// URL"
    )
    bench.add_argument("--key", default="", help="API key to send")
    bench.add_argument(
        "--sessions",
        type=_counts,
        default=(10,),
        metavar="N[,N…]",
        help="how many talk at once; several numbers: one run each (10)",
    )
    bench.add_argument(
        "--ramp",
        action="store_true",
        help="more and more sessions, from the first number on, until they do not hold",
    )
    bench.add_argument(
        "--bound",
        type=_milliseconds,
        metavar="20ms",
        help="the p99 that holds in a ramp (echo: 20ms, voice: 500ms)",
    )
    bench.add_argument("--frame-ms", type=int, choices=(20, 40, 100), default=40, help="(40)")
    bench.add_argument(
        "--seconds", type=_positive, default=20.0, help="how long is measured (20)"
    )
    bench.add_argument(
        "--connects-per-second",
        type=_positive,
        default=50.0,
        metavar="N",
        help="how fast sessions join (50)",
    )
    bench.add_argument(
        "--speech",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="what is said in the voice scenario (sentences in a synthetic voice)",
    )
    bench.add_argument(
        "--barge-in",
        type=_whole,
        default=2,
        metavar="K",
        help="every K turns a session interrupts an answer; 0: never (2)",
    )
    bench.add_argument(
        "--workers",
        type=int,
        choices=range(1, 65),
        default=1,
        metavar="N",
        help="processes (1)",
    )
    bench.add_argument(
        "--buffer-ms",
        type=_not_negative,
        default=60.0,
        help="audio that a simulated player keeps in hand (60)",
    )
    bench.add_argument(
        "--look-ahead-ms",
        type=_not_negative,
        help="what the filters on the way hold back (that of the echo dataflow)",
    )
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")


def _counts(words: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(word) for word in words.split(","))
    except ValueError:
        counts = ()
    if min(counts, default=0) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a number from 1 up, or several with commas: {words!r}"
        )
    return counts


def _number(word: str, least: str, *, fits: Callable[[float], bool]) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not fits(number) or math.isinf(number):
        raise argparse.ArgumentTypeError(f"must be a number {least}: {word!r}")
    return number


def _positive(word: str) -> float:
    return _number(word, "above 0", fits=lambda number: number > 0)


def _not_negative(word: str) -> float:
    return _number(word, "from 0 up", fits=lambda number: number >= 0)


def _whole(word: str) -> int:
    least = "without a fraction, from 0 up"
    return int(_number(word, least, fits=lambda n: n >= 0 and n.is_integer()))


def _milliseconds(word: str) -> float:
    """`20ms`, `0.5s`, or a number of milliseconds."""
    if word.endswith("ms"):
        return _positive(word.removesuffix("ms"))
    return _positive(word.removesuffix("s")) * (1000 if word.endswith("s") else 1)


def _version() -> str:
    from importlib.metadata import version

    return f"trio_bridge {version('trio-bridge')}"


# --- serve ---------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    import structlog

    from trio_bridge.nodes.variables import doubtful
    from trio_bridge.settings_layers import load_settings
    from trio_bridge.telemetry.native import output_logged

    settings = load_settings(
        config_path=options.config,
        environ=os.environ,
        flags={
            "server.host": options.host,
            "server.port": options.port,
            "server.strict": options.strict,
            "server.tls_cert": options.tls_cert,
            "server.tls_key": options.tls_key,
            "dora.dataflow": options.dataflow,
            "dora.coordinator": options.coordinator,
            "log.format": options.log_format,
            "log.level": options.log_level,
        },
    )
    # Before what makes threads is imported: the reader of what others write is forked.
    with output_logged(settings.log.format, settings.log.level):
        for name, meant in doubtful(os.environ).items():
            structlog.get_logger(__name__).warning(
                "a variable may be misspelt", variable=name, meant=meant
            )
        if options.command == "node":
            from trio_bridge.node import open_joined_bridge as opened
        else:
            from trio_bridge.server import open_bridge as opened
        trio.run(_run_server, opened(settings))
    return 0


async def _run_server(opened: AbstractAsyncContextManager[Bridge]) -> None:
    started: list[Bridge] = []
    starting = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, started, starting)
        try:
            with starting:
                async with opened as bridge:
                    started.append(bridge)
                    # What was made until now stays: the collector need not look at it again
                    # and again, which takes tens of milliseconds each time.
                    gc.collect()
                    gc.freeze()
                    print(f"listening on {bridge.http_url}", flush=True)  # noqa: T201
                    await bridge.wait_shutdown()
        except* BridgeError:
            # What fails because the start was broken off is no failure.
            if not starting.cancel_called:
                raise
        nursery.cancel_scope.cancel()


async def _stop_on_signal(
    started: list[Bridge],
    starting: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        patience = math.inf
        async for _ in signals:
            if trio.current_time() > patience:
                _leave_now()
            patience = min(patience, trio.current_time() + ONE_SIGNAL)
            if started:
                started[0].shutdown()
            else:
                starting.cancel()


def _leave_now() -> NoReturn:
    # Somebody does not want to wait. Runtime and nodes end with their parent.
    os._exit(FORCED)


# --- errors --------------------------------------------------------------------------------


def _first(group: BaseExceptionGroup[BridgeError]) -> BridgeError:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    if not isinstance(inner, BridgeError):
        raise inner
    return inner


def _complain(exc: BridgeError) -> int:
    print(f"trio_bridge: {exc}", file=sys.stderr)  # noqa: T201
    if isinstance(exc, DataflowError) and exc.log:
        for line in exc.log.splitlines()[-LOG_LINES:]:
            print(f"  | {line}", file=sys.stderr)  # noqa: T201
    return 2 if isinstance(exc, SettingsError) else 1


if __name__ == "__main__":
    sys.exit(main())
