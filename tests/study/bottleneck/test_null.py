"""Where nothing is there, findings claim anything in at most one data set of twenty."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.evaluate import Fitted, flagging, standings
from conceptseg.study.bottleneck.findings import flag_findings, slice_finding, standing_findings
from conceptseg.study.bottleneck.slices import judged_slices

STUDY = SimpleNamespace(budget=0.1, quality="iou")
SETS = ("layer", "confidence", "both")


class Nothing:
    """Images in groups, whose quality all sets predict equally well, and slices of no effect."""

    def __init__(self, seed, groups, per):
        self.rng = np.random.default_rng([groups, seed])
        self.seed, self.groups, self.place = seed, groups, np.repeat(np.arange(groups), per)
        self.quality = 1 / (1 + np.exp(-self.noise()))
        self.predicted = {name: self.quality[None] + 0.2 * self.noise() for name in SETS}

    def noise(self):
        """Of each image, and shared by the images of a group; the spreads of groups differ."""
        scale, own = self.rng.exponential(size=self.groups), self.rng.normal(size=self.groups)
        return (scale * own)[self.place] + scale[self.place] * self.rng.normal(size=len(self.place))

    def sampling(self, draws):
        ids = tuple(f"{number:04d}" for number in range(len(self.place)))
        return Sampling(ids, tuple(f"{g:03d}" for g in self.place), "groups", self.seed, draws)

    def standing(self):
        fitted = {name: Fitted(one, (), ("ridge",)) for name, one in self.predicted.items()}
        baseline = self.quality[None] + 0.3
        return standing_findings(
            standings(fitted, baseline, self.quality, self.sampling(1), self.seed)
        )

    def flags(self):
        scores = self.predicted | {"raw": self.quality[None]}
        options = {"below": None, "budget": 0.1, "reference": "confidence"}
        return flag_findings(STUDY, flagging(scores, self.quality, self.sampling(100), **options))

    def slices(self):
        kinds = {("a", f"w{k}"): self.rng.random(len(self.place)) < 0.4 for k in range(6)}
        for k in range(6):
            kinds["a", f"b{k}"] = (self.rng.random(self.groups) < 0.5)[self.place]
        q, sampling = self.quality, self.sampling(1)
        slices = judged_slices(kinds, q, q, sampling, least=4, seed=self.seed)
        return [slice_finding(one) for one in slices]


def false_claims(family, sets, groups, per):
    """The share of data sets in which anything of a family counts as evidence."""
    every = [getattr(Nothing(seed, groups, per), family)() for seed in range(sets)]
    return float(np.mean([any(f.standing == "evidence" for f in own) for own in every]))


@pytest.mark.parametrize(("groups", "per"), [(6, 8), (9, 5), (30, 2)])
def test_merit_of_the_layer_is_claimed_falsely_in_one_data_set_of_twenty(groups, per):
    sets = 80
    bound = 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
    assert false_claims("standing", sets, groups, per) <= bound


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "per"), [(6, 8), (30, 2)])
def test_better_flags_are_claimed_falsely_in_one_data_set_of_twenty(groups, per):
    assert false_claims("flags", 60, groups, per) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


if __name__ == "__main__":  # python -m tests.study.bottleneck.test_null FAMILY SETS
    for sizes in ((4, 10), (6, 8), (8, 6), (9, 5), (13, 4), (30, 2)):
        print(*sizes, false_claims(sys.argv[1], int(sys.argv[2]), *sizes), flush=True)
