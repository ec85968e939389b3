"""From a client's microphone to the backend: the listen commands of a session, in order, its
audio at the rate that backends hear.

What comes is heard at once, in the step that took it. On a busy loop a task that has to be
woken waits for all others first, and each such wait adds as much to a frame's delay as all the
work that is done to it. Only what would hold the loop up, and what comes after it, is left to
a task of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

import trio
from attrs import define, field

from trio_bridge.audio.encodings import CODINGS
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.backend import BackendSession
from trio_bridge.messages import (
    Clear,
    Command,
    Commit,
    InputAudio,
    ListenCommand,
    MicrophoneAudio,
    Samples,
)

LISTEN_RATE = 16_000
"""Hz: what every backend hears."""

WAITING = 64
"""Commands that may wait for the task; beyond it the reader waits, and so the client."""

BYTES_WAITING = 2**19
"""Audio in them, likewise: 11 s of PCM. A single command may hold more."""

AT_ONCE = 8
"""Commands of one step that are heard in it: one that has the input heard again holds one for
each append."""

SECONDS_AT_ONCE = 0.25
"""Audio of one command that is heard in the step: 0.1 ms of work."""

_BYTES_AT_ONCE: Final = {
    encoding: int(SECONDS_AT_ONCE * coding.bytes_per_second)
    for encoding, coding in CODINGS.items()
}


@define(eq=False)
class Hearing:
    """See the module.

    Args:
        command: Gives a command to the backend; never waits.
        backend: What hears; says when it can be given more.
    """

    _command: Callable[[Command], None]
    _backend: Callable[[], BackendSession]
    _resampler: StreamResampler | None = field(default=None, init=False)
    _behind: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    """Audio that waits."""
    _heard: trio.Event = field(factory=trio.Event, init=False)
    _send: trio.MemorySendChannel[ListenCommand] = field(init=False)
    _receive: trio.MemoryReceiveChannel[ListenCommand] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[ListenCommand](WAITING)

    @property
    def behind(self) -> bool:
        """Whether the task has something to do, so that what comes now has to wait for it."""
        return self._behind > 0

    def hear_now(self, commands: Sequence[Command]) -> bool:
        """Hear the listen commands of a step, unless they are too much to be heard at once,
        the backend has no room, or the task is `behind`.

        Returns:
            Whether it did; else they are to be `hear`d.
        """
        if self._behind or len(commands) > AT_ONCE:
            return False
        to_hear = [command for command in commands if isinstance(command, ListenCommand)]
        if not to_hear:
            return True
        if any(map(_is_long, to_hear)) or not self._backend().has_room:
            return False
        for command in to_hear:
            self._hear(command)
        return True

    async def hear(self, commands: Sequence[Command]) -> None:
        """Have the task hear the listen commands of a step; waits for room."""
        for command in commands:
            if isinstance(command, ListenCommand):
                while self._bytes >= BYTES_WAITING:
                    await self._heard.wait()
                self._behind += 1
                self._bytes += _size(command)
                await self._send.send(command)

    async def run(self) -> None:
        """Hear what has to wait. Runs until it is cancelled."""
        async for command in self._receive:
            if _is_long(command):
                await self._hear_long(command)
            else:
                await self._backend().room()
                self._hear(command)
            self._behind -= 1
            self._bytes -= _size(command)
            self._heard.set()
            self._heard = trio.Event()

    def close(self) -> None:
        """Nothing comes any more, and nobody hears."""
        self._send.close()
        self._receive.close()

    def _hear(self, command: ListenCommand) -> None:
        match command:
            case MicrophoneAudio(data, encoding, rate):
                samples = CODINGS[encoding].decode(data)
                self._samples(self._resampled(rate).process(samples))
            case Commit() | Clear():
                # The filter's look-ahead belongs to this turn, and to its clock.
                self._flush()
                self._command(command)
            case _:
                self._command(command)

    async def _hear_long(self, command: MicrophoneAudio) -> None:
        # A second at a time with a checkpoint between: a 15 MiB append, 0.3 s of work, delays
        # nobody else's audio.
        coding = CODINGS[command.encoding]
        resampler = self._resampled(command.sample_rate)
        for start in range(0, len(command.data), coding.bytes_per_second):
            if start:
                await trio.lowlevel.checkpoint()
            await self._backend().room()
            piece = command.data[start : start + coding.bytes_per_second]
            self._samples(resampler.process(coding.decode(piece)))

    def _resampled(self, rate: int) -> StreamResampler:
        if self._resampler is None or self._resampler.rate_in != rate:
            self._flush()
            self._resampler = StreamResampler(rate, LISTEN_RATE, quality="best")
        return self._resampler

    def _flush(self) -> None:
        if self._resampler is not None:
            self._samples(self._resampler.flush())

    def _samples(self, samples: Samples) -> None:
        if samples.size:
            self._command(InputAudio(samples, LISTEN_RATE))


def _size(command: ListenCommand) -> int:
    return len(command.data) if isinstance(command, MicrophoneAudio) else 0


def _is_long(command: Command) -> TypeGuard[MicrophoneAudio]:
    return (
        isinstance(command, MicrophoneAudio)
        and len(command.data) > _BYTES_AT_ONCE[command.encoding]
    )
