"""The Realtime protocol as a machine without I/O: events in, steps out."""

from trio_bridge.realtime.config import SessionConfig
from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.step import Step

__all__ = ["Ids", "ProtocolError", "RealtimeEngine", "SessionConfig", "Step"]
