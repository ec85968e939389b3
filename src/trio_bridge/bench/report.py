"""What a run found, in lines for people."""

from __future__ import annotations

from typing import Any, TextIO

from attrs import define

from trio_bridge.bench.run import Progress

WIDTH = 30


@define
class ProgressBar:
    """One line that is written over and over; nothing where that cannot be seen."""

    _out: TextIO

    def show(self, progress: Progress) -> None:
        """Draw it."""
        if not self._out.isatty():
            return
        filled = round(progress.done * WIDTH)
        failed = f", {progress.failed} failed" if progress.failed else ""
        self._out.write(
            f"\r[{'#' * filled:<{WIDTH}}] {progress.done:4.0%}"
            f"  {progress.joined}/{progress.sessions} sessions{failed}\x1b[K"
        )
        self._out.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._out.isatty():
            self._out.write("\r\x1b[K")
            self._out.flush()


def lines(found: dict[str, Any]) -> list[str]:
    """A run's figures as `run` returns them."""
    told = [
        f"{found['sessions']} sessions, {found['scenario']}, frames of {found['frame_ms']} ms,"
        f" {found['seconds']:g} s measured",
        *(_echo(found) if found["scenario"] == "echo" else _voice(found)),
        _row("session.created", _times(found["created_ms"])),
    ]
    playback, late = found["playback"], found["late_sends"]
    told += [
        _row(
            "playback jitter",
            _times(playback["lateness_ms"]),
            f"{playback['underruns']} underruns with {playback['buffer_ms']:g} ms in hand,"
            f" {playback['stalled_seconds']:.2f} s stood still",
        ),
        _row(
            "own late sends",
            _times(late["ms"]),
            f"{late['share']:.2%} over {late['over_ms']:g} ms",
        ),
        *_spent(found),
    ]
    what = "sound" if found["scenario"] == "echo" else "speech and answers"
    well = f"{found['finished']} sessions heard all of their own {what} and nothing else"
    told.append(_row("content", well))
    causes: dict[str, list[int]] = {}
    for failure in found["failures"]:
        causes.setdefault(failure["why"], []).append(failure["session"])
    told += [
        _row("FAILED", f"{len(sessions)} (session {sessions[0]}…): {why}")
        for why, sessions in causes.items()
    ]
    return told


def _echo(found: dict[str, Any]) -> list[str]:
    beyond = f"beyond a look-ahead of {found['look_ahead_ms']:.1f} ms"
    return [_row("added delay", _times(found["added_delay_ms"]), beyond)]


def _voice(found: dict[str, Any]) -> list[str]:
    return [
        _row(
            "speech to answer",
            _times(found["answer_ms"]),
            f"from the end of speech; {found['silence_ms']} ms of silence end a turn",
        ),
        _row("  beyond that", _times(found["answer_beyond_silence_ms"])),
        _row(
            "barge-in to silence",
            _times(found["barge_in_ms"]),
            f"{found['barge_ins']} measured, from the beginning of speech",
        ),
        _row(
            "turns",
            f"{found['turns']} as said, {found['exact_transcripts']} of them word for word"
            " as when spoken alone",
            "each session in words of its own",
        ),
    ]


def _spent(found: dict[str, Any]) -> list[str]:
    generator = f"generator {found['generator_cores']:.2f}"
    if not found["processes"]:
        return [_row("processor", f"{generator} cores (the server's was not seen)")]
    names = sorted(found["processes"].items(), key=lambda item: -item[1]["cores"])
    cores = ", ".join(f"{name} {entry['cores']:.2f}" for name, entry in names)
    memory = ", ".join(f"{name} {entry['mb']:.0f}" for name, entry in names)
    return [
        _row("processor", f"{cores} cores; {generator}, others {found['other_cores']:.2f}"),
        _row("sessions per core", f"{found['sessions_per_core'] or 0:.0f} of the server's"),
        _row("memory", f"{memory} MB"),
    ]


def _row(name: str, what: str, rest: str = "") -> str:
    return f"  {name:<20}{what}" + (f"  ({rest})" if rest else "")


def _times(ms: dict[str, float] | None) -> str:
    if ms is None:
        return "nothing measured"
    return "  ".join(f"{name} {value:.1f}" for name, value in ms.items()) + " ms"
