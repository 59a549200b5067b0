"""What is asked of all samples at once, whether they are objects or rows of a long table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from conceptseg.data.draw import lowest
from conceptseg.data.sample import Sample, check_id, check_text, repeated


class Listed(ABC):
    """Samples as columns, in their order."""

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Each sample's id."""

    @property
    @abstractmethod
    def groups(self) -> Sequence[str]:
        """Each sample's group."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that samples belong to, in order of appearance."""

    @property
    @abstractmethod
    def metadata(self) -> tuple[str, ...]:
        """Names of the free columns that samples have, in order of appearance."""

    @abstractmethod
    def in_split(self, split: str) -> np.ndarray:
        """Which samples are of a split: bool [n]."""

    @abstractmethod
    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """The places of the samples with these ids, in their order; other ids are passed over."""

    @abstractmethod
    def by_id(self) -> Mapping[str, Sample]:
        """The samples by their ids."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Sequence[Sample]:
        """The samples at some places."""

    @abstractmethod
    def check(self, where: str) -> None:
        """Refuse, by InputError, ids that are not unique or cannot be a file's name, and texts that
        no report could show as they are (:func:`conceptseg.data.sample.check_text`)."""


class Objects(Listed):
    """Samples that are there as objects."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self._samples)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sample.group for sample in self._samples)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.split for s in self._samples if s.split is not None))

    @property
    def metadata(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for sample in self._samples for key in sample.metadata))

    def in_split(self, split: str) -> np.ndarray:
        return np.array([sample.split == split for sample in self._samples], bool)

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        wanted = frozenset(ids)
        places = [i for i, sample in enumerate(self._samples) if sample.id in wanted]
        return np.array(places, np.int64)

    def by_id(self) -> dict[str, Sample]:
        return {sample.id: sample for sample in self._samples}

    def take(self, rows: np.ndarray) -> tuple[Sample, ...]:
        return tuple(map(self._samples.__getitem__, rows.tolist()))

    def check(self, where: str) -> None:
        twice = [name for name, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise repeated(twice[0], len(twice), where)
        for sample in self._samples:
            check_id(sample.id, where)
            place = f"{where}: sample {sample.id!r}"
            check_text(sample.group, "group", place)
            check_text(sample.split or "", "split", place)
            for key, value in sample.metadata.items():
                check_text(key, "the column", place)
                check_text(str(value), key, place)


def listed(samples: Sequence[Sample]) -> Listed:
    """Samples as columns."""
    return samples if isinstance(samples, Listed) else Objects(samples)


def first_of(samples: Sequence[Sample], seed: int, most: int) -> Sequence[Sample]:
    """The first samples by hash (:func:`conceptseg.data.draw.lowest`), at most so many, in their
    order; of a table's other rows none is made a sample."""
    table = listed(samples)
    return table.take(lowest(seed, table.ids, most))
