"""What can be set about Dora."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt


@frozen
class DoraSettings:
    """Which dataflow answers, and how many of it.

    Attributes:
        dataflow: The name of a dataflow that ships (`voice`, `echo`), or a path to a YAML file.
        sessions: Sessions that one instance of the dataflow serves at most.
        instances: How many instances run.
        startup_timeout: Seconds an instance may take from its start until a ping has come
            back through all of its nodes.
    """

    dataflow: str = "voice"
    sessions: int = field(default=200, validator=ge(1))
    instances: int = field(default=1, validator=ge(1))
    startup_timeout: float = field(default=30.0, validator=gt(0))
