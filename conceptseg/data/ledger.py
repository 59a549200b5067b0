"""What all of a run has read of a data set, where no sample may have other bytes than before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from conceptseg.data.hashed import changed
from conceptseg.data.index import Index
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.reads import Filed, Reads, file_of


class Ledger:
    """What a run has read of a data set: 32 bytes for each sample and kind, and 12 for its place.

    `beside` finds the files of further kinds, for messages.
    """

    def __init__(
        self,
        manifest: Manifest,
        beside: Mapping[str, Callable[[Sample], Path | None]] | None = None,
    ) -> None:
        self._manifest, self._beside = manifest, beside or {}
        self._index = Index(manifest.ids)
        self._digests: dict[str, np.ndarray] = {}

    def record(self, kind: str, sample: Filed, digest: bytes, file: str) -> None:
        self.take(Reads({kind: {sample.id: digest}}))

    def take(self, reads: Reads) -> None:
        """Add what was read for a part.

        Raises :class:`~conceptseg.errors.InputError` for a sample of which other bytes were read
        before, by this process or another, now or before the run was resumed.
        """
        for kind, told in reads.digests.items():
            places, rows = self._index.places(told), reads.rows(kind)
            if (places < 0).any():
                raise KeyError(f"a sample was read that {self._manifest.where} does not name")
            known = self._of(kind)
            before = known[places]
            other = before.any(1) & (before != rows).any(1)
            if other.any():
                sample = self._manifest.samples[places[other.argmax()]]
                raise changed(self.file(kind, sample))
            known[places] = rows

    def file(self, kind: str, sample: Sample) -> str:
        """What a kind of a sample is read of, for messages: its file or files."""
        own = self._beside.get(kind, lambda one: None)(sample)
        return str(own or file_of(sample, self._manifest.root, kind))

    def holds(self, kinds: Iterable[str], name: str) -> bool:
        """Whether all these kinds of a sample were read before."""
        place = self._index.places([name])[0]
        return place >= 0 and all(self._of(kind)[place].any() for kind in kinds)

    def digest(self, *kinds: str) -> str:
        """SHA-256 over the ids of the samples that were read, in the manifest's order, each with
        its digests by kind (zeros for a kind that was not read)."""
        known, ids = [self._of(kind) for kind in kinds], self._manifest.ids
        total = hashlib.sha256()
        for place in np.flatnonzero(np.any([one.any(1) for one in known], 0)).tolist():
            total.update(f"{ids[place]}\0".encode())
            for one in known:
                total.update(one[place].data)
        return total.hexdigest()

    def repeated(self, kind: str) -> tuple[int, tuple[str, str]] | None:
        """Of the samples that were read, how many hold what one of another group does, and the ids
        of the first two such; None where no two do.

        Sorted by the first eight bytes of their digests, which are of those that differ the same
        for one pair in 2^64: memory is that of two numbers for each sample.
        """
        known = self._of(kind)
        read = np.flatnonzero(known.any(1))
        start = np.ascontiguousarray(known[read, :8]).view(np.uint64)[:, 0]
        order = np.argsort(start, kind="stable")
        edges = np.flatnonzero(np.diff(start[order])) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(order)]
        count, pairs = 0, []
        for begin, end in zip(starts[stops - starts > 1], stops[stops - starts > 1], strict=True):
            places = read[order[begin:end]].tolist()
            groups = [self._manifest.groups[place] for place in places]
            others = [place for place, own in zip(places, groups, strict=True) if own != groups[0]]
            if others:
                count += len(places)
                pairs.append((places[0], others[0]))
        if not pairs:
            return None
        first, other = min(pairs)
        return count, (self._manifest.ids[first], self._manifest.ids[other])

    def _of(self, kind: str) -> np.ndarray:
        """Digests of all samples, uint8 [n, 32]; zeros where nothing was read."""
        if kind not in self._digests:
            self._digests[kind] = np.zeros((len(self._manifest.ids), 32), np.uint8)
        return self._digests[kind]
