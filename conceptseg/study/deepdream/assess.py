"""From paths to what the network is sensitive to. No network.

For descriptor m, start i and walk, with phi at the path's first and last point,

    change = (phi_end - phi_start) / SD_m,      sensitivity = change / length,

SD_m the descriptor's standard deviation over all regions of classes in the data and all regions at
the start of paths, and length the path's in root mean square change per pixel. Only starts whose
region flips on the pixel path count. A descriptor counts where the pixel path differs in
sensitivity from both null paths (smooth, shuffled), and the phase path changes it in the same
direction: p is the larger of the two sign-flip p-values (an intersection-union test needs
no further correction for them), corrected by Benjamini and Hochberg over descriptors and kinds of
path. The phase path, which can use only waves that the image has, is asked for its direction and
size alone: from a flat region it often cannot flip anything.

That a descriptor is ignored is a claim of its own. It takes an interval of the change that lies
within the smallest change that counts, on phase paths that flip too, where the classes differ
greatly in the data; and paths long enough that a null path of the same length moves the
descriptor by that much. On shorter ones nothing can be told.

Source of the union test: Berger 1982.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.intervals import bootstrap_interval
from conceptseg.stats.p_values import sign_flip_p
from conceptseg.study.deepdream.descriptors import NAMES, PREDICTED, RELATIVE
from conceptseg.study.deepdream.survey import Found, Route
from conceptseg.study.deepdream.travel import WALKS, Travelled

if TYPE_CHECKING:
    from conceptseg.study.deepdream.config import DeepDream

ALPHA = 0.05
PRESENT, LARGE = 0.2, 0.8
"""Standard deviations by which classes differ noticeably, and greatly."""
FAR = 0.25
"""Of a path's change, the share far from the region above which surroundings count as used."""
LEAST = 6
"""Fewer starts that flip and in which a descriptor is defined, and it is not tested."""
SHORT = "too short to tell"
"""The conclusion where a path of this length could not move the descriptor anyway."""


@dataclass(frozen=True)
class Cue:
    """One descriptor on one kind of path, over the `n` starts that flip in pixels.

    `change` holds means over starts by walk, in SD; `interval` that of the pixel path's change,
    `phase_interval` that of the phase path's over starts that flip in phases (nan for fewer than
    `LEAST`); `reach` the larger change, up or down, of the two null paths, mean over starts;
    `natural` the difference in the data, towards the path's end; `word` the conclusion.
    """

    route: Route
    descriptor: str
    n: int
    change: dict[str, float]
    per_length: float
    interval: tuple[float, float]
    phase_interval: tuple[float, float]
    reach: float
    natural: float
    p: float
    p_bh: float
    word: str


def cues(study: DeepDream, found: Found, travelled: Travelled, seed: int) -> list[Cue]:
    rows = []
    spread = spread_of(found, travelled)
    for number, route in enumerate(found.routes):
        own = np.flatnonzero(travelled.route == number)
        members = [found.member[travelled.sample[i]] for i in own]
        natural = natural_contrast(found, travelled, number, spread)
        for m, name in enumerate(NAMES):
            if name not in RELATIVE:
                contrast = (natural[m], spread[m])
                rows.append(
                    _measured(travelled, route, own, members, m, contrast, study.flip, seed)
                )
    tested = [k for k, cue in enumerate(rows) if np.isfinite(cue.p)]
    corrected = np.full(len(rows), np.nan)
    if tested:
        corrected[tested] = benjamini_hochberg([rows[k].p for k in tested])
    import dataclasses

    return [
        dataclasses.replace(cue, p_bh=float(p), word=conclusion(study, cue, float(p)))
        for cue, p in zip(rows, corrected, strict=True)
    ]


def _measured(
    travelled: Travelled,
    route: Route,
    own: np.ndarray,
    members: Sequence[str],
    m: int,
    contrast: tuple[float, float],
    flip: float,
    seed: int,
) -> Cue:
    natural, spread = contrast
    phi = travelled.described[own][..., m]
    change = (phi[:, :, -1] - phi[:, :, 0]) / spread
    length = np.maximum(travelled.length[own], 1e-9)
    moved = (travelled.ended[own, :2] > 0).all(1)
    ended = travelled.flipped[own, :2, -1] >= flip - 1e-9
    good = np.isfinite(change).all(1) & moved & ended[:, 0]
    kept = [members[i] for i in np.flatnonzero(good).tolist()]
    change, rate, phases = change[good], (change / length)[good], ended[good, 1]
    n = len(kept)
    means = {w: float(change[:, k].mean()) if n else float("nan") for k, w in enumerate(WALKS)}
    p, low, high = float("nan"), float("nan"), float("nan")
    if n >= LEAST:
        p = max(
            sign_flip_p(rate[:, 0] - rate[:, null], kept, seed=seed, draws=1999) for null in (2, 3)
        )
        low, high = bootstrap_interval(change[:, 0], kept, seed=seed)
    per = float(rate[:, 0].mean()) if n else float("nan")
    reach = float(np.abs(change[:, 2:]).max(1).mean()) if n else float("nan")
    both = (float("nan"), float("nan"))
    if phases.sum() >= LEAST:
        flipping = [kept[i] for i in np.flatnonzero(phases).tolist()]
        both = bootstrap_interval(change[phases, 1], flipping, seed=seed)
    name = list(NAMES)[m]
    return Cue(route, name, n, means, per, (low, high), both, reach, natural, p, float("nan"), "")


def natural_contrast(
    found: Found, travelled: Travelled, number: int, spread: np.ndarray
) -> np.ndarray:
    """How the path's end differs from its start in the data, in SD, [m]; nan where not known."""
    route = found.routes[number]
    target = mean_of(found.natural.get(route.target))
    if route.kind == "become":
        start = mean_of(found.natural.get(route.source))
        return np.asarray((target - start) / spread)
    if route.kind == "appear":
        start = mean_of(travelled.described[travelled.route == number][:, 0, 0])
        return np.asarray((target - start) / spread)
    others = [mean_of(rows) for c, rows in sorted(found.natural.items()) if c != route.target]
    if not others:  # one class and a background: regions into which the class was to be brought
        empty = [n for n, r in enumerate(found.routes) if r == Route("appear", -1, route.target)]
        others = [mean_of(travelled.described[travelled.route == n][:, 0, 0]) for n in empty]
    rest = mean_of(np.stack(others)) if others else np.full(len(NAMES), np.nan)
    return np.asarray((rest - target) / spread)


def spread_of(found: Found, travelled: Travelled) -> np.ndarray:
    """Standard deviation [m] of each descriptor over regions in the data and at starts, or nan."""
    starts = travelled.described[:, 0, 0]
    rows = np.concatenate([*(rows for _, rows in sorted(found.natural.items())), starts])
    count = np.isfinite(rows).sum(0)
    away = rows - mean_of(rows)
    spread = np.sqrt(np.nansum(away**2, axis=0) / np.maximum(count, 1))
    return np.asarray(np.where((count > 1) & (spread > 1e-9), spread, np.nan))


@dataclass(frozen=True)
class Outside:
    """Of n starts of one kind: mean share of the pixel path's change that lies far from the region
    (outside of it and of its ring), its interval, that of the shuffled network's path, and the
    p-value of their difference.
    """

    route: Route
    n: int
    share: float
    interval: tuple[float, float]
    shuffled: float
    p: float


def outside(found: Found, travelled: Travelled, seed: int) -> list[Outside]:
    """Where paths change the image: the network's own against that of the network that forgot."""
    column = list(NAMES).index("change_near")
    rows = []
    for number, route in enumerate(found.routes):
        own = np.flatnonzero(travelled.route == number)
        last = 1 - travelled.described[own][:, :, -1, column]
        good = np.isfinite(last[:, 0]) & np.isfinite(last[:, 3])
        own, last = own[good], last[good]
        if len(own) < LEAST:
            continue
        members = [found.member[travelled.sample[i]] for i in own]
        rows.append(
            Outside(
                route,
                len(own),
                float(last[:, 0].mean()),
                bootstrap_interval(last[:, 0], members, seed=seed),
                float(last[:, 3].mean()),
                sign_flip_p(last[:, 0] - last[:, 3], members, seed=seed, side="greater"),
            )
        )
    return rows


def mean_of(rows: np.ndarray | None) -> np.ndarray:
    """Means [m] of rows [r, m] without nan; nan where there is nothing."""
    if rows is None or not len(rows):
        return np.full(len(NAMES), np.nan)
    count = np.isfinite(rows).sum(0)
    total = np.nansum(rows, axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def conclusion(study: DeepDream, cue: Cue, p: float) -> str:
    """In words: what a descriptor's change on the path, set against the data, means."""
    if not np.isfinite(p):
        return "not testable"
    pixel, phase = cue.change["pixel"], cue.change["phase"]
    agree = np.sign(pixel) == np.sign(phase)
    large = min(abs(pixel), abs(phase)) >= study.smallest
    beyond = all(
        abs(pixel) > abs(cue.change[null]) or np.sign(pixel) != np.sign(cue.change[null])
        for null in ("smooth", "shuffled")
    )
    short = cue.reach < study.smallest
    if p <= ALPHA and agree and beyond:
        return _counted(cue) if large else SHORT if short else "no finding"
    greatly = np.isfinite(cue.natural) and abs(cue.natural) >= LARGE
    if p > ALPHA and greatly and cue.descriptor not in PREDICTED:
        if short:
            return SHORT
        if all(_within(ends, study.smallest) for ends in (cue.interval, cue.phase_interval)):
            return "ignored"
    return "no finding"


def _counted(cue: Cue) -> str:
    if cue.descriptor in PREDICTED:
        return "prediction"
    if not np.isfinite(cue.natural):
        return "not known in the data"
    if abs(cue.natural) >= PRESENT:
        same = np.sign(cue.natural) == np.sign(cue.change["pixel"])
        return "as in the data" if same else "against the data"
    return "absent in the data"


def _within(interval: tuple[float, float], limit: float) -> bool:
    """Whether an interval is known and lies within -limit..limit."""
    return bool(-limit < interval[0] and interval[1] < limit)
