"""Make every failure happen to a real server, and print what came of it.

    python -m tests.faults [--markdown]

The exit status is 1 when a row is not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.faults.failures import Row, run_all

HEADER = (
    "failure",
    "the client saw",
    "and was told",
    "after",
    "served again after",
    "memory",
    "the other dataflow's session noticed",
    "left behind",
)


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.failure,
        row.saw,
        row.reason,
        f"{row.told:.2f} s",
        f"{row.again:.2f} s",
        f"{row.memory:+.0f} MB",
        row.other,
        row.left,
    )


def show(row: Row, *, markdown: bool) -> None:
    if markdown:
        print("| " + " | ".join(cells(row)) + " |", flush=True)  # noqa: T201
        return
    first, *rest = cells(row)
    print(first)  # noqa: T201
    for name, cell in zip(HEADER[1:], rest, strict=True):
        print(f"    {name}: {cell}")  # noqa: T201
    for words in row.wrong:
        print(f"    WRONG: {words}")  # noqa: T201
    sys.stdout.flush()


async def run(*, markdown: bool) -> int:
    wrong = 0
    if markdown:
        print("| " + " | ".join(HEADER) + " |")  # noqa: T201
        print("|" + "---|" * len(HEADER))  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        async for row in run_all(Path(folder)):
            show(row, markdown=markdown)
            wrong += bool(row.wrong)
            if markdown:
                for words in row.wrong:
                    print(f"{row.failure}: {words}", file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--markdown", action="store_true", help="print a table")
    options = parser.parse_args()

    async def start() -> int:
        return await run(markdown=options.markdown)

    return trio.run(start)


if __name__ == "__main__":
    sys.exit(main())
