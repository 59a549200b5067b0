"""Which channels of each class are looked at, and on which images. No network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import drawn
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.report.unit_cards import KnownUnit, load_units
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import units
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.survey import ACTIVE, IMAGES, RELEVANT, relevance_key

COMPLEXITY = 0.8

CHANNELS: Key[dict[int, KnownUnit]] = Key("known channels", dict)


def name_channels(study: Lcrp, context: Context, known: Known) -> Known:
    """What the study's dissection says of the layer's channels; nothing without one.

    Raises InputError for a folder that says nothing of this layer of this network.
    """
    if study.labels is None:
        return CHANNELS({})
    return CHANNELS(load_units(study.labels, context.layer, context.model.fingerprint()))


@dataclass(frozen=True)
class Chosen:
    """Which channels and images are looked at.

    `classes` that are explained, of a layer of so many `units`; `sampling` of all images. Per
    class: `concepts` (channels, most relevant first), `mean` and `spread` [u] of their shares of
    relevance, `images` (ids in the order of their hash), `complexity` (share of channels that hold
    80 % of |relevance|, by image), `through` (the layer's part of the relevance, by image), `count`
    of all images that hold it. `relevant` (class, channel) and `active` (channel): ids of reference
    images, best first. `pixels` of each (image, class); `skipped` classes with the number of their
    images.
    """

    classes: tuple[int, ...]
    units: int
    sampling: Sampling
    concepts: dict[int, tuple[int, ...]]
    mean: dict[int, np.ndarray]
    spread: dict[int, np.ndarray]
    images: dict[int, tuple[str, ...]]
    complexity: dict[int, np.ndarray]
    through: dict[int, np.ndarray]
    count: dict[int, int]
    relevant: dict[tuple[int, int], list[tuple[str, float]]]
    active: dict[int, list[tuple[str, float]]]
    pixels: dict[tuple[str, int], int]
    skipped: dict[int, int]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All (class, channel) that are looked at, in the order of classes and relevance."""
        return [(c, k) for c in self.classes for k in self.concepts[c]]

    def drawn(self, class_id: int, count: int) -> tuple[str, ...]:
        """Images of a class drawn by hash, the first of a fixed order."""
        return self.images[class_id][:count]

    def jobs(self, study: Lcrp) -> dict[str, list[tuple[int, int]]]:
        """By image, the (class, channel) whose conditional map it is asked for."""
        wanted: dict[str, set[tuple[int, int]]] = {}
        for class_id, unit in self.pairs:
            ids = [sample_id for sample_id, _ in self.relevant[class_id, unit]]
            for sample_id in (*ids, *self.drawn(class_id, study.random_images)):
                wanted.setdefault(sample_id, set()).add((class_id, unit))
        return {sample_id: sorted(pairs) for sample_id, pairs in sorted(wanted.items())}


CHOSEN_PAIRS = Key("chosen pairs", Chosen)


def choose(study: Lcrp, context: Context, known: Known) -> Known:
    """The classes in images enough, with their most relevant channels.

    Raises InputError where no class is predicted in enough images.
    """
    table, relevant, active = known[IMAGES], known[RELEVANT], known[ACTIVE]
    asked = study.class_ids(context)
    moments = {c: m for c in asked if (m := known.get(relevance_key(c))) is not None}
    count = {c: moments[c].count if c in moments else 0 for c in asked}
    classes = tuple(c for c in asked if count[c] >= study.min_images)
    if not classes:
        best = max(count, key=lambda c: count[c])
        raise InputError(
            f"lcrp: no class is predicted in {study.min_images} images with relevance (best: "
            f"{context.model.classes[best]!r} in {count[best]}); give more images or lower "
            "min_images"
        )
    width, tables = len(active.values), table.tables
    concepts = {c: best_channels(moments[c].mean, study.concepts) for c in classes}
    rows = {c: _rows(table, c, context.seed) for c in classes}
    return CHOSEN_PAIRS(
        Chosen(
            classes=classes,
            units=width,
            sampling=_sampling(study, context, table.ids),
            concepts=concepts,
            mean={c: moments[c].mean for c in classes},
            spread={c: np.sqrt(moments[c].variance) for c in classes},
            images={c: tuple(sample_id for sample_id, _ in rows[c]) for c in classes},
            complexity={
                c: np.array([complexity(tables[s]["relevance"][r]) for s, r in rows[c]])
                for c in classes
            },
            through={c: np.array([tables[s]["through"][r] for s, r in rows[c]]) for c in classes},
            count=count,
            relevant={
                (c, k): relevant.row(asked.index(c) * width + k)
                for c in classes
                for k in concepts[c]
            },
            active={k: active.row(k) for k in sorted({k for c in classes for k in concepts[c]})},
            pixels={
                (s, int(c)): int(pixels)
                for s in table.ids
                for c, pixels in zip(tables[s]["class"], tables[s]["pixels"], strict=True)
            },
            skipped={c: count[c] for c in asked if c not in classes},
        )
    )


def _sampling(study: Lcrp, context: Context, ids: Sequence[str]) -> Sampling:
    """Of all images, since reference images may lie outside of the bounded sample `ids`.

    What counts is taken by the groups of that sample.
    """
    group_of = dict(zip(context.manifest.ids, context.manifest.groups, strict=True))
    _, unit = units(ids, [group_of[i] for i in ids], study.unit)
    groups = group_of.values() if unit == "group" else group_of
    return Sampling(tuple(group_of), tuple(groups), f"{unit}s", context.seed)


def best_channels(mean: np.ndarray, count: int) -> tuple[int, ...]:
    """The channels of largest mean relevance, of equal ones the first; none without relevance."""
    order = np.argsort(-mean, kind="stable")
    return tuple(int(k) for k in order[:count] if mean[k] > 0)


def _rows(table: SampleTable, class_id: int, seed: int) -> list[tuple[str, int]]:
    """The images that hold a class, in the order of their hash, with the class's row in each."""
    rows = {s: np.flatnonzero(table.tables[s]["class"] == class_id) for s in table.ids}
    ids = drawn(seed, [s for s in rows if len(rows[s])], len(rows))
    return [(s, int(rows[s][0])) for s in ids]


def complexity(relevance: np.ndarray, share: float = COMPLEXITY) -> float:
    """Share of channels that together hold `share` of |r|, taken largest first, in (0, 1].

    Source: Dreyer et al. 2023, arXiv:2211.11426, section 4.
    """
    held = np.sort(np.abs(np.asarray(relevance, np.float64)))[::-1]
    total = held.sum()
    if total <= 0:
        return float("nan")
    # A sum that reaches the share but for rounding has reached it.
    count = int(np.searchsorted(np.cumsum(held), share * total * (1 - 1e-12))) + 1
    return min(count, len(held)) / len(held)
