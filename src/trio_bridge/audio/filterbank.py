"""Interpolation filters as matrices: what `StreamResampler` multiplies its input with.

The output sample k of a resampler stands at the time k M / L of the input (in input samples;
L / M is the ratio of the rates, reduced), and is a sum over its neighbours there:

    y[k] = s Σ_d x[d] h(s |d - k M / L|),    s = min(1, L / M)

(J. O. Smith, *Digital Audio Resampling*; s lowers the cut-off when the rate goes down.) h is
a windowed sinc, read from the tables that resampy ships and interpolated between their
entries. As k M mod L takes L values only, there are L sets of weights. They are kept as
*tiles*: a tile makes a few consecutive outputs from one window of the input, which is a
matrix times a vector, and a *cycle* of tiles comes back to the phase it began with.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Quality: TypeAlias = Literal["best", "fast"]

TABLES: dict[Quality, str] = {"best": "kaiser_best", "fast": "kaiser_fast"}

RUN_INPUTS = 5_120
"""Inputs of the tiles that are multiplied in one go (40 kB, for every resampler): enough for
20 ms of any usual pair of rates."""

TILE_ROWS = 49
"""Outputs per tile, at most. More of them make fewer products, but each window then reaches
further past the inputs that any one row needs."""

TILE_COEFFICIENTS = 9_000
"""Size of one tile, at most: OpenBLAS shares a matrix-vector product among threads from 9,216
on, and waking a thread costs more than the product."""

BANK_COEFFICIENTS = 1 << 18
"""Coefficients (2 MiB) up to which a whole cycle is kept. All usual pairs of rates need less
than half of that; a pair like 44,101 → 24,000 Hz would need 40 MB, and its tiles are computed
each time they are used."""

BANKS_KEPT = 16
"""Banks kept for the next resampler of the same ratio: 32 MiB at most."""

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


def aligned_zeros(*shape: int) -> Float64:
    """Zeros that begin on a cache line, so that sums run in the same order everywhere."""
    item = np.dtype(np.float64).itemsize
    size = int(np.prod(shape))
    raw = np.zeros(size + ALIGNMENT // item)
    skip = -raw.ctypes.data % ALIGNMENT // item
    return raw[skip : skip + size].reshape(shape)


@frozen
class Window:
    """The right half of a windowed sinc: `precision` entries per zero crossing."""

    table: Float64 = field(eq=False)
    precision: int

    @property
    def zeros(self) -> int:
        """Zero crossings on each side, the last of them the filter's end."""
        return (len(self.table) - 1) // self.precision

    def at(self, numerator: NDArray[np.int64], denominator: int) -> Float64:
        """Its value `numerator / denominator` zero crossings from the middle, zero from its
        end on. The fraction is kept as one: its place in the table is exact."""
        inside = numerator < self.zeros * denominator
        scaled = np.where(inside, numerator, 0) * self.precision
        index, rest = np.divmod(scaled, denominator)
        left, right = self.table[index], self.table[index + 1]
        return np.where(inside, left + (right - left) * (rest / denominator), 0.0)


@lru_cache(maxsize=len(TABLES))
def window(quality: Quality) -> Window:
    """The filter of a quality, from the data files of the resampy distribution.

    resampy itself is not imported: numba would come with it, a second and 110 MB.

    Raises:
        ModuleNotFoundError: resampy is not installed.
    """
    spec = importlib.util.find_spec("resampy")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("resampy, whose filter tables are used, is not installed")
    [location] = spec.submodule_search_locations
    with np.load(Path(location) / "data" / f"{TABLES[quality]}.npz") as data:
        table = np.asarray(data["half_window"], dtype=np.float64)
        precision = int(data["precision"])
    table.setflags(write=False)
    return Window(table, precision)


@frozen
class FilterBank:
    """The tiles of one ratio L / M and one window.

    Tile t of a cycle makes its outputs ``t * rows`` to ``(t + 1) * rows`` from the `span`
    inputs that begin at ``begins[t]``, counted from the cycle's first output and from the
    input that stands at the same time.
    """

    window: Window
    ratio_out: int
    """L: outputs per `ratio_in` inputs."""
    ratio_in: int
    """M"""
    half: int
    """Inputs that an output needs on each side of its time."""
    rows: int
    """Outputs of a tile."""
    span: int
    """Inputs of a tile, a multiple of eight so that every row begins on a cache line."""
    cycle_out: int
    """Outputs of a cycle."""
    cycle_in: int
    """Inputs of a cycle."""
    cycle_tiles: int
    """Tiles of a cycle."""
    run: int
    """Tiles multiplied in one go."""
    begins: NDArray[np.int64] = field(eq=False)
    """The first inputs of a cycle's tiles and of the next `run` tiles."""
    _kept: Float64 | None = field(eq=False, default=None)

    def tiles(self, first: int, count: int) -> Float64:
        """The weights of some consecutive tiles of a cycle.

        Returns:
            Shape ``(count, rows, span)``, not to be written to; ``(1, rows, span)`` where a
            cycle is one tile.
        """
        if self._kept is not None:
            return self._kept[first : first + count]
        return self._compute(first, count)

    def keep(self) -> FilterBank:
        """The same bank with all its tiles computed, unless they are too many."""
        if self.cycle_tiles * self.rows * self.span > BANK_COEFFICIENTS:
            return self
        kept = self._compute(0, self.cycle_tiles)
        kept.setflags(write=False)
        return evolve(self, kept=kept)

    def _compute(self, first: int, count: int) -> Float64:
        scale = min(1.0, self.ratio_out / self.ratio_in)
        tiles = aligned_zeros(count, self.rows, self.span)
        # One by one: what a tile needs in between stays in the processor's cache.
        for number, tile in enumerate(tiles, first):
            outputs = np.arange(number * self.rows, (number + 1) * self.rows) * self.ratio_in
            inputs = (self.begins[number] + np.arange(self.span)) * self.ratio_out
            # |d - k M / L| zero crossings of a sinc that s has stretched: all over max(L, M).
            distance = np.abs(inputs - outputs[:, None])
            weights = self.window.at(distance, max(self.ratio_out, self.ratio_in))
            np.multiply(weights, scale, out=tile)
        return tiles


def filter_bank(rate_in: int, rate_out: int, quality: Quality) -> FilterBank:
    """The bank that takes audio from one rate to another; banks of a ratio are shared."""
    common = gcd(rate_in, rate_out)
    return _bank(rate_out // common, rate_in // common, quality)


@lru_cache(maxsize=BANKS_KEPT)
def _bank(ratio_out: int, ratio_in: int, quality: Quality) -> FilterBank:
    shape = window(quality)
    half = -(-shape.zeros * max(ratio_out, ratio_in) // ratio_out)

    def span(rows: int) -> int:
        needed = (rows - 1) * ratio_in // ratio_out + 1 + 2 * half
        return -(-needed // 8) * 8

    # Few phases: a tile is a cycle, of several rounds of the phases. Many: tiles divide one
    # round, so that the outputs of consecutive tiles are consecutive.
    most = next(n for n in range(TILE_ROWS, 0, -1) if n * span(n) <= TILE_COEFFICIENTS)
    periods = max(1, most // ratio_out)
    cycle_out = periods * ratio_out
    rows = next(n for n in range(most, 0, -1) if cycle_out % n == 0)
    count = cycle_out // rows
    run = max(1, RUN_INPUTS // span(rows))
    first = np.arange(count + run, dtype=np.int64) * rows
    begins = first * ratio_in // ratio_out - half + 1
    begins.setflags(write=False)
    return FilterBank(
        window=shape,
        ratio_out=ratio_out,
        ratio_in=ratio_in,
        half=half,
        rows=rows,
        span=span(rows),
        cycle_out=cycle_out,
        cycle_in=periods * ratio_in,
        cycle_tiles=count,
        run=run,
        begins=begins,
    ).keep()
