"""Bins of each unit's values, dense in its tails, and how values are put into them fast.

A unit's range is cut into `CELLS` cells of equal width, and every edge of a bin lies between two
cells. So a value needs one multiplication and one look-up in a small table, not a search among the
edges: counting is then as fast as memory allows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 8192
FINEST = 2e-4
"""The smallest share of pixels above the highest edge but the last."""
ROOM = 0.25
"""How far cells reach beyond the sampled values, as a share of their range."""
CPU_ELEMENTS = 1 << 19
"""Values that are enlarged at once before they are counted."""
DEVICE_ELEMENTS = 1 << 26
MOST_COMBINATIONS = 160


@dataclass(frozen=True)
class Bins:
    """`low` [u], `scale` [u] (cells per unit of value) and `cell` [u, b - 1]: where bins begin.

    A value v lies in the cell floor((v - low) scale), and in the bin whose number is that of the
    edges `cell` at or below it. "Above edge k" is lying in a bin beyond k.
    """

    low: np.ndarray
    scale: np.ndarray
    cell: np.ndarray

    @property
    def count(self) -> int:
        return int(self.cell.shape[1]) + 1

    @property
    def edges(self) -> np.ndarray:
        """The values at which bins begin, float64 [u, b - 1]."""
        return self.low[:, None].astype(np.float64) + self.cell / self.scale[:, None].astype(
            np.float64
        )

    @classmethod
    def of(cls, values: np.ndarray, count: int) -> "Bins":
        """Bins whose edges are quantiles of a sample of each unit's values [u, m].

        Half of the edges lie in each tail, at shares that grow by a constant factor from
        `FINEST` to one half, so that the extremes of a tail are as well resolved as its bulk.
        """
        tail = np.geomspace(FINEST, 0.5, count // 2)
        levels = np.unique(np.concatenate([tail, 1 - tail]))
        levels = np.interp(np.linspace(0, 1, count - 1), np.linspace(0, 1, len(levels)), levels)
        low, high = values.min(1), values.max(1)
        # Room for values that the sample missed; a rectifier's zeros stay at the lower end.
        reach = ROOM * (high - low)
        low = np.where(low < 0, low - reach, low)
        width = np.maximum(high + reach - low, 1e-30)
        scale = ((CELLS - 1) / width).astype(np.float32)
        edges = np.quantile(values, levels, axis=1).T
        cell = np.ceil((edges - low[:, None]) * scale[:, None].astype(np.float64))
        return cls(low.astype(np.float32), scale, np.clip(cell, 1, CELLS - 1).astype(np.int32))

    def table(self) -> np.ndarray:
        """The bin of each cell, int32 [u, CELLS]."""
        marks = np.zeros((len(self.cell), CELLS + 1), dtype=np.int32)
        rows = np.repeat(np.arange(len(self.cell)), self.cell.shape[1])
        np.add.at(marks, (rows, self.cell.ravel()), 1)
        return np.cumsum(marks[:, :CELLS], axis=1, dtype=np.int32)


class Counter:
    """Counts values by bin and slot; keeps the look-up tables between batches."""

    def __init__(self, bins: Bins, device: str) -> None:
        self.bins = bins
        table = torch.from_numpy(bins.table())
        self._low = torch.from_numpy(bins.low).to(device)
        self._scale = torch.from_numpy(bins.scale).to(device)
        # The smallest type, for the table of a unit to stay in the processor's nearest cache.
        small = torch.uint8 if bins.count <= 256 else torch.int32
        self._table = table.to(device, torch.int64 if "cuda" in device else small)

    def counts(
        self, maps: Tensor, grid: tuple[int, int], slots: Tensor, sizes: list[int]
    ) -> Tensor:
        """Pixels of each unit by bin and slot, int64 [u, b, s], of maps [n, u, y, x].

        Maps are resized to the grid (bilinear, corners not aligned) by blocks of units, so that
        memory is bounded however many there are. `slots` int64 [g, n, *grid] holds each category's
        slot, counted from 0 in each; `sizes` how many slots each category has.
        """
        n, u = maps.shape[:2]
        m = n * grid[0] * grid[1]
        # Sums of whole numbers: exact in float32 below 2^24.
        exact = torch.float32 if m < 2**24 and not maps.is_cuda else torch.float64
        parts = [
            (combination.view(n, -1), columns, meaning.to(maps.device, exact))
            for combination, columns, meaning in combined(slots.flatten(1), sizes)
        ]
        result = torch.zeros((u, self.bins.count, sum(sizes)), dtype=torch.int64)
        result = result.to(maps.device)
        block = max(1, (DEVICE_ELEMENTS if maps.is_cuda else CPU_ELEMENTS) // m)
        for first in range(0, u, block):
            values = resized(maps[:, first : first + block], grid).flatten(2)
            rows = slice(first, first + values.shape[1])
            for combination, columns, meaning in parts:
                pairs = self._on_device if maps.is_cuda else self._on_processor
                joint = pairs(values, rows, combination, len(meaning)).to(exact)
                result[rows, :, columns] = (joint @ meaning).long()
        return result

    def _on_device(self, values: Tensor, rows: slice, combination: Tensor, k: int) -> Tensor:
        """Counts [u', b, k] of bins of values [n, u', m] with combinations [n, m] in 0..k-1."""
        low, scale = self._low[rows, None], self._scale[rows, None]
        values = values.transpose(0, 1).flatten(1)
        cell = (values - low).mul_(scale).clamp_(0, CELLS - 1).long()
        keys = torch.add(combination.flatten(), torch.gather(self._table[rows], 1, cell), alpha=k)
        u, size = len(keys), self.bins.count * k
        keys += torch.arange(u, device=keys.device)[:, None] * size
        return torch.bincount(keys.flatten(), minlength=u * size).reshape(u, -1, k)

    def _on_processor(self, values: Tensor, rows: slice, combination: Tensor, k: int) -> Tensor:
        """The same in one compiled loop, which leaves nothing between value and count to memory."""
        joint = torch.zeros((values.shape[1], self.bins.count * k), dtype=torch.int32)
        tables = (self._low[rows], self._scale[rows], self._table[rows])
        given = (values.contiguous(), *tables, combination.to(torch.int32))
        _loop()(*(one.numpy() for one in given), k, joint.numpy())
        return joint.view(len(joint), -1, k)


@cache
def _loop() -> Callable[..., None]:
    """Adds to `joint` [u, b k] of `values` [n, u, m] what :meth:`Counter._on_device` counts."""
    import numba

    @numba.njit(nogil=True)
    def add(values, low, scale, table, combination, k, joint):  # type: ignore[no-untyped-def]
        n, u, m = values.shape
        last = np.float32(table.shape[1] - 1)
        for r in range(u):
            for j in range(n):
                for i in range(m):
                    cell = (values[j, r, i] - low[r]) * scale[r]
                    # Written so that what is no number counts in the first cell.
                    at = (np.int32(cell) if cell < last else np.int32(last)) if cell > 0 else 0
                    joint[r, np.int32(table[r, at]) * k + combination[j, i]] += 1

    return add


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps [n, u, y, x] on another grid: bilinear, corners not aligned, float32."""
    maps = maps.float()
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def combined(slots: Tensor, sizes: list[int]) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """Categories joined while few of their combinations occur: one count then serves several.

    Yields, for each group of neighbouring categories, the combination of each pixel, int64 [m], the
    group's slots among all, and what combinations mean: 0 or 1, float64 [k, slots of the group].
    """
    ends = np.cumsum([0, *sizes])
    groups: list[tuple[Tensor, list[int]]] = []
    for g, own in enumerate(slots):
        if groups:
            code, members = groups[-1]
            joint = (code * sizes[g] + own).unique(return_inverse=True)[1]
            if int(joint.max()) < MOST_COMBINATIONS:
                groups[-1] = (joint, [*members, g])
                continue
        groups.append((own.unique(return_inverse=True)[1], [g]))
    for code, members in groups:
        k = int(code.max()) + 1
        columns = slice(int(ends[members[0]]), int(ends[members[-1] + 1]))
        meaning = torch.zeros((k, columns.stop - columns.start), dtype=torch.float64)
        first = torch.zeros(k, dtype=torch.int64, device=code.device)
        first[code] = torch.arange(len(code), device=code.device)
        for g in members:
            meaning[torch.arange(k), int(ends[g]) - columns.start + slots[g][first].cpu()] = 1.0
        yield code, columns, meaning
