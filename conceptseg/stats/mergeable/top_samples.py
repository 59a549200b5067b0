"""For each of many rows, the samples of largest value, mergeable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import technique


@technique(family="statistic", source="bounded heaps, ties by sample id")
@dataclass(frozen=True)
class TopSamples:
    """Of each of g rows, the k samples of largest value.

    `index` [g, k] into `ids`, and `values` [g, k]: largest first, of equal values the smaller id
    first; -1 and -inf where there are fewer. Each sample may be given once. Memory does not grow
    with the data set.
    """

    size: int
    ids: tuple[str, ...]
    index: np.ndarray
    values: np.ndarray

    @classmethod
    def empty(cls, rows: int, size: int) -> TopSamples:
        shape = (rows, size)
        return cls(size, (), np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32))

    @classmethod
    def of(cls, ids: Sequence[str], values: np.ndarray, size: int) -> TopSamples:
        """Values [g, n] of n samples; nan where a sample does not count in a row."""
        found = np.where(np.isnan(values), -np.inf, values).astype(np.float32)
        index = np.where(np.isnan(values), -1, np.arange(len(ids))[None]).astype(np.int32)
        return _best(size, tuple(ids), index, found)

    def merge(self, other: TopSamples) -> TopSamples:
        shifted = np.where(other.index >= 0, other.index + len(self.ids), -1).astype(np.int32)
        return _best(
            max(self.size, other.size),
            self.ids + other.ids,
            np.concatenate([self.index, shifted], 1),
            np.concatenate([self.values, other.values], 1),
        )

    def row(self, number: int) -> list[tuple[str, float]]:
        """The samples of one row, largest first, each with its value."""
        pairs = zip(self.index[number].tolist(), self.values[number].tolist(), strict=True)
        return [(self.ids[i], value) for i, value in pairs if i >= 0]

    def to_arrays(self) -> dict[str, np.ndarray]:
        head = json.dumps({"size": self.size, "ids": self.ids}).encode()
        return {
            "head": np.frombuffer(head, dtype=np.uint8).copy(),
            "index": self.index,
            "values": self.values,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TopSamples:
        head = json.loads(bytes(np.asarray(arrays["head"], dtype=np.uint8)))
        return cls(head["size"], tuple(head["ids"]), arrays["index"], arrays["values"])


def _best(size: int, ids: tuple[str, ...], index: np.ndarray, values: np.ndarray) -> TopSamples:
    """The k largest of each row, and only the ids that are still held, in sorted order."""
    names = sorted(set(ids))
    place = {name: i for i, name in enumerate(names)}
    # The entry for -1 is the last, where an index of -1 finds it.
    rank = np.array([*(place[name] for name in ids), len(names)], dtype=np.int64)
    order = np.lexsort((rank[index], -values), axis=1)[:, :size]
    index = np.take_along_axis(rank[index], order, 1)
    values = np.take_along_axis(values, order, 1)
    if index.shape[1] < size:
        missing = ((0, 0), (0, size - index.shape[1]))
        index = np.pad(index, missing, constant_values=len(names))
        values = np.pad(values, missing, constant_values=-np.inf)
    held = np.unique(index[index < len(names)])
    again = np.full(len(names) + 1, -1, np.int32)
    again[held] = np.arange(len(held))
    return TopSamples(size, tuple(names[i] for i in held), again[index], values.astype(np.float32))
