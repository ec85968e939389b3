"""What killed nodes leave in shared memory is removed, and nothing that is in use."""

from __future__ import annotations

import fcntl
from pathlib import Path

from trio_bridge.dora.shared_memory import remove_unheld_segments


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    for name in ("1.zenoh", "2.zenoh", "3.other"):
        (tmp_path / name).write_bytes(b"x")
    with (tmp_path / "2.zenoh").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        remove_unheld_segments(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"2.zenoh", "3.other"}
    remove_unheld_segments(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"3.other"}


def test_a_machine_without_shared_memory(tmp_path: Path) -> None:
    remove_unheld_segments(tmp_path / "nowhere")
