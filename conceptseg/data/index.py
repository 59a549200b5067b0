"""Where ids stand among very many: a few bytes for each, and none of the ids themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np


class Index:
    """Finds the place of an id by its hash, among those of all `ids` in order."""

    def __init__(self, ids: Sequence[str]) -> None:
        hashes = hashes_of(ids)
        order = np.argsort(hashes, kind="stable")
        self._ids, self._hashes = ids, hashes[order]
        self._order = order.astype(np.uint32) if len(ids) < 2**32 else order

    def place(self, one: str) -> int | None:
        """The place of an id; None where it is not there."""
        place = int(self.places([one])[0])
        return None if place < 0 else place

    def places(self, ids: Iterable[str]) -> np.ndarray:
        """The places of ids, int64 [n]; -1 of those that are not there."""
        names = list(ids)
        wanted = hashes_of(names)
        first = np.searchsorted(self._hashes, wanted).tolist()
        return np.array(list(map(self._found, names, wanted.tolist(), first)), np.int64)

    def _found(self, one: str, wanted: int, at: int) -> int:
        while at < len(self._hashes) and self._hashes[at] == wanted:
            place = int(self._order[at])
            if self._ids[place] == one:
                return place
            at += 1  # another id of the same hash
        return -1


def hashes_of(ids: Collection[str]) -> np.ndarray:
    """int64: Python's own hash, which differs from process to process, so that no file can be
    made to have many equal ones."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))
