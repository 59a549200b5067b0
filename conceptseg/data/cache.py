"""Decoded images that are kept for later passes, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conceptseg.data.reads import Reads, recording, replay

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from conceptseg.data.sample import Sample

    Pixels = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class _Kept:
    """Pixels, what tells that they are still the files', and what was read for them."""

    pixels: Pixels
    stamp: Any
    reads: Reads
    size: int


class Decoded:
    """Keeps what was decoded, the latest used longest, in at most `room` bytes.

    What it gives is the caller's own. Threads may ask it at once.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self._kept: OrderedDict[tuple[str, bool], _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Decoded, (self.room,)  # pixels stay in the process that decoded them

    def read(
        self,
        sample: Sample,
        labelled: bool,
        root: Path | None,
        stamp: Callable[[], Any],
        decode: Callable[[], Pixels],
    ) -> Pixels:
        """Image and, if `labelled`, labels of a sample: kept ones, while its files have the stamp
        that they had then, or decoded ones. What was read is recorded either way."""
        key, now = (sample.id, labelled), stamp()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.stamp == now:
                self._kept.move_to_end(key)
            else:
                kept = None
        if kept is None:
            reads = Reads()
            with recording(reads):
                pixels = decode()
            size = sum(one.nbytes for one in pixels if one is not None)
            kept = _Kept(pixels, now, reads, size)
            self._keep(key, kept)
        replay(kept.reads, sample, root)
        image, labels = kept.pixels
        return image.copy(), None if labels is None else labels.copy()

    def _keep(self, key: tuple[str, bool], new: _Kept) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self.held -= before.size if before is not None else 0
            if new.size > self.room:
                return
            self._kept[key] = new
            self.held += new.size
            while self.held > self.room:
                self.held -= self._kept.popitem(last=False)[1].size
