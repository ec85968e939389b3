"""Names."""

from __future__ import annotations

from trio_bridge.realtime.ids import Ids


def test_ids_differ_and_count_up() -> None:
    """No two are alike, and the later is the greater."""
    ids = Ids()
    given = [ids.event() for _ in range(300)]
    assert len(set(given)) == 300
    assert given == sorted(given)
    assert Ids().event() != Ids().event()


def test_an_items_id_is_short_enough_and_free() -> None:
    """Clients refuse ids of more than 32 characters; a taken one is passed over."""
    assert len(Ids().item()) <= 32
    assert Ids("t").item(lambda item_id: item_id == "item_t000001") == "item_t000002"
