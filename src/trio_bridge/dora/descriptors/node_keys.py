"""The keys that Dora 1.1 knows of a node, and what it takes as their values.

It names them one at a time, by a place in a file that is not the user's, or not at all: of an
environment it says that something in it does not do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trio_bridge.errors import DataflowError

_MOST_NUMBER = 2**64


def is_whole(value: Any) -> bool:
    """Whether it is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_NUMBER


def is_number(value: Any) -> bool:
    """Whether it is a number, of seconds for example."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_policy(value: Any) -> bool:
    return value in _POLICIES


_POLICIES = ("never", "on-failure", "always")
_SECONDS = (is_number, "a number of seconds")
_COUNT = (is_whole, "a whole number")
_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "restart_policy": (_is_policy, f"one of {', '.join(_POLICIES)}"),
    "max_restarts": _COUNT,
    "restart_delay": _SECONDS,
    "max_restart_delay": _SECONDS,
    "restart_window": _SECONDS,
    "health_check_timeout": _SECONDS,
    "finish_grace_secs": _SECONDS,
    "startup_timeout": _SECONDS,
    "max_rotated_files": _COUNT,
}
"""What is usually set → what it must be. Dora itself has the last word on the rest."""

NODE_KEYS = frozenset(
    {
        *_VALUES,
        "id",
        "name",
        "description",
        "path",
        "path_sha256",
        "args",
        "env",
        "inputs",
        "outputs",
        "operator",
        "operators",
        "ros2",
        "build",
        "git",
        "branch",
        "tag",
        "rev",
        "output_types",
        "input_types",
        "output_framing",
        "output_metadata",
        "pattern",
        "params",
        "cpu_affinity",
        "deploy",
        "send_stdout_as",
        "send_logs_as",
        "min_log_level",
        "max_log_size",
        "shared_memory_pool_size",
        # These have a word of their own in `node_entry`.
        "hub",
        "module",
        "custom",
    }
)


def check_values(node: Mapping[str, Any], name: str, problems: list[DataflowError]) -> None:
    """Note the keys of a node whose values Dora does not take."""
    for key, (fits, kind) in _VALUES.items():
        if node.get(key) is not None and not fits(node[key]):
            words = f"node {name!r}: {key} must be {kind}, not {node[key]!r}"
            problems.append(DataflowError(words, node=name))


def check_env(env: Any, where: str, node: str | None, problems: list[DataflowError]) -> None:
    """Note the variables whose values Dora does not take."""
    if env is None:
        return
    if not isinstance(env, dict):
        problems.append(DataflowError(f"{where} must be a mapping", node=node))
        return
    for key, value in env.items():
        if not _is_text(value):
            words = f"{where}: {key} must be a text, a number, or true or false: not {value!r}"
            problems.append(DataflowError(words, node=node))


def _is_text(value: Any) -> bool:
    if isinstance(value, int):
        return -_MOST_NUMBER < 2 * value < 2 * _MOST_NUMBER
    return isinstance(value, str | float)
