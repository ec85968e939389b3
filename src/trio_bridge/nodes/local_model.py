"""Models that are not in the package: found on this machine, never fetched.

A node that downloads what it lacks keeps its callers waiting for minutes, differs from start
to start and fails far from the cause. So whatever is missing is said at once, with the command
that gets it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from attrs import frozen

from trio_bridge.nodes.variables import Variable

MODELS_FOLDER: Final = "~/models"
"""Where the messages propose to put models."""


THREADS_MOST: Final = 4
"""Threads that one model computes with, where there are as many processors: more gain little,
and several people may be talking."""


class ModelMissing(Exception):
    """A package or model is not there; the message says how to get it."""


@frozen
class LocalModel:
    """What an engine must find before it is loaded.

    Attributes:
        setting: The setting that names the engine, and its value: `ASR_ENGINE=faster-whisper`.
        package: The module to import.
        extra: The extra of this project that installs it.
        variable: The environment variable that holds the model's folder.
        files: What must be in it, as glob patterns; `tokens.json or *.model` wants one of two.
        example: A model that will do.
        download: The command that gets a model, with `{model}` for its name and `{folder}` for
            where it is put.
        names: What people write who know models by names, as a regular expression.
        named: What such a name stands for, with `{name}`.
    """

    setting: str
    package: str
    extra: str
    variable: Variable
    files: tuple[str, ...]
    example: str
    download: str
    names: str = "(?!)"
    named: str = "{name}"

    def find(self, environment: Mapping[str, str]) -> Path:
        """The folder that the environment names, with all that must be in it.

        Raises:
            ModelMissing: The package is not installed, or the model is not there.
        """
        given = environment.get(self.variable, "")
        folder = Path(given).expanduser()
        missing = []
        if find_spec(self.package) is None:
            missing.append(
                f"{self.setting} needs a package that is not installed. Install it with: "
                f"pip install 'trio_bridge[{self.extra}]'"
            )
        if (why := self._why_not(given, folder)) is not None:
            missing.append(self._advice(why, given))
        if missing:
            raise ModelMissing(". And ".join(missing))
        return folder

    def _why_not(self, given: str, folder: Path) -> str | None:
        if not given:
            return f"{self.variable} is not set"
        if not folder.is_absolute():
            # A node's working directory is not the one that the bridge was started in, and a
            # name would have to be looked up elsewhere.
            return f"{self.variable}={given} is not the absolute path of a folder"
        if not folder.is_dir():
            return f"there is no folder {folder}"
        missing = [
            names
            for names in self.files
            if not any(any(folder.glob(name)) for name in names.split(" or "))
        ]
        return f"{folder} has no {' and no '.join(missing)}" if missing else None

    def _advice(self, why: str, given: str) -> str:
        meant = re.fullmatch(self.names, given) is not None
        model = self.named.format(name=given) if meant else self.example
        which = "It can be downloaded" if meant else f"Download one, for example {model},"
        folder = f"{MODELS_FOLDER}/{model.rpartition('/')[2]}"
        command = self.download.format(model=model, folder=folder)
        return (
            f"{self.setting} has no model: {why}. {which} with: {command} "
            f"and set {self.variable}={folder}"
        )


def weight(folder: Path) -> int:
    """The bytes of a model's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def model_threads(given: str | None) -> int:
    """Threads for one model on this machine: those that a setting gives, if it gives any."""
    if given and given.isdecimal() and int(given):
        return int(given)
    return min(THREADS_MOST, len(os.sched_getaffinity(0)))
