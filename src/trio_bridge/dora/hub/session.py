"""One session on an instance of the hub contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import trio
from attrs import define, field

from trio_bridge.dora.hub.answering import Answering
from trio_bridge.dora.hub.listening import Listening
from trio_bridge.dora.hub.messages import Message
from trio_bridge.dora.hub.pacing import Pacing
from trio_bridge.dora.instances.link import EventLine
from trio_bridge.dora.instances.translate import check_rate
from trio_bridge.messages import (
    BackendEvent,
    Cancel,
    Clear,
    Command,
    Commit,
    Configure,
    Credit,
    InputAudio,
    MicrophoneAudio,
    Respond,
)


@define(eq=False)
class HubConversation:
    """What is known of an instance's nodes. It outlives the sessions: what the nodes still do
    for the last one is not to be taken for the next one's.

    Args:
        ports: Outputs that the bridge has in this dataflow.
        numbers: Numbers for all that is sent, each used once.
        send: Takes messages to the nodes.
    """

    _ports: Collection[str]
    _numbers: Iterator[int]
    _send: Callable[[Message], None]
    listening: Listening = field(init=False)
    answering: Answering = field(init=False)
    pacing: Pacing = field(factory=Pacing, init=False)
    tell: Callable[[BackendEvent], None] | None = field(default=None, init=False)
    _moved: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        voice = "sentence" in self._ports
        self.listening = Listening(self._numbers, self.pacing, self._send_known, self._tell)
        self.answering = Answering(self._numbers, voice, self._send_known, self._tell)

    @property
    def responds(self) -> bool:
        """It answers when asked."""
        return "question" in self._ports

    @property
    def deadline(self) -> float:
        """When `tick` will next have something to do."""
        return min(self.listening.deadline, self.answering.deadline)

    def tick(self, now: float) -> None:
        """Give up waiting for what is due."""
        self.listening.tick(now)
        self.answering.tick(now)
        self._move()

    def receive(self, message: Message, now: float) -> None:
        """Take a message from a node."""
        self.listening.receive(message, now)
        self.answering.receive(message, now)
        self._move()

    # --- how fast audio may come ------------------------------------------------------------

    def answered(self, now: float) -> None:
        """The monitor has answered a message of audio."""
        self.pacing.answered(now)
        self._move()

    @property
    def has_room(self) -> bool:
        """Whether the session may send more to be heard."""
        return self.listening.room_at <= trio.current_time()

    async def room(self) -> None:
        """Wait until it may. There is no checkpoint between that and the return."""
        while not self.has_room:
            with trio.move_on_at(self.listening.room_at):
                await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _send_known(self, message: Message) -> None:
        if message.port in self._ports:
            self._send(message)

    def _tell(self, event: BackendEvent) -> None:
        if self.tell is not None:
            self.tell(event)


@define(eq=False)
class HubLink(EventLine):
    """The `BackendSession` of a session on a dataflow of the hub contract.

    Args:
        session_id: What the language node is told.
        conversation: The instance's.
        stir: Called when there may be a new deadline.
    """

    _conversation: HubConversation
    _stir: Callable[[], None]

    def open(self) -> None:
        """See `EventLine.open`."""
        self._conversation.tell = self._deliver
        self._conversation.listening.begin()
        self._conversation.answering.begin(self.session_id)

    @property
    def has_room(self) -> bool:
        """See `BackendSession.has_room`."""
        return self._conversation.has_room

    async def room(self) -> None:
        """See `BackendSession.room`."""
        await self._conversation.room()

    def send(self, command: Command) -> None:
        """See `BackendSession.send`."""
        self._check()
        conversation, now = self._conversation, trio.current_time()
        listening, answering = conversation.listening, conversation.answering
        match command:
            case InputAudio(samples, sample_rate):
                check_rate(sample_rate)
                listening.audio(np.asarray(samples, np.float32), now)
            case Configure(turn_detection):
                listening.configure(turn_detection)
            case Commit(item_id):
                listening.commit(item_id, now)
            case Clear():
                listening.clear()
            case Respond(response_id, request) if conversation.responds:
                answering.respond(response_id, request, now)
            case Respond(response_id):
                self._unsupported(response_id)
            case Cancel(response_id):
                answering.cancel(response_id)
            case Credit(response_id, seconds):
                answering.credit(response_id, seconds, now)
            case MicrophoneAudio():
                raise ValueError("a session turns MicrophoneAudio into InputAudio")
        self._stir()

    def _stop(self) -> None:
        self._conversation.tell = None
        self._conversation.listening.end()
        self._conversation.answering.end()
