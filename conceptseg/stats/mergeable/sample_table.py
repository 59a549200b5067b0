"""Tables kept per sample, optionally of a bounded number of samples per class."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import technique

Tables = Mapping[str, np.ndarray]


@technique(family="statistic", source="bottom-k sketches: Cohen & Kaplan 2007")
@dataclass(frozen=True)
class SampleTable:
    """Named arrays of each sample; of each class, at most `capacity` samples are kept.

    Which samples are kept depends on their priority (a hash of seed and sample id) alone: a sample
    stays if it is among the `capacity` smallest priorities of any class that it holds. Order,
    batches and shards can therefore not change the sample, and memory does not grow with the data
    set. Without a capacity everything is kept.
    """

    capacity: int | None
    priority: Mapping[str, int]
    classes: Mapping[str, frozenset[int]]
    tables: Mapping[str, Tables]

    @classmethod
    def empty(cls, capacity: int | None = None) -> SampleTable:
        return cls(capacity, {}, {}, {})

    @classmethod
    def of(
        cls,
        sample_id: str,
        tables: Tables,
        *,
        priority: int = 0,
        classes: Iterable[int] = (),
        capacity: int | None = None,
    ) -> SampleTable:
        """The statistic of one sample: empty if there is a capacity and it holds no class."""
        held = frozenset(classes)
        if capacity is not None and not held:
            return cls.empty(capacity)
        return cls(capacity, {sample_id: priority}, {sample_id: held}, {sample_id: tables})

    @classmethod
    def batch(
        cls,
        ids: Sequence[str],
        arrays: Tables,
        *,
        priority: Sequence[int] = (),
        classes: Sequence[Iterable[int]] = (),
        capacity: int | None = None,
    ) -> SampleTable:
        """The statistic of n samples: of each array [n, ...], a sample keeps its row [1, ...]."""
        tables = {
            key: {name: rows[i : i + 1].copy() for name, rows in arrays.items()}
            for i, key in enumerate(ids)
        }
        ranks = dict(zip(ids, priority or [0] * len(ids), strict=True))
        held = dict(zip(ids, map(frozenset, classes or [()] * len(ids)), strict=True))
        return cls.empty(capacity).merge(cls(capacity, ranks, held, tables))

    @classmethod
    def each(cls, tables: Mapping[str, Tables]) -> SampleTable:
        """The statistic of several samples, by their ids, of which all are kept."""
        held = dict.fromkeys(tables, frozenset[int]())
        return cls(None, dict.fromkeys(tables, 0), held, dict(tables))

    def merge(self, other: SampleTable) -> SampleTable:
        priority = {**self.priority, **other.priority}
        classes = {**self.classes, **other.classes}
        tables = {**self.tables, **other.tables}
        kept = self._kept(priority, classes)
        return SampleTable(
            self.capacity,
            {key: priority[key] for key in kept},
            {key: classes[key] for key in kept},
            {key: tables[key] for key in kept},
        )

    def _kept(
        self, priority: Mapping[str, int], classes: Mapping[str, frozenset[int]]
    ) -> list[str]:
        ranked = sorted(priority, key=lambda key: (priority[key], key))
        if self.capacity is None:
            return sorted(ranked)
        taken: dict[int, int] = {}
        kept = []
        for key in ranked:
            wanted = [c for c in classes[key] if taken.get(c, 0) < self.capacity]
            for c in wanted:
                taken[c] = taken.get(c, 0) + 1
            if wanted:
                kept.append(key)
        return sorted(kept)

    @property
    def ids(self) -> list[str]:
        return sorted(self.tables)

    def column(self, name: str) -> np.ndarray:
        """The arrays called `name` of all samples, in the order of their ids, end to end."""
        return np.concatenate([self.tables[key][name] for key in self.ids])

    def owner(self, name: str) -> np.ndarray:
        """For each row of `column(name)`, the index of its sample in `ids`."""
        counts = [len(self.tables[key][name]) for key in self.ids]
        return np.repeat(np.arange(len(counts)), counts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        ids = self.ids
        head = {
            "capacity": self.capacity,
            "ids": ids,
            "priority": [str(self.priority[key]) for key in ids],
            "classes": [sorted(self.classes[key]) for key in ids],
        }
        arrays = {"head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8).copy()}
        for name in self.tables[ids[0]] if ids else ():
            parts = [np.asarray(self.tables[key][name]) for key in ids]
            # Flat, for images of different sizes share no axis along which to join them.
            arrays[f"shape/{name}"] = np.array([part.shape for part in parts], dtype=np.int64)
            arrays[f"data/{name}"] = np.concatenate([part.ravel() for part in parts])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SampleTable:
        head = json.loads(bytes(np.asarray(arrays["head"], dtype=np.uint8)))
        ids = head["ids"]
        names = [key.removeprefix("data/") for key in arrays if key.startswith("data/")]
        tables: dict[str, dict[str, np.ndarray]] = {key: {} for key in ids}
        for name in names:
            shapes = arrays[f"shape/{name}"]
            parts = np.split(arrays[f"data/{name}"], np.cumsum(shapes.prod(1))[:-1])
            for key, part, shape in zip(ids, parts, shapes, strict=True):
                tables[key][name] = part.reshape(shape)
        return cls(
            head["capacity"],
            {key: int(value) for key, value in zip(ids, head["priority"], strict=True)},
            {key: frozenset(value) for key, value in zip(ids, head["classes"], strict=True)},
            tables,
        )
