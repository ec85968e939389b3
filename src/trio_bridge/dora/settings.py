"""What can be set about Dora."""

from __future__ import annotations

import re
from typing import Final

from attrs import Attribute, asdict, evolve, field, fields, frozen
from attrs.validators import ge, gt, le, optional

from trio_bridge.errors import SettingsError


def _address(_instance: object, attribute: Attribute[str], value: str) -> None:
    if value:
        split_address(value, attribute.name)


def split_address(value: str, name: str = "address") -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        ValueError: It is something else.
    """
    host, _, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = value.startswith("[")
    if not host or (":" in host and not bracketed) or not port.isdecimal():
        raise ValueError(f"'{name}' must be HOST:PORT: {value!r}")
    if not 0 < int(port) < 65536:
        raise ValueError(f"'{name}' must have a port from 1 to 65535: {value!r}")
    return host, int(port)


SESSION_VALUES: Final = ("language", "model", "recognition_model", "turn_detection", "voice")
"""What a session can have a say in: the language that is spoken, the model asked for, the model
that transcribes, how turns are detected, and the voice."""

VALUE = re.compile(r"[\w.:+-]{1,64}")
"""What a value may look like. `$`, for one, would be read again by Dora."""


@frozen
class DoraSettings:
    """Which dataflow answers, and how many of it. The numbers hold for each dataflow that has
    none of its own (see `DataflowSettings`), for all that it is started as together.

    Attributes:
        dataflow: The name of a dataflow that ships (`voice`, `echo`, `primespeech`), or a path
            to a YAML file.
        sessions: Sessions that share one instance of the dataflow at most; 1: each has its own.
        warm: Instances with a free place that are kept running, of a template those with the
            first values of the lists. 0: they start on demand.
        max_instances: Instances there may be, whatever values they were started with; never
            fewer than `warm`.
        idle_stop: Seconds that an instance beyond `warm` may be idle before it is stopped.
        wait_timeout: Seconds that a session waits for a place while one may come.
        startup_timeout: Seconds an instance may take from its start until a ping has come
            back through all of its nodes.
        coordinator: HOST:PORT of a Dora that runs already, instead of a private one.
        daemon_port: With `coordinator`: where the daemon of this machine takes dynamic nodes.
    """

    dataflow: str = "voice"
    sessions: int = field(default=200, validator=ge(1))
    warm: int = field(default=1, validator=ge(0))
    max_instances: int = field(default=4, validator=ge(1))
    idle_stop: float = field(default=60.0, validator=ge(0))
    wait_timeout: float = field(default=10.0, validator=ge(0))
    startup_timeout: float = field(default=30.0, validator=gt(0))
    coordinator: str = field(default="", validator=_address)
    daemon_port: int = field(default=53291, validator=[ge(1), le(65535)])

    def check_served(self, variants: int) -> None:
        """See that each variant of the dataflow can be had.

        Args:
            variants: How many there may be.

        Raises:
            SettingsError: One of them never can: what is not kept warm starts for a session
                that waits, and none may.
        """
        if self.wait_timeout > 0 or (self.warm > 0 and variants == 1):
            return
        which = "all (warm = 0)" if self.warm == 0 else "those with other values than the first"
        raise SettingsError(
            f"{self.dataflow}: of its instances {which} start only for a session that waits, "
            "and with wait_timeout = 0 none does: wait_timeout must be more"
        )


@frozen
class DataflowSettings:
    """What holds for one dataflow instead of the numbers of `DoraSettings`, where it is set."""

    sessions: int | None = field(default=None, validator=optional(ge(1)))
    warm: int | None = field(default=None, validator=optional(ge(0)))
    max_instances: int | None = field(default=None, validator=optional(ge(1)))
    idle_stop: float | None = field(default=None, validator=optional(ge(0)))
    wait_timeout: float | None = field(default=None, validator=optional(ge(0)))
    startup_timeout: float | None = field(default=None, validator=optional(gt(0)))

    def over(self, general: DoraSettings) -> DoraSettings:
        """The general settings with these put in."""
        given = asdict(self, filter=lambda _, value: value is not None)
        return evolve(general, **given)


NUMBERS = {
    key.name: getattr(fields(DoraSettings), key.name).default
    for key in fields(DataflowSettings)
}
"""What can be set for one dataflow → its general default."""
