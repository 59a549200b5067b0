"""The smallest edit of an image that turns a region into another class, group by group.

The linear model of the score at an edit t says which step is the smallest that reaches a margin of
zero, within the parameters of some groups: t - (margin + a little) g / |g|^2, g the gradient. Of a
linear generator and network one such step is the answer, the projection onto the hyperplane where
the score is even; of others it is repeated from where it led to, cut off at the bounds and at a
length, until the region flips. What flips is shrunk along its line as far as it stays so.

Source: Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool", CVPR 2016, for the linearised step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from conceptseg.explain.generate import Code, Group
from conceptseg.explain.noise import generator
from conceptseg.explain.scene import Scene
from conceptseg.network.label_map import label_map

NEARLY = 0.999
"""Part of the margin that is asked for which is enough: the rest is rounding."""
LEAST = 0.05
"""Logits that a step aims at, at least."""
LONGEST = 0.25
"""Longest step, root mean square over the parameters that may change."""
FACTORS = 16
"""Lengths to which an edit that flips is shrunk, twice."""
KEPT = 0.5
"""Share of the region below which the class counts as gone, where no other is asked for."""
WON = 0.25
"""Share of the region that the other class has to hold."""
MOST = 4000
"""Choices that are tried at once, of groups that have no slope."""


@dataclass(frozen=True)
class Flip:
    """The event: region [h, w] of class `was` becomes class `to`, or any other where that is None.

    `clean` [h, w] is the prediction of the image itself. `to` has won when it holds at least a
    quarter of the region, for an edit may draw another shape, and more of it than is left of
    `was`: there, or wherever pixels have newly become that, for an edit may move what it edits.
    What becomes `to` elsewhere is no matter of the region.
    """

    was: int
    to: int | None
    region: Tensor
    clean: Tensor

    def happened(self, logits: Tensor) -> Tensor:
        """Booleans [m] of logits [m, k, h, w]."""
        found = label_map(logits)
        left = ((found == self.was) & (self.region | (self.clean != self.was))).sum((1, 2))
        if self.to is None:
            return left < KEPT * self.region.sum()
        won = ((found == self.to) & self.region).sum((1, 2))
        return (won > left) & (won >= WON * self.region.sum())

    def margin(self, logits: Tensor) -> Tensor:
        """Mean over the region of the class's logit less that of `to`, or of its best rival: [m].

        At 0 the scores are even; the network calls the region `was` above it.
        """
        rows = logits[:, :, self.region]
        if self.to is not None:
            return (rows[:, self.was] - rows[:, self.to]).mean(1)
        others = torch.cat((rows[:, : self.was], rows[:, self.was + 1 :]), 1)
        return (rows[:, self.was] - others.amax(1)).mean(1)


@dataclass(frozen=True)
class Guard:
    """What an edit has to bear: to be rounded to 8 bits, and Gaussian noise of deviation `spread`
    in the share `holds` of `draws` copies. Draws hang on `key` alone."""

    draws: int
    spread: float
    holds: float
    key: str

    def tried(self, scene: Scene, flip: Flip, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of edited images [m, c, h, w] whether they flip in 8 bits, booleans [m], and in which
        share of noisy copies, [m]."""
        source = generator("noise of counterfactuals", self.key)
        noise = torch.randn((self.draws, *images.shape[1:]), generator=source).to(images)
        copies = (images[:, None] + self.spread * noise).clamp(0, 1)
        every = torch.cat(((images * 255).round()[:, None] / 255, copies), 1).flatten(0, 1)
        held = torch.cat([flip.happened(scene.forward(p)) for p in every.split(scene.batch_size)])
        held = held.unflatten(0, (len(images), 1 + self.draws))
        return held[:, 0], held[:, 1:].float().mean(1)

    def passed(self, scene: Scene, flip: Flip, images: Tensor) -> Tensor:
        """Booleans [m]: what holds in either."""
        eight, share = self.tried(scene, flip, images)
        return eight & (share >= self.holds)


@dataclass(frozen=True)
class Edit:
    """An edit of some groups: parameters [d], whether it flips the region, its size (root mean
    square of what it changes, in units of what is allowed) and the margin that is left."""

    groups: tuple[Group, ...]
    theta: Tensor
    flipped: bool
    size: float
    margin: float


def search(
    scene: Scene,
    code: Code,
    flip: Flip,
    sets: Sequence[Sequence[Group]],
    steps: int,
    beyond: float = 0.05,
    guard: Guard | None = None,
) -> list[Edit]:
    """For each set of groups the smallest edit found that flips the region, else the nearest try.

    The margin has to be `beyond` the even score, in logits: what is on its edge falls to either
    side with the next rounding. With a `guard` the edit has to pass it, too; while it does not,
    twice as much is asked for each time. `scene` bounds how many images go through the network at
    once, and counts them.
    """
    finite = [all(code.choices(group) is not None for group in groups) for groups in sets]
    sloped = [groups for groups, whole in zip(sets, finite, strict=True) if not whole]
    every = _descended(scene, code, flip, sloped, steps, beyond, guard) if sloped else []
    found = iter(every)
    return [
        _tried(scene, code, flip, groups) if whole else next(found)
        for groups, whole in zip(sets, finite, strict=True)
    ]


def _descended(
    scene: Scene,
    code: Code,
    flip: Flip,
    sets: Sequence[Sequence[Group]],
    steps: int,
    beyond: float,
    guard: Guard | None,
) -> list[Edit]:
    free = code.masks(sets)
    theta = code.low.new_zeros(free.shape)
    best, least = theta.clone(), theta.new_full((len(sets),), float("inf"))
    done, ended = torch.zeros(2, len(sets), dtype=torch.bool, device=theta.device)
    asked = theta.new_full((len(sets),), beyond)
    past = list[tuple[Tensor, Tensor]]()
    for row, groups in enumerate(sets):
        if (corner := _corner(scene, code, flip, groups, beyond, guard)) is not None:
            best[row], done[row] = corner, True
    for step in range(steps + 1):
        rows = torch.nonzero(~done & ~ended)[:, 0]
        if not len(rows):
            break
        past.append((theta.clone(), asked.clone()))
        margin, slope, happened = _looked(scene, code, flip, theta[rows])
        flipped = happened & (margin <= -asked[rows] * NEARLY)
        if guard is not None and bool(flipped.any()):
            asked[rows[flipped]] *= 2
            with torch.no_grad():
                images = code.render(theta[rows[flipped]])
            flipped[flipped.clone()] = guard.passed(scene, flip, images)
        better = flipped | (margin < least[rows])
        best[rows[better]], least[rows[better]] = theta[rows[better]], margin[better]
        done[rows[flipped]] = True
        if step == steps:
            break
        moved = _moved(code, theta[rows], margin + asked[rows], slope, free[rows])
        # What comes back to where it was, at bounds or without a slope at the next step already,
        # and is asked for as much, goes the same way again for ever.
        back = [(moved == at[rows]).all(1) & (asked == of)[rows] for at, of in past]
        ended[rows] = torch.stack(back).any(0)
        theta[rows] = moved
    edits = []
    for row, groups in enumerate(sets):
        point, length = best[row], float("nan")
        if done[row]:
            point, length = _shrunk(scene, code, flip, point, beyond * NEARLY, guard)
        size = float(code.distance(point[None])[0])
        left = float(least[row]) if not done[row] else length
        edits.append(Edit(tuple(groups), point, bool(done[row]), size, left))
    return edits


def _corner(
    scene: Scene,
    code: Code,
    flip: Flip,
    groups: Sequence[Group],
    beyond: float,
    guard: Guard | None,
) -> Tensor | None:
    """Of the edits that the groups name themselves, one that flips and passes: of least margin."""
    named = [one for group in groups for one in code.corners(group)]
    if not named:
        return None
    every = torch.stack(named)
    with torch.no_grad():
        images = code.render(every)
    logits = scene.forward(images)
    margin = flip.margin(logits)
    good = flip.happened(logits) & (margin <= -beyond * NEARLY)
    if guard is not None and bool(good.any()):
        good[good.clone()] = guard.passed(scene, flip, images[good])
    if not bool(good.any()):
        return None
    return every[int(margin.masked_fill(~good, torch.inf).argmin())]


def _looked(scene: Scene, code: Code, flip: Flip, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Margins [m], their slopes in the parameters [m, d], and which edits flip [m]."""
    margins, slopes, flips = [], [], []
    for part in theta.split(scene.batch_size):
        happened: list[Tensor] = []

        def score(logits: Tensor, kept: list[Tensor] = happened) -> Tensor:
            kept.append(flip.happened(logits.detach()))
            return flip.margin(logits)

        with torch.inference_mode(False), torch.enable_grad():
            entered = part.detach().clone().requires_grad_()
            images = code.render(entered)
            margin, gradient = scene.value_and_gradient(images.detach(), score)
            (slope,) = torch.autograd.grad(images, entered, gradient.to(images))
        margins.append(margin)
        slopes.append(slope)
        flips.append(happened[0])
    return torch.cat(margins), torch.cat(slopes), torch.cat(flips)


def _moved(code: Code, theta: Tensor, margin: Tensor, slope: Tensor, free: Tensor) -> Tensor:
    """The linearised step to a margin of 0.

    What stands at a bound and is pushed over it takes no part.
    """
    stuck = ((theta <= code.low) & (slope > 0)) | ((theta >= code.high) & (slope < 0))
    own = slope * (free & ~stuck)
    norm = own.square().sum(1, keepdim=True)
    # What is there already, but flips too little of the region, goes on by a little.
    wanted = margin[:, None].clamp(min=LEAST)
    step = -wanted * own / norm.masked_fill(norm == 0, torch.inf)
    longest = LONGEST * free.sum(1, keepdim=True).sqrt()
    length = step.norm(dim=1, keepdim=True)
    step = step * (longest / length.clamp(min=1e-30)).clamp(max=1)
    return (theta + step).clamp(code.low, code.high)


def _shrunk(
    scene: Scene, code: Code, flip: Flip, theta: Tensor, beyond: float, guard: Guard | None
) -> tuple[Tensor, float]:
    """The shortest of `FACTORS` lengths of an edit that flips as well, then of as many between it
    and the next shorter one; and its margin."""
    below, above = 0.0, 1.0
    for _ in range(2):
        parts = torch.arange(1, FACTORS + 1, device=theta.device).to(theta) / FACTORS
        factors = below + (above - below) * parts
        factors[-1] = above
        with torch.no_grad():
            images = code.render(factors[:, None] * theta)
        logits = scene.forward(images)
        good = flip.happened(logits) & (flip.margin(logits) <= -beyond)
        good[-1] = True  # it was so before; another batch may round otherwise
        # One after the other: the guard takes many passes, and the first that bears it is sought.
        first = next(
            place
            for place in torch.nonzero(good)[:, 0].tolist()
            if place == FACTORS - 1
            or guard is None
            or bool(guard.passed(scene, flip, images[place : place + 1])[0])
        )
        below, above = float(factors[first - 1]) if first else below, float(factors[first])
        left = float(flip.margin(logits[first : first + 1])[0])
    return above * theta, left


def _tried(scene: Scene, code: Code, flip: Flip, groups: Sequence[Group]) -> Edit:
    """Of all choices of some groups together, the one that flips with the least margin left for
    the class; else the nearest."""
    each = [code.choices(group) for group in groups]
    rows = [sum(parts[1:], parts[0]) for parts in product(*each)]  # type: ignore[arg-type]
    every = torch.stack(rows[:MOST]) if rows else code.low[None].clone()
    margins, flips = [], []
    for part in every.split(scene.batch_size):
        logits = scene.forward(code.render(part))
        margins.append(flip.margin(logits))
        flips.append(flip.happened(logits))
    margin, flipped = torch.cat(margins), torch.cat(flips)
    ranked = margin.masked_fill(~flipped, torch.inf) if bool(flipped.any()) else margin
    at = int(ranked.argmin())
    size = float(code.distance(every[at][None])[0])
    return Edit(tuple(groups), every[at], bool(flipped[at]), size, float(margin[at]))


def random_edits(code: Code, edit: Edit, count: int, key: str) -> Tensor:
    """Edits [count, d] of the same groups and size, in random directions within the bounds."""
    free = code.masks([edit.groups])[0]
    source = generator("random edits", key)
    drawn = torch.rand((count, len(free)), generator=source).to(edit.theta)
    drawn = (code.low + drawn * (code.high - code.low)) * free
    size = code.distance(drawn)[:, None]
    return (drawn * edit.size / size.masked_fill(size == 0, torch.inf)).clamp(code.low, code.high)
