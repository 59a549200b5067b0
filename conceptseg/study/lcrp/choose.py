"""Which channels of each class are looked at, and on which images. No network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, State
from conceptseg.errors import InputError
from conceptseg.report.unit_cards import KnownUnit, load_units
from conceptseg.stats.intervals import units
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples

if TYPE_CHECKING:
    from conceptseg.study.lcrp.config import Lcrp

COMPLEXITY = 0.8


@dataclass(frozen=True)
class Chosen:
    """What the survey found.

    `classes` that are explained; per class: `concepts` (channels, most relevant first), `mean` and
    `spread` [u] of their shares of relevance, `images` (ids in the order of their hash),
    `complexity` (share of channels that hold 80 % of |relevance|, by image), `through` (the
    layer's part of the relevance, by image), `count` of all images that hold it. `relevant`
    (class, channel) and `active` (channel): ids of reference images, best first. `pixels` of each
    (image, class); `skipped` classes with the number of their images.
    """

    classes: tuple[int, ...]
    units: int
    groups: dict[str, str]
    unit: str
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
    skipped: dict[int, int] = field(default_factory=dict)

    def drawn(self, class_id: int, count: int) -> tuple[str, ...]:
        """Images of a class drawn by hash, the first of a fixed order."""
        return self.images[class_id][:count]

    def jobs(self, study: Lcrp) -> dict[str, list[tuple[int, int]]]:
        """By image, the (class, channel) whose conditional map it is asked for."""
        wanted: dict[str, set[tuple[int, int]]] = {}
        for class_id in self.classes:
            for unit in self.concepts[class_id]:
                ids = [sample_id for sample_id, _ in self.relevant[class_id, unit]]
                for sample_id in (*ids, *self.drawn(class_id, study.random_images)):
                    wanted.setdefault(sample_id, set()).add((class_id, unit))
        return {sample_id: sorted(pairs) for sample_id, pairs in sorted(wanted.items())}


def choose(study: Lcrp, context: Context, state: State) -> Carry:
    """Raises InputError where no class is predicted in enough images."""
    table, relevant, active = state["images"], state["relevant"], state["active"]
    assert isinstance(table, SampleTable)
    assert isinstance(relevant, TopSamples) and isinstance(active, TopSamples)
    asked = study.class_ids(context)
    moments: dict[int, Any] = {c: state.get(f"relevance-{c}") for c in asked}
    count = {c: m.count if isinstance(m, Moments) else 0 for c, m in moments.items()}
    classes = tuple(c for c in asked if count[c] >= study.min_images)
    if not classes:
        best = max(count, key=lambda c: count[c])
        raise InputError(
            f"lcrp: no class is predicted in {study.min_images} images with relevance (best: "
            f"{context.model.classes[best]!r} in {count[best]}); give more images or lower "
            "min_images"
        )
    width = len(active.values)
    of = {s.id: s.group for s in context.manifest.samples}
    ids = table.ids
    counted, unit = units(ids, [of[i] for i in ids], study.unit)
    concepts = {c: best_channels(moments[c].mean, study.concepts) for c in classes}
    rows = {c: _rows(table, c, context.seed) for c in classes}
    found = Chosen(
        classes=classes,
        units=width,
        groups=dict(zip(ids, counted, strict=True)),
        unit=unit,
        concepts=concepts,
        mean={c: moments[c].mean for c in classes},
        spread={c: np.sqrt(moments[c].variance) for c in classes},
        images={c: tuple(sample_id for sample_id, _ in rows[c]) for c in classes},
        complexity={
            c: np.array([complexity(table.tables[s]["relevance"][r]) for s, r in rows[c]])
            for c in classes
        },
        through={
            c: np.array([float(table.tables[s]["through"][r]) for s, r in rows[c]]) for c in classes
        },
        count=count,
        relevant={
            (c, k): relevant.row(asked.index(c) * width + k) for c in classes for k in concepts[c]
        },
        active={k: active.row(k) for k in sorted({k for c in classes for k in concepts[c]})},
        pixels={
            (s, int(c)): int(table.tables[s]["pixels"][r])
            for s in ids
            for r, c in enumerate(table.tables[s]["class"])
        },
        skipped={c: count[c] for c in asked if c not in classes},
    )
    # Reference images may lie outside the bounded sample, and count as themselves or their group.
    groups = {s: (of[s] if unit == "group" else s) for s in found.jobs(study)}
    found.groups.update(groups)
    return {"chosen": found}


def known_channels(study: Lcrp, context: Context) -> Mapping[int, KnownUnit]:
    """What the study's dissection says of the layer's channels; nothing without one."""
    if study.labels is None:
        return {}
    return load_units(study.labels, context.layer, context.model.fingerprint())


def best_channels(mean: np.ndarray, count: int) -> tuple[int, ...]:
    """The channels of largest mean relevance, of equal ones the first; none without relevance."""
    order = np.argsort(-mean, kind="stable")
    return tuple(int(k) for k in order[:count] if mean[k] > 0)


def _rows(table: SampleTable, class_id: int, seed: int) -> list[tuple[str, int]]:
    """The images that hold a class, in the order of their hash, with the class's row in each."""
    found = []
    for sample_id in table.ids:
        at = np.flatnonzero(table.tables[sample_id]["class"] == class_id)
        if len(at):
            found.append((sample_id, int(at[0])))
    return sorted(found, key=lambda one: (sample_priority(seed, one[0]), one[0]))


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
