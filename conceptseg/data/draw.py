"""Samples drawn at random, the same ones however a run is cut."""

import hashlib
from collections.abc import Iterable


def sample_priority(seed: int, sample_id: str) -> int:
    """A number in [0, 2^256) by which samples are drawn: sha256 of "seed:id".

    Taking the samples of lowest priority draws without replacement, does not depend on the order
    in which samples are listed, and a larger draw contains the smaller one.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample_id}".encode()).digest(), "big")


def drawn(seed: int, ids: Iterable[str], most: int) -> list[str]:
    """The ids of lowest priority, at most so many, in that order."""
    return sorted(ids, key=lambda one: (sample_priority(seed, one), one))[:most]
