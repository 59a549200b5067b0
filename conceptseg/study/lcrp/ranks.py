"""Third sweep of L-CRP: which channels networks of shuffled weights rely on, on a few images."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.lrp.engine import Run
from conceptseg.explain.lrp.start import Quantity, relevance_of_logits
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen, best_channels
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import ENGINES, TWINS, predict, regions
from conceptseg.study.shared.sweep import One, Sweep

RANKS = Key("rank shares", SampleTable)
RANKED: Key[dict[tuple[int, int], tuple[int, ...]]] = Key("ranked", dict)
"""By shuffled network and class, the channels that are looked at."""


@dataclass(frozen=True)
class TwinSweep(Sweep):
    """A sweep that runs the network's shuffled twins, which live as long as it does."""

    study: Lcrp

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        twin = known[ENGINES].twin
        yield TWINS(cache(lambda number: twin(context.seed + number)))


@dataclass(frozen=True)
class Ranks(TwinSweep):
    """Per shuffled network a pass of the image, and relevance down to the layer for each class.

    Images in which more of the relevance speaks against a class than for it are left out: nothing
    there is evidence of the class, in the network or out of it.
    """

    name = "ranks"
    cost = "per shuffled network, 1 forward + 1 backward of the part after the layer per class"
    rows = RANKS

    def wanted(self, known: Known) -> Collection[str]:
        return compared_images(self.study, known[CHOSEN_PAIRS])

    def forwards(self, context: Context) -> float:
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.shuffled_images)
        return 2.5 * study.shuffled_networks * classes * images

    def look(self, context: Context, one: One, known: Known) -> Tables:
        chosen = known[CHOSEN_PAIRS]
        where = compared_regions(self.study, context, chosen, one)
        keys, shares = [], []
        for number in range(self.study.shuffled_networks):
            if (twin := known[TWINS](number)) is None:
                continue
            run = twin.run(one.image, [context.layer])
            for class_id, region in where.items():
                held = shuffled_relevance(run, region, class_id, context.layer)
                values = held.double().sum((0, 2, 3)).cpu().numpy()
                if values.sum() > 0:
                    keys.append((number, class_id))
                    shares.append(values / np.abs(values).sum())
        return {
            "key": np.array(keys, np.int64).reshape(-1, 2),
            "share": np.array(shares, np.float64).reshape(-1, chosen.units),
        }


def rank(study: Lcrp, context: Context, known: Known) -> Known:
    """The channels that each shuffled network relies on for each class, most relevant first."""
    shares: dict[tuple[int, int], list[np.ndarray]] = {}
    for one in known.get(RANKS, SampleTable.empty()).tables.values():
        for (number, class_id), share in zip(one["key"].tolist(), one["share"], strict=True):
            shares.setdefault((number, class_id), []).append(share)
    return RANKED(
        {pair: able_channels(np.mean(each, 0), study.concepts) for pair, each in shares.items()}
    )


def able_channels(share: np.ndarray, count: int) -> tuple[int, ...]:
    """Of channels' mean shares of relevance [u], the best that hold more than an even share.

    Channels that hold next to nothing have scores that vary widely, in every network.
    """
    return tuple(k for k in best_channels(share, count) if share[k] * len(share) > 1)


def compared_images(study: Lcrp, chosen: Chosen) -> set[str]:
    """The images on which shuffled networks are looked at."""
    return {s for c in chosen.classes for s in compared_of(study, chosen, c)}


def compared_of(study: Lcrp, chosen: Chosen, class_id: int) -> tuple[str, ...]:
    """Those of one class, which are among its images drawn at random."""
    return chosen.drawn(class_id, min(study.random_images, study.shuffled_images))


def compared_regions(study: Lcrp, context: Context, chosen: Chosen, one: One) -> dict[int, Tensor]:
    """The predicted region of each class for which an image is one of these."""
    mine = tuple(c for c in chosen.classes if one.id in compared_of(study, chosen, c))
    return regions(predict(context, one.image)[0], mine) if mine else {}


def shuffled_relevance(run: Run, region: Tensor, class_id: int, layer: str) -> Tensor:
    """A shuffled network's relevance at the layer: logits mean nothing there, not by their sign."""
    found = run.at_layers(shuffled_start(run, region, class_id), [layer])[0]
    return found * found.double().sum().sign().to(found) if run.compares else found


def shuffled_start(run: Run, region: Tensor, class_id: int) -> Tensor:
    """A shuffled network's relevance at the logits; of changes its sign means nothing."""
    # Of changes the quotient of 1 and one near zero would be large without bound, so they count as
    # they are, and their sign is taken from what reaches the layer.
    quantity: Quantity = "logit" if run.compares else "one"
    return relevance_of_logits(run.evidence, region, class_id, quantity)
