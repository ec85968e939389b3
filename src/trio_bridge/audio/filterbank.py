"""Interpolation filters as matrices: what `StreamResampler` multiplies its input with.

The output sample k of a resampler stands at the time k M / L of the input (in input samples;
L / M is the ratio of the rates, reduced), and is a sum over its neighbours there:

    y[k] = s Σ_d x[d] h(s |d - k M / L|),    s = min(1, L / M)

(J. O. Smith, *Digital Audio Resampling*; s lowers the cut-off when the rate goes down.) h is
a windowed sinc, read from the tables that resampy ships and interpolated between their
entries. As k M mod L takes L values only, there are L sets of weights. They are kept as
*tiles*: a tile makes a few consecutive outputs from one window of the input, which is a
matrix times a vector, and a *block* of tiles comes back to the phase it began with.

Weights and sums are float32: what that rounds away lies 137 dB below the signal, far under the
98 dB of PCM16, and takes half the time and the cache of float64.
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

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Quality: TypeAlias = Literal["best", "fast"]

TABLES: dict[Quality, str] = {"best": "kaiser_best", "fast": "kaiser_fast"}

RUN_OUTPUTS = 1_024
"""Outputs that are multiplied in one go, and a block: 20 ms of any usual rate."""

RUN_INPUTS = 1 << 14
"""Inputs that may be copied for it (64 kB). Only very long filters need as many."""

TILE_COEFFICIENTS = 8_192
"""Size of one tile, if that leaves it a row: the 32 kB next to the processor, where a tile
stays while it is used again and again. Larger tiles make fewer products, but each of their
windows reaches further past the inputs that any one row needs. (From 9,216 on, OpenBLAS would
share a product among threads, and waking one costs more than the product.)"""

BANK_COEFFICIENTS = 1 << 18
"""Coefficients (1 MiB) up to which a bank is kept. All usual pairs of rates need less; a pair
like 44,101 → 24,000 Hz would need 20 MB, and its tiles are computed each time they are
used."""

BANKS_KEPT = 16
"""Banks kept for the next resampler of the same ratio: 16 MiB at most."""

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""

ALIGNED = ALIGNMENT // np.dtype(np.float32).itemsize
"""The same in samples."""


def aligned_zeros(*shape: int) -> Float32:
    """Zeros that begin on a cache line, so that sums run in the same order everywhere."""
    size = int(np.prod(shape))
    raw = np.zeros(size + ALIGNED, dtype=np.float32)
    skip = -raw.ctypes.data % ALIGNMENT // raw.itemsize
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
    """The tiles of one ratio L / M and one window, by blocks.

    Block b makes the outputs ``b * block_out`` to ``(b + 1) * block_out``. Its tile t makes
    `rows` of them from the `span` inputs that begin at ``begin(b) + t * step``.
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
    tiles: int
    """Tiles of a block."""
    step: int
    """Inputs from one tile's first to the next one's."""
    lead: int
    """The first input of the stream's first block: negative, in the silence before it."""
    run: int
    """Blocks multiplied in one go, at most."""
    _kept: Float32 | None = field(eq=False, default=None)

    block_out: int = field(init=False)
    """Outputs of a block."""
    block_in: int = field(init=False)
    """Inputs from one block to the next, where `run` is more than one; never 0."""
    reach: int = field(init=False)
    """Inputs of a block."""
    aligned: bool = field(init=False)
    """Whether all windows begin on a cache line if one does: no need to copy them there."""

    @block_out.default
    def _block_out(self) -> int:
        return self.tiles * self.rows

    @block_in.default
    def _block_in(self) -> int:
        return max(1, self.block_out * self.ratio_in // self.ratio_out)

    @reach.default
    def _reach(self) -> int:
        return (self.tiles - 1) * self.step + self.span

    @aligned.default
    def _aligned(self) -> bool:
        periodic = self.block_out % self.ratio_out == 0
        return self.tiles == 1 and periodic and self.block_in % ALIGNED == 0

    def begin(self, block: int) -> int:
        """The number, in the stream, of the first input of a block."""
        return block * self.block_out * self.ratio_in // self.ratio_out + self.lead

    def weights(self, block: int) -> Float32:
        """The weights of a block: shape ``(tiles, rows, span)``, not to be written to."""
        return self._kept if self._kept is not None else self._compute(block)

    def keep(self) -> FilterBank:
        """The same bank with its weights computed, the same for every block."""
        kept = self._compute(0)
        kept.setflags(write=False)
        return evolve(self, kept=kept)

    def _compute(self, block: int) -> Float32:
        scale = min(1.0, self.ratio_out / self.ratio_in)
        tiles = aligned_zeros(self.tiles, self.rows, self.span)
        # One by one: what a tile needs in between stays in the processor's cache.
        for number, tile in enumerate(tiles):
            first = block * self.block_out + number * self.rows
            outputs = (first + np.arange(self.rows)) * self.ratio_in
            begin = self.begin(block) + number * self.step
            inputs = (begin + np.arange(self.span)) * self.ratio_out
            # |d - k M / L| zero crossings of a sinc that s has stretched: all over max(L, M).
            distance = np.abs(inputs - outputs[:, None])
            weights = self.window.at(distance, max(self.ratio_out, self.ratio_in))
            tile[:] = weights * scale
        return tiles


def filter_bank(rate_in: int, rate_out: int, quality: Quality) -> FilterBank:
    """The bank that takes audio from one rate to another; banks of a ratio are shared."""
    common = gcd(rate_in, rate_out)
    return _bank(rate_out // common, rate_in // common, quality)


@lru_cache(maxsize=BANKS_KEPT)
def _bank(ratio_out: int, ratio_in: int, quality: Quality) -> FilterBank:
    shape = window(quality)
    half = -(-shape.zeros * max(ratio_out, ratio_in) // ratio_out)

    def span(rows: int, slack: int = 0) -> int:
        needed = (rows - 1) * ratio_in // ratio_out + 1 + 2 * half + slack
        return -(-needed // ALIGNED) * ALIGNED

    most = 1
    while (most + 1) * span(most + 1) <= TILE_COEFFICIENTS:
        most += 1
    # Few phases: a tile is a block, of several rounds of the phases, and of whole cache lines
    # of inputs if it has the room. Many: tiles divide one round.
    rounds, lines = most // ratio_out, ALIGNED // gcd(ratio_in, ALIGNED)
    rounds -= rounds % lines if rounds > lines else 0
    rows = ratio_out * rounds or next(n for n in range(most, 0, -1) if ratio_out % n == 0)
    tiles = max(1, ratio_out // rows)

    # Windows begin a little before their first output needs it where that makes them evenly
    # spaced: one view then shows those of many blocks.
    step = round(rows * ratio_in / ratio_out)
    late = [tile * rows * ratio_in // ratio_out - tile * step for tile in range(tiles)]
    bank = FilterBank(
        window=shape,
        ratio_out=ratio_out,
        ratio_in=ratio_in,
        half=half,
        rows=rows,
        span=span(rows, slack=max(late) - min(late)),
        tiles=tiles,
        step=step,
        lead=1 - half + min(late),
        run=1,
    )
    if bank.tiles * bank.rows * bank.span > BANK_COEFFICIENTS:
        # Each block is a tile of its own.
        return evolve(bank, span=span(rows), tiles=1, lead=1 - half)
    run = RUN_OUTPUTS // bank.block_out + 1
    if not bank.aligned:
        run = max(1, min(run, RUN_INPUTS // (bank.tiles * bank.span)))
    return evolve(bank, run=run).keep()
