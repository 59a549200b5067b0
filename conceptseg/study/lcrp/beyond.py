"""What lies where on maps, held against what networks that have learnt nothing show there."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Question, Test, by_joint_flips, judge

NETWORKS_SHARE = 0.8
"""Part of the level that the test over shuffled networks may spend, since these are few, and images
many; the test over images has the rest. Claims that lack this effect and claims that lack that one
may each come up by chance, so the two tests share one level."""
Verdict = Literal["acts", "less than chance", "cannot be told"]
"""None says that nothing acts from there: maps can show that, and never refute it."""


@dataclass(frozen=True)
class BeyondChance(ABC):
    """The share of maps that lies somewhere, its `level`, and by how much it exceeds chance.

    `over_shuffled`, `over_field`: its paired excess, image by image, over what shuffled networks
    show and over an even spread over the receptive field.

    `over_images`, one-sided by sign flips, corrected for all that is asked: whether new images
    would show an excess over shuffled networks, or, where fewer than three have relevance
    (`over_shuffled` is nan then), over the field; None where it is not tested. `p_networks`:
    whether a shuffled network has any such share so far above their mean, corrected by its making;
    `needed`: the excess from which on it is small enough with power 0.8.
    """

    over_shuffled: Estimate
    over_field: Estimate
    over_images: Test | None
    p_networks: float
    needed: float

    @property
    @abstractmethod
    def level(self) -> Estimate:
        """The share itself, in [0, 1]."""

    @property
    def acts(self) -> bool:
        """Whether it acts from there: more of its map is than of networks that have learnt nothing,
        significantly so after correction, and more than of an even spread over the receptive
        field."""
        shown = self.test is not None and self.test.passed
        return shown and self.excess.value > 0 and self.over_field.value > 0

    @property
    def verdict(self) -> Verdict:
        """Whether it acts from there, or else whether its maps hold less there than comes by chance
        (all of an interval lies below one of the two baselines).

        That is no evidence of the contrary: what the network rests on by its absence, or because
        it silences another class, lies on no map, and a channel that mixes object and context may
        act from both.
        """
        if self.acts:
            return "acts"
        below = self.over_shuffled.below(0) or self.over_field.below(0)
        return "less than chance" if below else "cannot be told"

    @property
    def shuffled(self) -> bool:
        """Whether there are shuffled networks to compare with."""
        return bool(np.isfinite(self.over_shuffled.value))

    @property
    def excess(self) -> Estimate:
        """What the tests are about: the excess over shuffled weights, or else the even spread."""
        return self.over_shuffled if self.shuffled else self.over_field

    @property
    def test(self) -> Test | None:
        """The test of the claim, over images and over shuffled networks: the larger p of the two,
        each corrected for its share of the level.

        That over networks is corrected for all channels by its making. Where there are shuffled
        networks to compare with and the channel was not, p is nan: what was not tested does not
        pass.
        """
        test = self.over_images
        if test is None:
            return None
        # No more of a map than all of it can lie outside of the object.
        room = 1 - (self.level.value - self.excess.value)
        if not self.shuffled:
            return test.capped(room)
        shared = self.p_networks / NETWORKS_SHARE
        return replace(
            test,
            p=float(np.maximum(test.p, self.p_networks)),
            adjusted=float(np.minimum(1.0, np.maximum(test.adjusted, shared))),
            detectable=float(np.maximum(test.detectable, self.needed)),
        ).capped(room)


def judged(
    questions: dict[tuple[int, int], Question], seed: int, share: float = 1.0
) -> dict[tuple[int, int], Test]:
    """Whether new images would show an excess, all of them tested together, at a
    `share` of the level."""
    policy = partial(by_joint_flips, share=share)
    tests = judge([*questions.values()], side="greater", seed=seed, policy=policy)
    return dict(zip(questions, tests, strict=True))
