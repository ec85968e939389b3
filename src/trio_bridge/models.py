"""Which backend answers which model, and the start of all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from attrs import Factory, frozen

from trio_bridge.backend import Backend
from trio_bridge.settings import Settings

T = TypeVar("T")


def fitting(model: str, named: Mapping[str, T]) -> T | None:
    """What stands for a model: under its name, else under the first pattern that fits."""
    patterns = (each for pattern, each in named.items() if fnmatchcase(model, pattern))
    return named.get(model) or next(patterns, None)


@frozen
class Models:
    """The backends of a server, by the models that clients ask for.

    Args:
        default: Answers every model that is not named.
        named: Names and patterns (`*`, `?`, `[…]`) of models, in order → who answers them.
    """

    default: Backend
    named: Mapping[str, Backend] = Factory(dict)

    def backend_for(self, model: str, wishes: Mapping[str, str]) -> Backend:
        """Who answers a model: the one named so, else the first whose pattern fits; and of it
        what the session wishes for."""
        return (fitting(model, self.named) or self.default).chosen(wishes)

    @property
    def healthy(self) -> bool:
        """Whether every backend can take a session now, as far as it knows."""
        return all(backend.healthy for backend in self._backends())

    @property
    def ready(self) -> bool:
        """Whether one of them can: what others lack is no reason to send nobody here."""
        return any(backend.healthy for backend in self._backends())

    def status(self) -> dict[str, Any]:
        """How the backends are, as JSON for `GET /health`: lists of theirs are joined."""
        merged: dict[str, Any] = {}
        for backend in self._backends():
            for name, value in backend.status().items():
                if isinstance(value, list):
                    value = [*merged.get(name, ()), *value]
                merged[name] = value
        return merged

    def _backends(self) -> list[Backend]:
        distinct = {id(backend): backend for backend in (self.default, *self.named.values())}
        return list(distinct.values())


@asynccontextmanager
async def open_models(settings: Settings) -> AsyncGenerator[Models, None]:
    """Start all dataflows of the settings, on one runtime; leaving the context stops them.

    Raises:
        DataflowError: A dataflow is wrong, or did not come up; names the node.
        RuntimeFailed: The runtime did not come up.
    """
    # Not imported at the top: a server with a backend of its own needs no Dora.
    from trio_bridge.dora.backend import open_dora_backends

    default = settings.dora.dataflow
    wanted = [settings.of_dataflow(name) for name in (default, *settings.models.values())]
    async with open_dora_backends(wanted, session_values=settings.session_values) as backends:
        named = {model: backends[name] for model, name in settings.models.items()}
        yield Models(backends[default], named)
