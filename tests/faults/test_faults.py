"""Every failure comes out as it must, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.failures import run_all

pytestmark = pytest.mark.e2e


async def test_every_failure(tmp_path: Path) -> None:
    wrong = [(row.failure, row.wrong) async for row in run_all(tmp_path) if row.wrong]
    assert not wrong
