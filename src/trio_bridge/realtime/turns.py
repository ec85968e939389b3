"""The user's turns: input audio becomes items, and items get their transcripts.

A turn begins and ends with the backend's speech events, or ends with the client's commit.
Speech events and transcripts come from different nodes and are not ordered against each
other: a transcript that is early is kept until the utterance it belongs to is known.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from trio_bridge.audio.encodings import CODINGS, Encoding
from trio_bridge.messages import (
    Clear,
    Commit,
    Logprob,
    MicrophoneAudio,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime import events, problems
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.recordings import UNSPOKEN_KEPT_MS
from trio_bridge.realtime.step import Draft
from trio_bridge.realtime.transcripts import GrowingTranscript

UTTERANCES_LIMIT = 64
"""Utterances that wait for their speech event, their end or their transcript. Ten seconds of
waiting for a recogniser at six turns a second; the oldest is given up beyond it."""

FINISHED_REMEMBERED = 64
"""Utterances whose end is remembered, so that a late word about one is known to be late."""


@frozen
class Interest:
    """What of transcripts the client wants to know."""

    transcript: bool = False
    logprobs: bool = False


@define(eq=False)
class Utterance:
    """Something that is being said, or was said and is being transcribed.

    Attributes:
        item_id: The item it becomes; None while only its transcript is known.
        item: That item, once it is committed.
        start_ms: Where it begins on the session's audio clock.
        seconds: How long it is.
        interest: What of its transcript is reported to the client.
        transcript: What was heard of it so far.
        verdict: Its final transcript, while it is not committed.
    """

    item_id: str | None = None
    item: Item | None = None
    start_ms: int = 0
    seconds: float = 0.0
    interest: Interest = Interest()
    transcript: GrowingTranscript = field(factory=GrowingTranscript)
    verdict: Transcript | None = None


@define
class Turns:
    """Follows what the user says.

    Args:
        conversation: Where items go.
        ids: Names them.
        out: Where events and commands go.
        ledger: Counts the input audio.
        transcripts: The backend transcribes every committed utterance.

    Attributes:
        detecting: The backend looks for speech in the input.
    """

    conversation: Conversation
    ids: Ids
    out: Draft
    ledger: InputLedger
    transcripts: bool
    detecting: bool = field(default=True, init=False)
    _speaking: Utterance | None = field(default=None, init=False)
    _by_name: dict[str, Utterance] = field(factory=dict, init=False)
    _by_item: dict[str, Utterance] = field(factory=dict, init=False)
    _finished: deque[str] = field(factory=lambda: deque(maxlen=FINISHED_REMEMBERED), init=False)

    @property
    def going_on(self) -> bool:
        """Whether somebody is speaking."""
        return self._speaking is not None

    # --- what the client does --------------------------------------------------------------

    def append(self, audio: bytes) -> None:
        """Take input audio."""
        ledger, recordings = self.ledger, self.conversation.recordings
        start_ms = ledger.clock_ms
        data = ledger.append(audio)
        if not data:
            return
        encoding = ledger.format.encoding
        recordings.hear(start_ms, ledger.clock_ms, data, encoding)
        if self.detecting and self._speaking is None:
            recordings.forget_input(start_ms - UNSPOKEN_KEPT_MS)
        self.out.ask(MicrophoneAudio(data, encoding, ledger.coding.sample_rate))

    def commit(self, interest: Interest) -> None:
        """The client ends its turn. If speech is going on, this is its end.

        Args:
            interest: What the client wants to know of the transcript.

        Raises:
            ProtocolError: There is too little audio.
        """
        start_ms = self.ledger.uncommitted_from_ms
        self.ledger.commit()
        utterance = self._speaking
        if utterance is None:
            utterance = Utterance()
            utterance.item_id = self._promise()
            self._by_item[utterance.item_id] = utterance
        assert utterance.item_id is not None  # noqa: S101  whoever speaks has one
        self.out.ask(Commit(utterance.item_id))
        self._finish(utterance, start_ms, self.ledger.clock_ms, interest)

    def transcribe(
        self, item: Item, data: bytes, encoding: Encoding, interest: Interest
    ) -> None:
        """Have the backend hear an item that came with its sound. The backend has one ear: what
        it has heard and nobody has committed is cleared, and heard again after the item.

        Nobody may be speaking, and speech must not be looked for in it: it is committed.
        """
        coding = CODINGS[encoding]
        data = data[: len(data) - len(data) % coding.width]
        item.heard_ms = len(data) * 1000 / coding.bytes_per_second
        utterance = Utterance(item.id, item, seconds=item.heard_ms / 1000, interest=interest)
        self.out.ask(
            MicrophoneAudio(data, encoding, coding.sample_rate),
            Commit(item.id),
        )
        if self.transcripts:
            item.awaits_transcript = True
            self._by_item[item.id] = utterance
            self._bound()

    def hear_again(self, item: Item) -> None:
        """Have the backend hear once more what was not committed before an item."""
        again = self.conversation.recordings.input_from(self.ledger.uncommitted_from_ms)
        again_ms = 0.0
        for data, encoding in again:
            coding = CODINGS[encoding]
            again_ms += len(data) * 1000 / coding.bytes_per_second
            self.out.ask(MicrophoneAudio(data, encoding, coding.sample_rate))
        self.ledger.backend_heard(item.heard_ms, again_ms)

    def clear(self) -> None:
        """The client takes its input back, and with it the speech that is going on."""
        self.ledger.clear()
        self.conversation.recordings.forget_input(self.ledger.clock_ms)
        if self._speaking is not None:
            self._forget(self._speaking)
        self.out.ask(Clear())
        self.out.tell(events.InputAudioBufferCleared(self.ids.event()))

    # --- what the backend reports ----------------------------------------------------------

    def started(self, event: SpeechStarted) -> bool:
        """Speech began. False if it is known already, or long over."""
        utterance = self._by_name.get(event.utterance_id)
        if event.utterance_id in self._finished or (utterance and utterance.item_id):
            return False
        if self._speaking is not None:  # its end was lost: nobody speaks twice at a time
            self._forget(self._speaking)
        if utterance is None:
            utterance = self._by_name[event.utterance_id] = Utterance()
        utterance.item_id = self._promise()
        utterance.start_ms = self.ledger.on_clock(event.audio_ms)
        self._by_item[utterance.item_id] = utterance
        self._speaking = utterance
        self.out.tell(
            events.InputAudioBufferSpeechStarted(
                self.ids.event(), utterance.item_id, utterance.start_ms
            )
        )
        self._bound()
        return True

    def stopped(self, event: SpeechStopped, interest: Interest) -> bool:
        """The turn is over. False if it was not going on (any more).

        Args:
            event: The report.
            interest: What the client wants to know of the transcript.
        """
        utterance = self._by_name.get(event.utterance_id)
        if utterance is None or utterance is not self._speaking or not utterance.item_id:
            return False
        end_ms = self.ledger.on_clock(event.audio_ms)
        self.out.tell(
            events.InputAudioBufferSpeechStopped(self.ids.event(), utterance.item_id, end_ms)
        )
        self.ledger.commit_until(end_ms)
        self._finish(utterance, utterance.start_ms, end_ms, interest)
        return True

    def silence(self, timeout_ms: int, interest: Interest) -> bool:
        """Nobody has spoken for so long: the silence becomes an item. False if the client has
        sent no audio in that time, or too little for an item.

        The backend is not asked to transcribe it: it has looked for speech in it all along.
        """
        end_ms = self.ledger.clock_ms
        start_ms = max(self.ledger.uncommitted_from_ms, end_ms - timeout_ms)
        if end_ms - start_ms < problems.MIN_COMMIT_MS:
            return False
        utterance = Utterance()
        utterance.item_id = self._promise()
        utterance.verdict = Transcript("", "", final=True)
        self.out.tell(
            events.InputAudioBufferTimeoutTriggered(
                self.ids.event(), utterance.item_id, round(start_ms), round(end_ms)
            )
        )
        self.ledger.commit_until(end_ms)
        self._finish(utterance, start_ms, end_ms, interest)
        return True

    def transcript(self, event: Transcript) -> bool:
        """Something was heard. False if nobody waits for it (any more)."""
        utterance = self._utterance_of(event)
        if utterance is None or utterance.verdict is not None:
            return False
        if event.final:
            utterance.verdict = event
        else:
            utterance.transcript.update(event.text)
        self._report(utterance)
        self._bound()
        return True

    # --- utterances ------------------------------------------------------------------------

    def _utterance_of(self, event: Transcript) -> Utterance | None:
        named = self._by_name.get(event.utterance_id)
        if event.item_id is None:
            if named is None and event.utterance_id not in self._finished:
                named = self._by_name[event.utterance_id] = Utterance()
            return named
        committed = self._by_item.get(event.item_id)
        if committed is not None and committed is not named:
            if named is not None and named.item_id is None:
                committed.transcript = named.transcript
            self._by_name[event.utterance_id] = committed
        return committed

    def _finish(
        self, utterance: Utterance, start_ms: float, end_ms: float, interest: Interest
    ) -> None:
        """The utterance, from `start_ms` to `end_ms` of the audio clock, becomes an item."""
        assert utterance.item_id is not None  # noqa: S101  both callers have given it one
        if utterance is self._speaking:
            self._speaking = None
        content = {"type": "input_audio", "transcript": None}
        body = {"type": "message", "status": "completed", "role": "user", "content": [content]}
        length_ms = max(0.0, end_ms - start_ms)
        item = Item(
            utterance.item_id, body, awaits_transcript=self.transcripts, heard_ms=length_ms
        )
        utterance.item, utterance.seconds = item, length_ms / 1000
        utterance.interest = interest
        self.conversation.recordings.commit(item.id, start_ms, end_ms)
        previous = self.conversation.last_id
        self.out.tell(
            events.InputAudioBufferCommitted(self.ids.event(), item.id, previous),
        )
        self.conversation.append(item)
        self.out.tell(
            events.ConversationItemAdded(self.ids.event(), item.to_json(), previous),
            events.ConversationItemDone(self.ids.event(), item.to_json(), previous),
        )
        if self.transcripts or utterance.verdict is not None:
            self._report(utterance)
            self._bound()
        else:
            self._forget(utterance)

    def _report(self, utterance: Utterance) -> None:
        """Tell what is known of a transcript, once its item is there."""
        item, verdict = utterance.item, utterance.verdict
        if item is None:
            return
        if item not in self.conversation:  # the client has deleted it
            self._forget(utterance)
        elif verdict is None:
            self._tell_delta(utterance, item, utterance.transcript.delta())
        elif verdict.failure is not None:
            self._give_up(utterance, verdict.failure.code, verdict.failure.message)
        else:
            item.awaits_transcript = False
            item.set_transcript(verdict.text)
            self._tell_delta(utterance, item, utterance.transcript.last_delta(verdict.text))
            if utterance.interest.transcript:
                logprobs = verdict.logprobs if utterance.interest.logprobs else None
                self.out.tell(
                    events.ConversationItemInputAudioTranscriptionCompleted(
                        self.ids.event(),
                        item.id,
                        content_index=0,
                        transcript=verdict.text,
                        usage={"type": "duration", "seconds": utterance.seconds},
                        logprobs=None if logprobs is None else _logprobs_json(logprobs),
                    )
                )
            self._forget(utterance)

    def _tell_delta(self, utterance: Utterance, item: Item, delta: str) -> None:
        if utterance.interest.transcript and delta:
            self.out.tell(
                events.ConversationItemInputAudioTranscriptionDelta(
                    self.ids.event(), item.id, content_index=0, delta=delta
                )
            )

    def _give_up(self, utterance: Utterance, code: str, message: str) -> None:
        item = utterance.item
        if item is not None:
            item.awaits_transcript = False
            if utterance.interest.transcript:
                error = {"type": "transcription_error", "code": code, "message": message}
                self.out.tell(
                    events.ConversationItemInputAudioTranscriptionFailed(
                        self.ids.event(), item.id, content_index=0, error=error
                    )
                )
        self._forget(utterance)

    def _promise(self) -> str:
        item_id = self.ids.item(self.conversation.taken)
        self.conversation.promise(item_id)
        return item_id

    def _forget(self, utterance: Utterance) -> None:
        if utterance is self._speaking:
            self._speaking = None
        if utterance.item_id is not None:
            self._by_item.pop(utterance.item_id, None)
            self.conversation.release(utterance.item_id)
        for name in [name for name, known in self._by_name.items() if known is utterance]:
            del self._by_name[name]
            self._finished.append(name)

    def _bound(self) -> None:
        while len(self._by_name) > UTTERANCES_LIMIT:
            self._give_up(
                next(iter(self._by_name.values())),
                "transcription_lost",
                "The recogniser has not answered for too long.",
            )
        while len(self._by_item) > UTTERANCES_LIMIT:
            self._give_up(
                next(iter(self._by_item.values())),
                "transcription_lost",
                "The recogniser has not answered for too long.",
            )


def _logprobs_json(logprobs: tuple[Logprob, ...]) -> list[Json]:
    return [
        {"token": each.token, "logprob": each.logprob, "bytes": list(each.token.encode())}
        for each in logprobs
    ]
