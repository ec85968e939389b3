"""Numbers that do not go together."""

from __future__ import annotations

import pytest

from trio_bridge.dora.backend import open_dora_backend, open_dora_backends
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import SettingsError


async def test_instances_that_nobody_may_wait_for_are_refused() -> None:
    """Each session would be upgraded and closed, for ever; nothing is started before."""
    settings = DoraSettings(dataflow="echo", warm=0, wait_timeout=0)
    with pytest.raises(SettingsError, match=r"^echo: .*warm = 0.*for a session that waits"):
        async with open_dora_backends([settings]):
            pass
    with pytest.raises(SettingsError, match="wait_timeout must be more"):
        async with open_dora_backend(settings):
            pass


@pytest.mark.parametrize(
    ("warm", "wait_timeout", "variants", "fits"),
    [(0, 1, 2, True), (1, 0, 1, True), (0, 0, 1, False), (1, 0, 2, False)],
)
def test_what_is_kept_warm_needs_nobody_to_wait(
    *, warm: int, wait_timeout: float, variants: int, fits: bool
) -> None:
    settings = DoraSettings(warm=warm, wait_timeout=wait_timeout)
    if fits:
        settings.check_served(variants)
    else:
        with pytest.raises(SettingsError):
            settings.check_served(variants)
