"""Relevance mass and rank: how much of a map lies where it is expected."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Measured, Trial
from conceptseg.explain.metrics._base import StrengthMetric, Within, share, surroundings
from conceptseg.explain.target import FixedTarget


@technique(family="localisation", source="Arras et al. 2022, arXiv:2003.07258")
class RelevanceMass(StrengthMetric):
    """Share of a map's mass, or of its top pixels, in the region or in a known context.

    For the set G, `mass`: sum of S over G / sum of S, with S the map's positive part (or absolute
    values); `rank`: the share of the |G| most salient pixels that lie in G, where pixels that tie
    for the last places share them. In [0, 1]; by chance |G| over the image's area. No pass. nan
    where the region or G is empty, or the map has no mass.

    It cannot tell whether the network uses what lies in G: a copy of the prediction's mask scores
    1 in the region. Where the truth is known, ask of the context that was planted.

    Source: Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation
    of neural network explanations", Information Fusion 81, 2022, arXiv:2003.07258, section 3.
    """

    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    within: Within = Field("region", description="Where the map is expected to lie.")
    read: Literal["mass", "rank"] = Field("mass", description="What is shared out.")

    def judge(self, trial: Trial, region: FixedTarget) -> Measured:
        strength = self.strength(trial.attributions)
        expected = surroundings(self, trial, region, self.within)
        total = strength.sum((1, 2))
        if self.read == "mass":
            found = share((strength * expected).sum((1, 2)), total)
        else:
            found = top_share(strength.flatten(1), expected.flatten(1))
        nowhere = (total <= 0) | ~expected.any(2).any(1)
        return Measured(found.masked_fill(nowhere, float("nan")))


def top_share(values: Tensor, expected: Tensor) -> Tensor:
    """Share of the largest values [n, p], as many as are expected [n, p], that are expected.

    Of values that tie for the last places, each fills the same part of one.
    """
    count = expected.sum(1, keepdim=True)
    ordered = values.sort(1, descending=True).values
    last = ordered.gather(1, (count - 1).clamp(min=0))
    above, tied = values > last, values == last
    places = count - above.sum(1, keepdim=True)
    part = places / tied.sum(1, keepdim=True)
    taken = above * torch.ones_like(part) + tied * part
    return ((taken * expected).sum(1, keepdim=True) / count)[:, 0]
