"""What a client hands over as items: read, and given their ids."""

from __future__ import annotations

from attrs import frozen

from trio_bridge.realtime import known, problems
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import Fields, a_name
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.items import GivenItem, read_item, read_item_id


@frozen
class ItemReader:
    """Reads a client's items.

    Args:
        conversation: Whose items may be referred to, and whose ids are taken.
        ids: Names what has no name.
        strict: A field that the protocol does not know is an error.
    """

    conversation: Conversation
    ids: Ids
    strict: bool

    def read(self, item: Json, path: str) -> tuple[Item, GivenItem]:
        """An item as it can be added to the conversation, and as it was given.

        Raises:
            ProtocolError: It is wrong, with its path from `path` on.
        """
        if self.strict:
            known.refuse_unknown(item, known.ITEM, path)
        item_id = read_item_id(item, path) or self.ids.item(self.conversation.taken)
        given = read_item(item, new_call_id=self.ids.call(), path=path)
        return Item(item_id, given.body), given

    def read_input(self, given: tuple[Json, ...]) -> tuple[Item | Json, ...]:
        """The `input` of a response: items of its own, and references to the conversation's.

        Raises:
            ProtocolError: One is wrong, or refers to nothing.
        """
        return tuple(
            self._read_input_item(item, f"response.input[{index}]")
            for index, item in enumerate(given)
        )

    def _read_input_item(self, item: Json, path: str) -> Item | Json:
        if item["type"] == "item_reference":
            item_id = Fields(item, path).require("id", a_name)
            referred = self.conversation.get(item_id)
            if referred is None:
                raise problems.unknown_reference(f"{path}.id", item_id)
            return referred
        made, given = self.read(item, path)
        if given.unheard:
            raise problems.unheard_audio(f"{path}.content[{given.unheard[0]}].audio")
        return made.to_json()
