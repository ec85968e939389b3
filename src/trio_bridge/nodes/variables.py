"""What the shipped nodes read from their environment; the server knows it by the same list."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum

PREFIX = "TRIO_BRIDGE_"
"""What all variables begin with that can only be meant for this project."""

NEAR = 0.8
"""How alike two names are at least (see `difflib`) if one may be the other misspelt.
`ASR_MODELS_DIR`, of another project's node, and `ASR_MODEL` are not."""

_KINDS = ("ASR_", "LLM_", "TTS_")


class Variable(StrEnum):
    """A setting of a node."""

    LLM_URL = "TRIO_BRIDGE_LLM_URL"
    LLM_KEY = "TRIO_BRIDGE_LLM_KEY"
    LLM_MODEL = "TRIO_BRIDGE_LLM_MODEL"
    LLM_TIMEOUT = "TRIO_BRIDGE_LLM_TIMEOUT"
    ASR_WORKERS = "TRIO_BRIDGE_ASR_WORKERS"
    ASR_ENGINE = "ASR_ENGINE"
    ASR_MODEL = "ASR_MODEL"
    ASR_LANGUAGE = "ASR_LANGUAGE"
    ASR_DEVICE = "ASR_DEVICE"
    ASR_COMPUTE_TYPE = "ASR_COMPUTE_TYPE"
    ASR_THREADS = "ASR_THREADS"
    TTS_ENGINE = "TTS_ENGINE"
    TTS_MODEL = "TTS_MODEL"
    TTS_LANGUAGE = "TTS_LANGUAGE"
    TTS_THREADS = "TTS_THREADS"
    TTS_CACHE_MB = "TTS_CACHE_MB"
    NODE_CONTRACT = "TRIO_BRIDGE_NODE_CONTRACT"


NAMES: tuple[str, ...] = tuple(each.value for each in Variable)
"""All of them."""


def meant_by(name: str, known: Iterable[str] = NAMES) -> str | None:
    """The known name that another is near to, with the prefix or without it."""
    # All that share the prefix would be near to each other.
    short = {each.removeprefix(PREFIX): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), short, n=1, cutoff=NEAR)
    return short[near[0]] if near else None


def doubtful(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables without our prefix that may be misspelt → what may have been meant.

    They may as well be right and meant for other programs, or for nodes of other projects, and
    what is meant may be set beside them."""
    suspects = (name for name in environ if name.startswith(_KINDS) and name not in NAMES)
    meant = ((name, meant_by(name)) for name in suspects)
    return {name: other for name, other in meant if other is not None and other not in environ}


def nobodys(environ: Iterable[object]) -> dict[str, str]:
    """Variables with our prefix that no node reads → words on what may have been meant."""
    names = (str(name) for name in environ)
    wrong = (name for name in names if name.startswith(PREFIX) and name not in NAMES)
    near = ((name, meant_by(name)) for name in wrong)
    known = f"nodes know {', '.join(NAMES)}"
    return {name: f"did you mean {other}?" if other else known for name, other in near}
