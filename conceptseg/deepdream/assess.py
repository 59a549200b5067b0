"""From paths to what the network is sensitive to. No network.

For descriptor m, start i and walk, with phi at the path's first and last point,

    change = (phi_end - phi_start) / SD_m,      sensitivity = change / length,

SD_m the descriptor's standard deviation over all regions of classes in the data and all regions at
the start of paths, and length the path's
in root mean square change per pixel. A descriptor counts where the pixel path
differs in sensitivity from both null paths (smooth, shuffled), and the phase path changes it in
the same direction: p is the larger of the two sign-flip p-values (an intersection-union test needs
no further correction for them), corrected by Benjamini and Hochberg over descriptors and kinds of
path. The phase path, which can use only waves that the image has, is asked for its direction and
size alone: from a flat region it often cannot flip anything.

Source of the union test: Berger 1982.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.deepdream.descriptors import NAMES, PREDICTED, RELATIVE
from conceptseg.deepdream.survey import Found, Route
from conceptseg.deepdream.travel import WALKS, Travelled
from conceptseg.significance import benjamini_hochberg, bootstrap_interval, sign_flip_p

if TYPE_CHECKING:
    from conceptseg.study.deepdream import DeepDream

ALPHA = 0.05
PRESENT, LARGE = 0.2, 0.8
"""Standard deviations by which classes differ noticeably, and greatly."""
FAR = 0.25
"""Of a path's change, the share far from the region above which surroundings count as used."""
LEAST = 6
"""Fewer starts in which a descriptor is defined, and it is not tested."""


@dataclass(frozen=True)
class Cue:
    """One descriptor on one kind of path.

    `change` and `null` hold means over starts by walk, in SD; `interval` that of the pixel path's
    change; `natural` the difference in the data, towards the path's end; `word` the conclusion.
    """

    route: Route
    descriptor: str
    n: int
    change: dict[str, float]
    per_length: float
    interval: tuple[float, float]
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
                rows.append(
                    _measured(travelled, route, own, members, m, natural[m], spread[m], seed)
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
    natural: float,
    spread: float,
    seed: int,
) -> Cue:
    phi = travelled.described[own][..., m]
    change = (phi[:, :, -1] - phi[:, :, 0]) / spread
    length = np.maximum(travelled.length[own], 1e-9)
    moved = (travelled.ended[own, :2] > 0).all(1)
    good = np.isfinite(change).all(1) & moved
    kept = [members[i] for i in np.flatnonzero(good).tolist()]
    change, rate = change[good], (change / length)[good]
    n = len(kept)
    means = {w: float(change[:, k].mean()) if n else float("nan") for k, w in enumerate(WALKS)}
    p, low, high = float("nan"), float("nan"), float("nan")
    if n >= LEAST:
        p = max(
            sign_flip_p(rate[:, 0] - rate[:, null], kept, seed=seed, draws=1999) for null in (2, 3)
        )
        low, high = bootstrap_interval(change[:, 0], kept, seed=seed)
    per = float(rate[:, 0].mean()) if n else float("nan")
    name = list(NAMES)[m]
    return Cue(route, name, n, means, per, (low, high), natural, p, float("nan"), "")


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
    if p <= ALPHA and agree and large and beyond:
        if cue.descriptor in PREDICTED:
            return "prediction"
        if not np.isfinite(cue.natural):
            return "not known in the data"
        if abs(cue.natural) >= PRESENT:
            same = np.sign(cue.natural) == np.sign(pixel)
            return "as in the data" if same else "against the data"
        return "absent in the data"
    natural = np.isfinite(cue.natural) and abs(cue.natural) >= LARGE
    if natural and cue.descriptor not in PREDICTED and max(abs(pixel), abs(phase)) < study.smallest:
        return "ignored"
    return "no finding"
