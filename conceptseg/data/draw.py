"""Samples drawn at random, the same ones however a run is cut."""

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np


def sample_priority(seed: int, sample_id: str) -> int:
    """A number in [0, 2^256) by which samples are drawn: sha256 of "seed:id".

    Taking the samples of lowest priority draws without replacement, does not depend on the order
    in which samples are listed, and a larger draw contains the smaller one.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample_id}".encode()).digest(), "big")


def drawn(seed: int, ids: Iterable[str], most: int) -> list[str]:
    """The ids of lowest priority, at most so many, in that order."""
    return heapq.nsmallest(most, ids, key=lambda one: (sample_priority(seed, one), one))


def in_turn(seed: int, names: Iterable[str], parts: int) -> dict[str, int]:
    """To which of so many parts each name falls, dealt in turn in an order by hash."""
    each = set(names)
    return {name: n % parts for n, name in enumerate(drawn(seed, each, len(each)))}


def lowest(seed: int, ids: Sequence[str], most: int) -> np.ndarray:
    """The places of the ids of lowest priority, at most so many, in the order of the ids.

    They are those that :func:`drawn` draws; of each but the last only 64 bits are compared.
    """
    if most >= len(ids):
        return np.arange(len(ids))
    if most < 1:
        return np.arange(0)
    heads, start, sha = np.empty(len(ids), np.uint64), f"{seed}:", hashlib.sha256
    rest = iter(ids)
    for at in range(0, len(ids), 4096):
        digests = [sha((start + one).encode()).digest() for one in islice(rest, 4096)]
        heads[at : at + len(digests)] = np.frombuffer(b"".join(digests), ">u8")[::4]
    last = np.partition(heads, most - 1)[most - 1]
    below, even = np.flatnonzero(heads < last), np.flatnonzero(heads == last)
    ranked = sorted(even.tolist(), key=lambda i: (sample_priority(seed, ids[i]), ids[i]))
    return np.sort(np.concatenate([below, ranked[: most - len(below)]]).astype(np.int64))
