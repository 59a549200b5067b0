"""Mixtures, prototypes and what sets them apart; p-values of new regions, what these foretell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.areas import told_apart, told_better
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.intervals import ALPHA, PORTIONS, Floats
from conceptseg.stats.p_values import exchangeable_p
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.mixture import Mixture, Tried, fit
from conceptseg.study.prototypes.naming import Name, named
from conceptseg.study.prototypes.regions import CALIBRATES, FITTED, JUDGED, LISTED, Regions
from conceptseg.study.shared.outcomes import Outcomes, more_often, wrong_otherwise

FEWEST_WRONG = 5
"""With fewer wrong (or right) regions than this nothing is said of what foretells them."""


@dataclass(frozen=True)
class Apart:
    """A concept, its mean share of relevance in a prototype's regions, and how much more that is
    than in the class's other regions, on groups that did not choose it."""

    concept: int
    share: Estimate
    more: Estimate | None


@dataclass(frozen=True)
class Prototype:
    """A Gaussian of a class: its place, its nearest regions (rows), the share of new regions that
    are its own, the part of these that is wrong, and how much more often they are than others."""

    class_id: int
    number: int
    nearest: tuple[int, ...]
    share: Estimate
    outside: Estimate
    wrong: Estimate | None
    more: Estimate | None
    test: Test | None
    apart: tuple[Apart, ...]
    name: Name


@dataclass(frozen=True)
class Grouped:
    """The mixture of each class with what was tried, its prototypes, and of each region its
    Gaussian, [m], and how unlikely it is, [m] (less its log density)."""

    mixtures: Mapping[int, Mixture]
    tried: Mapping[int, tuple[Tried, ...]]
    prototypes: tuple[Prototype, ...]
    component: np.ndarray
    unlikely: Floats


@dataclass(frozen=True)
class Placed:
    """Of each region its p-value [m] and the corrected one [m], nan where it has none; of each
    class how many groups calibrate it. `of_right` says whether these are of right regions alone."""

    p: Floats
    adjusted: Floats
    calibrating: Mapping[int, int]
    of_right: bool

    @property
    def outlier(self) -> np.ndarray:
        """Bool [m]."""
        return np.asarray(np.nan_to_num(self.adjusted, nan=1.0) <= ALPHA)

    def floor(self, class_id: int) -> float:
        """The least p-value of a class."""
        return 1.0 / (1 + self.calibrating[class_id])


@dataclass(frozen=True)
class Foretold:
    """Whether rare regions are wrong more often, and how well being unlikely and doubt tell wrong
    regions from right ones of their class (`areas`); nothing of either where too few are wrong."""

    right: int
    wrong: int
    more: Estimate | None
    test: Test | None
    areas: Mapping[str, Estimate] | None


GROUPED = Key("grouped", Grouped)
PLACED = Key("placed", Placed)
FORETOLD = Key("foretold", Foretold)


def group(study: Prototypes, context: Context, known: Known) -> Known:
    """The mixtures, fitted to one part, and their prototypes, described on the other two."""
    regions = known[LISTED]
    mixtures, tried = dict[int, Mixture](), dict[int, tuple[Tried, ...]]()
    component = np.zeros(len(regions.ids), np.int64)
    unlikely = np.zeros(len(regions.ids))
    for c in regions.classes:
        own, rows = regions.rows(c, FITTED), regions.rows(c)
        groups = [regions.dealt[row] for row in own]
        mixtures[c], tried[c] = fit(
            regions.relevance[own], groups, study.counts, study.dimensions, context.seed
        )
        component[rows] = mixtures[c].assigned(regions.relevance[rows])
        unlikely[rows] = -mixtures[c].log_density(regions.relevance[rows])
    made = prototypes_of(study, regions, mixtures, component, context.seed)
    return GROUPED(Grouped(mixtures, tried, made, component, unlikely))


def prototypes_of(
    study: Prototypes,
    regions: Regions,
    mixtures: Mapping[int, Mixture],
    component: np.ndarray,
    seed: int,
) -> tuple[Prototype, ...]:
    """All classes' Gaussians, described and tested on regions that no mixture was fitted to."""
    places = [(c, j) for c, one in mixtures.items() for j in range(one.count)]
    asked, told = list[Outcomes](), list[tuple[int, int]]()
    for c, j in places:
        rows = regions.rows(c, CALIBRATES, JUDGED)
        rows = rows[regions.wrong[rows] >= 0]
        own, bad = component[rows] == j, regions.wrong[rows]
        # Of two, the one says what the other says.
        said = mixtures[c].count == 2 and j == 1
        if not said and 0 < own.sum() < len(own) and 0 < bad.sum() < len(bad):
            asked.append(Outcomes(own, bad, regions.sampling.at(rows)))
            told.append((c, j))
    tests = dict(zip(told, wrong_otherwise(asked, seed, len(regions.ids)), strict=True))
    for c, j in told:
        if mixtures[c].count == 2:
            tests[c, 1] = tests[c, j]
    return tuple(
        _prototype(study, regions, mixtures[c], component, (c, j), tests.get((c, j)))
        for c, j in places
    )


def _prototype(
    study: Prototypes,
    regions: Regions,
    mixture: Mixture,
    component: np.ndarray,
    place: tuple[int, int],
    test: Test | None,
) -> Prototype:
    (c, j), sampling = place, regions.sampling
    fitted, new = regions.rows(c, FITTED), regions.rows(c, CALIBRATES, JUDGED)
    inside, mine = component[new] == j, new[component[new] == j]
    known = new[regions.wrong[new] >= 0]
    own = known[component[known] == j]
    wrong = sampling.at(own).share(regions.wrong[own]) if len(own) else None
    more = None
    if wrong is not None and len(own) < len(known):
        more = sampling.at(known).difference(regions.wrong[known], component[known] == j, 0, 1)
    return Prototype(
        c,
        j,
        _nearest(regions, mixture, fitted[component[fitted] == j], j, study.exemplars),
        sampling.at(new).share(inside),
        sampling.at(mine).mean(regions.outside[mine], within=PORTIONS),
        wrong,
        more,
        test,
        _apart(study, regions, fitted, component, new, j),
        named(regions.attributes, fitted, component[fitted] == j, new, inside),
    )


def _nearest(
    regions: Regions, mixture: Mixture, rows: np.ndarray, number: int, count: int
) -> tuple[int, ...]:
    """The rows nearest to a mean, one of each image."""
    far = mixture.far(regions.relevance[rows])[:, number]
    found = dict[str, int]()
    for row in rows[np.argsort(far, kind="stable")].tolist():
        found.setdefault(regions.ids[row], row)
    return tuple(found.values())[:count]


def _apart(
    study: Prototypes,
    regions: Regions,
    fitted: np.ndarray,
    component: np.ndarray,
    new: np.ndarray,
    number: int,
) -> tuple[Apart, ...]:
    """Concepts chosen on the fitted part by how much more, or less, they hold than in the class's
    other regions (of a single prototype by what they hold), and measured on the others."""
    own, values = component[fitted] == number, regions.relevance
    alone = own.all() or not own.any()
    mean = values[fitted[own]].mean(0) if own.any() else values[fitted].mean(0)
    gap = mean if alone else mean - values[fitted[~own]].mean(0)
    inside, sampling = component[new] == number, regions.sampling
    found = []
    for k in np.argsort(-np.abs(gap), kind="stable")[: study.concepts].tolist():
        share = sampling.at(new[inside]).mean(values[new[inside], k])
        more = None
        if not alone and 0 < inside.sum() < len(inside):
            ends = float(values[new, k].min()), float(values[new, k].max())
            more = sampling.at(new).difference(values[new, k], inside, *ends)
        found.append(Apart(k, share, more))
    return tuple(found)


def place(study: Prototypes, context: Context, known: Known) -> Known:
    """The p-values of the judged regions, and what being unlikely foretells."""
    regions, unlikely = known[LISTED], known[GROUPED].unlikely
    placed = p_values(regions, unlikely)
    return PLACED(placed) | FORETOLD(foretell(study, regions, unlikely, placed, context.seed))


def p_values(regions: Regions, unlikely: Floats) -> Placed:
    """Of each judged region, (1 + #{groups as unlikely}) / (1 + groups), and by BH over all.

    A group is as unlikely as its least likely region of the class, of its right ones alone where
    any region is labelled. So if the right regions of a judged group are exchangeable with those of
    the groups that calibrate, the least likely of them has an exact p-value, and the others' are no
    smaller.

    Source: Bates et al. 2023, "Testing for outliers with conformal p-values", section 2.
    """
    of_right = bool((regions.wrong >= 0).any())
    p, counts = np.full(len(regions.ids), np.nan), dict[int, int]()
    for c in regions.classes:
        rows = regions.rows(c, CALIBRATES)
        rows = rows[regions.wrong[rows] == 0] if of_right else rows
        most = dict[str, float]()
        for row in rows.tolist():
            name = regions.dealt[row]
            most[name] = max(most.get(name, -np.inf), float(unlikely[row]))
        counts[c], bar = len(most), list(most.values())
        for row in regions.rows(c, JUDGED).tolist():
            p[row] = exchangeable_p(float(unlikely[row]), bar)
    adjusted, judged = np.full(len(p), np.nan), np.isfinite(p)
    adjusted[judged] = benjamini_hochberg(p[judged])
    return Placed(p, adjusted, counts, of_right)


def foretell(
    study: Prototypes, regions: Regions, unlikely: Floats, placed: Placed, seed: int
) -> Foretold:
    """Whether rare regions, and unlikely ones, are the wrong ones, on the judged part."""
    rows = np.flatnonzero(np.isfinite(placed.p) & (regions.wrong >= 0))
    bad, strata = regions.wrong[rows], regions.class_id[rows]
    counts = int((bad == 0).sum()), int((bad == 1).sum())
    if min(counts) < FEWEST_WRONG:
        return Foretold(*counts, None, None, None)
    sampling, rare = regions.sampling.at(rows), placed.p[rows] <= study.rare
    both = 0 < rare.sum() < len(rare)
    return Foretold(
        *counts,
        sampling.difference(bad, rare, 0, 1) if both else None,
        more_often(Outcomes(rare, bad, sampling), strata, seed) if both else None,
        compared(unlikely[rows], 1 - regions.confidence[rows], bad, strata, sampling),
    )


def compared(
    unlikely: Floats, doubt: Floats, wrong: np.ndarray, strata: np.ndarray, sampling: Sampling
) -> dict[str, Estimate]:
    """The areas of both scores of wrong regions over right ones of their class, and the
    `difference` of the first less the second (:mod:`conceptseg.stats.areas`).

    The mixture is of other groups, so draws of these know all that varies.
    """
    bad = wrong == 1
    return {
        "unlikely": told_apart(sampling, unlikely, bad, strata),
        "doubt": told_apart(sampling, doubt, bad, strata),
        "difference": told_better(sampling, unlikely, doubt, bad, strata),
    }
