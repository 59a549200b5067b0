"""A plan, kept images and a context, small and by hand."""

from __future__ import annotations

import numpy as np
import torch

from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect.bins import Bins, Counter
from conceptseg.study.dissect.chosen_sources import UNLEARNT
from conceptseg.study.dissect.kept import Kept
from conceptseg.study.dissect.pilot import Plan
from conceptseg.study.dissect.vocabulary import Category, Vocabulary


def vocabulary(*counts: int) -> Vocabulary:
    return Vocabulary(
        tuple(
            Category(f"kind {g}", tuple(f"{g}.{i}" for i in range(count)))
            for g, count in enumerate(counts)
        )
    )


def plan(units: int, words: Vocabulary, ids: list[str], half: list[int]) -> Plan:
    values = np.random.default_rng(0).normal(size=(units, 500)).astype(np.float32)
    return Plan(
        live=np.arange(units),
        units=units,
        bins=Bins.of(values, 32),
        two_sided=np.zeros(units, bool),
        mean=np.zeros(units),
        lowest=0.0,
        codebook=UNLEARNT,
        vocabulary=words,
        seen_alone=np.ones(len(words.categories), bool),
        predicts=False,
        half=dict(zip(ids, half, strict=True)),
        sampling=Sampling(tuple(ids), tuple(ids), "images", 0),
        names=tuple(range(units)),
    )


def kept(maps: np.ndarray, slots: np.ndarray, words: Vocabulary, half: list[int]) -> Kept:
    """Maps [n, v, y, x] and slots [n, g, y', x'] of images s00, s01, ..."""
    ids = [f"s{i:02d}" for i in range(len(maps))]
    return Kept(
        plan(maps.shape[1], words, ids, half),
        tuple(maps.astype(np.float32)),
        tuple(slots),
        np.array(half),
        Sampling(tuple(ids), tuple(ids), "images", 0),
    )


def placed(bins: Bins, values: torch.Tensor) -> np.ndarray:
    """The bin in which the count puts each value [u, m]: every pixel is a slot of its own."""
    m = values.shape[1]
    slots = torch.arange(m)[None, None, None]
    counts = Counter(bins, "cpu").counts(values[None, :, None], (1, m), slots, [m])
    assert (counts.sum(1) == 1).all()
    return counts.argmax(1).numpy()
