"""A node of the native contract that misbehaves when it is told to."""

from __future__ import annotations

from pathlib import Path

DATAFLOW = Path(__file__).with_name("bad.yml")
"""A dataflow of it alone."""
