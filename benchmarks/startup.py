"""How long the server takes to listen, and what it weighs when it has nothing to do.

python benchmarks/startup.py [--runs 5] [--dataflow voice] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.server import children_of, is_running, resident_mb, running_server

IDLE_SECONDS = 3


def share_mb(pid: int) -> float:
    """A process's memory in RAM; of what several use, each has its part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("Pss:")[2].split()[0]) / 1024


async def once(dataflow: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        async with running_server(log, "--dataflow", dataflow) as server:
            await trio.sleep(IDLE_SECONDS)
            children = children_of(server.process.pid)
            figures = {
                "seconds_to_listen": server.seconds_to_listen,
                "bridge_mb": resident_mb(server.process.pid),
                "everything_mb": sum(map(share_mb, {server.process.pid, *children})),
            }
            figures["seconds_to_stop"] = await server.stop()
        left = [pid for pid in children if is_running(pid)]
        assert not left, f"processes left behind: {left}"
    return figures


async def measure(runs: int, dataflow: str) -> list[dict[str, float]]:
    return [await once(dataflow) for _ in range(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dataflow", default="voice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = trio.run(measure, options.runs, options.dataflow)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for key in results[0]:
        values = [result[key] for result in results]
        print(
            f"{key}: median {np.median(values):.2f},"
            f" min {min(values):.2f}, max {max(values):.2f}"
        )


if __name__ == "__main__":
    main()
