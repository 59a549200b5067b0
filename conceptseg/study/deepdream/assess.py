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
size alone: from a flat region it often cannot flip anything. With few groups, signs are flipped
for all descriptors together instead (:func:`conceptseg.stats.family.few`).

That a descriptor is ignored is a claim of its own. It takes an interval of the change that lies
within the smallest change that counts, on phase paths that flip too, where the classes differ
greatly in the data; and paths long enough that a null path of the same length moves the
descriptor by that much. Shorter ones are inconclusive.

Source of the union test: Berger 1982.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import NAN, Estimate, Sampling
from conceptseg.stats.family import Also, Question, Test, by_bh, by_joint_flips, few, judge
from conceptseg.stats.intervals import Floats, finite_mean
from conceptseg.stats.p_values import Side
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.descriptors import NAMES, PREDICTED, RELATIVE
from conceptseg.study.deepdream.survey import SURVEY, Route, Survey
from conceptseg.study.deepdream.travel import TRAVELLED, WALKS, Travelled

PRESENT, LARGE = 0.2, 0.8
"""Standard deviations by which classes differ noticeably, and greatly."""
FAR = 0.25
"""Of a path's change, the share far from the region above which surroundings count as used."""
LEAST = 6
"""Fewer starts that flip and in which a descriptor is defined, and it is not tested."""
CLAIMED = ("as in the data", "against the data", "absent in the data", "not known in the data")
"""The conclusions that are findings."""
SHORT = "too short to tell"
"""The conclusion where a path of this length could not move the descriptor anyway."""


@dataclass(frozen=True)
class Cue:
    """One descriptor on one kind of path, over the `n` starts that flip in pixels.

    `pixel` is the change on the pixel path, `phase` that on the phase path over starts that flip in
    phases too (both without interval for fewer than `LEAST`); `change` has means over the n starts
    by walk, all in SD, nan where a walk was not measured; `reach` is the larger change, up or down,
    of the two null paths, mean over starts; `natural` the difference in the data, towards the
    path's end; `word` the conclusion, `reason` why nothing was asked.
    """

    route: Route
    descriptor: str
    n: int
    pixel: Estimate
    phase: Estimate
    change: dict[str, float]
    per_length: float
    reach: float
    natural: float
    test: Test | None = None
    word: str = ""
    reason: str = ""

    @property
    def needs(self) -> str:
        """Why it is not testable, where it is not."""
        return self.test.needs if self.test is not None else self.reason


@dataclass(frozen=True)
class Outside:
    """Of n starts of one kind: mean `share` of the pixel path's change that lies far from the
    region (outside of it and of its ring), that of the shuffled network's path, and the test of
    their difference.
    """

    route: Route
    n: int
    share: Estimate
    shuffled: float
    test: Test


@dataclass(frozen=True)
class Assessed:
    """What the paths show: `spread` [m] is each descriptor's standard deviation, or nan."""

    cues: tuple[Cue, ...]
    outside: tuple[Outside, ...]
    spread: Floats


ASSESSED = Key("assessed", Assessed)


def assess(study: DeepDream, context: Context, known: Known) -> Known:
    """Which descriptors change on the paths, and how much of the change is far from the region."""
    survey, travelled = known[SURVEY], known[TRAVELLED]
    spread = spread_of(survey, travelled)
    return ASSESSED(
        Assessed(
            find_cues(study, survey, travelled, spread, context.seed),
            outside(survey, travelled, context.seed),
            spread,
        )
    )


def find_cues(
    study: DeepDream, survey: Survey, travelled: Travelled, spread: Floats, seed: int
) -> tuple[Cue, ...]:
    """Every descriptor on every kind of path, all tested together."""
    starts = survey.sampling.named(travelled.sample)
    measured = []
    for number, route in enumerate(survey.routes):
        natural = natural_contrast(survey, travelled, number, spread)
        own = travelled.route == number
        for m, name in enumerate(NAMES):
            if name not in RELATIVE:
                contrast = (float(natural[m]), float(spread[m]))
                measured.append(_measured(study, route, travelled, starts, own, m, contrast))
    tests = iter(_judge_both([asked for _, asked in measured if asked], seed))
    cues = [replace(cue, test=next(tests) if asked else None) for cue, asked in measured]
    return tuple(replace(cue, word=conclusion(study, cue)) for cue in cues)


Asked = tuple[Question, ...]


def _measured(
    study: DeepDream,
    route: Route,
    travelled: Travelled,
    starts: Sampling,
    own: np.ndarray,
    m: int,
    contrast: tuple[float, float],
) -> tuple[Cue, Asked]:
    """Descriptor m over the starts of a route (booleans `own` [s]), and what is asked of it: does
    the pixel path's sensitivity differ from each null path's? Of few starts nothing is asked.
    """
    natural, spread = contrast
    phi = travelled.described[..., m]
    change = (phi[:, :, -1] - phi[:, :, 0]) / spread
    moved = (travelled.ended[:, :2] > 0).all(1)
    ended = travelled.flipped[:, :2, -1] >= study.flip - 1e-9
    compared = np.isfinite(change[:, 3])
    good = own & np.isfinite(change[:, :3]).all(1) & moved & ended[:, 0]
    if (good & compared).sum() >= min(LEAST, good.sum()):
        good &= compared
    change, phases, sampling = change[good], ended[good, 1], starts.at(good)
    rate = change / np.maximum(travelled.length[good], 1e-9)
    cue = Cue(
        route,
        list(NAMES)[m],
        len(change),
        _estimate(change[:, 0], sampling),
        _estimate(change[phases, 1], sampling.at(phases)),
        {walk: _average(change[:, k]) for k, walk in enumerate(WALKS)},
        _average(rate[:, 0]),
        _average(np.abs(change[:, 2:]).max(1)),
        natural,
        reason=_reason(len(change), int(compared[good].sum())),
    )
    if cue.reason:
        return cue, ()
    return cue, tuple(Question(rate[:, 0] - rate[:, null], sampling) for null in (2, 3))


def _reason(starts: int, compared: int) -> str:
    """Why nothing is asked: too few starts flip, or too few have a null path to compare with."""
    if starts < LEAST:
        return f"{LEAST} starts that flip in pixels"
    if compared < LEAST:
        return "a network that does not put out NaN or infinity with its weights shuffled"
    return ""


def _judge_both(asked: Sequence[Asked], seed: int) -> list[Test]:
    """Whether the pixel path differs from the smooth and from the shuffled one: a test for each."""
    smooth, shuffled = ([each[null] for each in asked] for null in (0, 1))

    def singly(questions: Sequence[Question], side: Side, seed: int, _: Also) -> list[Test]:
        return by_bh(questions, side, seed, [by_bh(shuffled, side, seed)])

    jointly = by_joint_flips(shuffled, "two", seed)
    return judge(smooth, side="two", seed=seed, policy=few(singly), also=[jointly])


def _estimate(values: Floats, sampling: Sampling) -> Estimate:
    """The mean, without an interval where the starts are fewer than `LEAST`."""
    mean = sampling.mean(values)
    return mean if len(values) >= LEAST else replace(mean, low=NAN, high=NAN)


def _average(values: Floats) -> float:
    return float(values.mean()) if len(values) else NAN


def natural_contrast(
    survey: Survey, travelled: Travelled, number: int, spread: np.ndarray
) -> np.ndarray:
    """How the path's end differs from its start in the data, in SD, [m]; nan where not known."""
    route, natural = survey.routes[number], survey.natural
    target = mean_of(natural.get(route.target))
    if route.kind != "vanish":
        own = travelled.described[travelled.route == number][:, 0, 0]
        start = mean_of(natural.get(route.source) if route.kind == "become" else own)
        return np.asarray((target - start) / spread)
    others = [mean_of(rows) for c, rows in sorted(natural.items()) if c != route.target]
    if not others:  # one class and a background: regions into which the class was to be brought
        empty = [("appear", route.target) == (each.kind, each.target) for each in survey.routes]
        others = [
            mean_of(travelled.described[travelled.route == n][:, 0, 0])
            for n in np.flatnonzero(empty)
        ]
    rest = mean_of(np.stack(others)) if others else mean_of(None)
    return np.asarray((rest - target) / spread)


def spread_of(survey: Survey, travelled: Travelled) -> np.ndarray:
    """Standard deviation [m] of each descriptor over regions in the data and at starts, or nan."""
    starts = travelled.described[:, 0, 0]
    rows = np.concatenate([*(rows for _, rows in sorted(survey.natural.items())), starts])
    count = np.isfinite(rows).sum(0)
    away = rows - mean_of(rows)
    spread = np.sqrt(np.nansum(away**2, axis=0) / np.maximum(count, 1))
    return np.asarray(np.where((count > 1) & (spread > 1e-9), spread, np.nan))


def outside(survey: Survey, travelled: Travelled, seed: int) -> tuple[Outside, ...]:
    """Where paths change the image: the network's own against those of the shuffled network."""
    starts = survey.sampling.named(travelled.sample)
    far = 1 - travelled.described[:, :, -1, list(NAMES).index("change_near")]
    known = np.isfinite(far[:, [0, 3]]).all(1)
    rows = {route: known & (travelled.route == k) for k, route in enumerate(survey.routes)}
    rows = {route: good for route, good in rows.items() if good.sum() >= LEAST}
    asked = [Question(far[good, 0] - far[good, 3], starts.at(good)) for good in rows.values()]
    tests = judge(asked, side="greater", seed=seed)
    return tuple(
        Outside(
            route,
            int(good.sum()),
            starts.at(good).mean(far[good, 0]),
            float(far[good, 3].mean()),
            test,
        )
        for (route, good), test in zip(rows.items(), tests, strict=True)
    )


def mean_of(rows: np.ndarray | None) -> np.ndarray:
    """Means [m] of rows [r, m] without nan; nan where there is nothing."""
    return np.full(len(NAMES), np.nan) if rows is None else finite_mean(rows, 0)


def conclusion(study: DeepDream, cue: Cue) -> str:
    """In words: what a descriptor's change on the path, set against the data, means."""
    if cue.test is None or not cue.test.testable:
        return "not testable"
    pixel, phase = cue.change["pixel"], cue.change["phase"]
    agree = np.sign(pixel) == np.sign(phase)
    large = min(abs(pixel), abs(phase)) >= study.smallest
    beyond = all(
        abs(pixel) > abs(cue.change[null]) or np.sign(pixel) != np.sign(cue.change[null])
        for null in ("smooth", "shuffled")
    )
    short = cue.reach < study.smallest
    if cue.test.passed and agree and beyond:
        return _against_the_data(cue) if large else SHORT if short else "no finding"
    greatly = np.isfinite(cue.natural) and abs(cue.natural) >= LARGE
    if not cue.test.passed and greatly and cue.descriptor not in PREDICTED:
        if short:
            return SHORT
        if cue.pixel.within(study.smallest) and cue.phase.within(study.smallest):
            return "ignored"
    return "no finding"


def _against_the_data(cue: Cue) -> str:
    """Of a change that counts, whether the classes differ so in the data."""
    if cue.descriptor in PREDICTED:
        return "prediction"
    if not np.isfinite(cue.natural):
        return "not known in the data"
    if abs(cue.natural) >= PRESENT:
        same = np.sign(cue.natural) == np.sign(cue.change["pixel"])
        return "as in the data" if same else "against the data"
    return "absent in the data"
