"""Third sweep of L-CRP: which channels networks of shuffled weights rely on, on a few images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Carry, Context, State
from conceptseg.explain.lrp.start import Quantity, relevance_of_logits
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.choose import Chosen, best_channels
from conceptseg.study.lcrp.engines import Sweep, predict, regions

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.explain.lrp.engine import Run
    from conceptseg.study.lcrp.config import Lcrp


class Ranks(Sweep):
    """Per shuffled network a pass of the image, and relevance down to the layer for each class.

    Images in which more of the relevance speaks against a class than for it are left out: nothing
    there is evidence of the class, in the network or out of it.
    """

    name = "ranks"
    cost = "per shuffled network, 1 forward + 1 backward of the part after the layer per class"
    labels = "none"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        return self._only(context, compared_images(self.study, carry["chosen"]))

    def forwards(self, context: Context) -> float:
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.shuffled_images)
        return 2.5 * study.shuffled_networks * classes * images

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            where = compared_regions(self.study, context, chosen, sample_id, image)
            keys, shares = [], []
            for number in range(self.study.shuffled_networks):
                run = self._engines.shuffled(context, image, number).run(image, [context.layer])
                for class_id, region in where.items():
                    held = shuffled_relevance(run, region, class_id, context.layer)
                    values = held.double().sum((0, 2, 3)).cpu().numpy()
                    if values.sum() > 0:
                        keys.append((number, class_id))
                        shares.append(values / np.abs(values).sum())
            one = {
                "key": np.array(keys, np.int64).reshape(-1, 2),
                "share": np.array(shares, np.float64).reshape(-1, chosen.units),
            }
            table = table.merge(SampleTable.of(sample_id, one))
        return {"ranks": table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("ranks", SampleTable.empty())
        assert isinstance(table, SampleTable)
        shares: dict[tuple[int, int], list[np.ndarray]] = {}
        for sample_id in table.ids:
            one = table.tables[sample_id]
            for (number, class_id), share in zip(one["key"].tolist(), one["share"], strict=True):
                shares.setdefault((number, class_id), []).append(share)
        return {
            "ranked": {
                key: able_channels(np.mean(each, 0), self.study.concepts)
                for key, each in shares.items()
            }
        }


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


def compared_regions(
    study: Lcrp, context: Context, chosen: Chosen, sample_id: str, image: Tensor
) -> dict[int, Tensor]:
    """The predicted region of each class for which an image [1, c, h, w] is one of these."""
    mine = tuple(c for c in chosen.classes if sample_id in compared_of(study, chosen, c))
    return regions(predict(context, image)[0], mine) if mine else {}


def shuffled_relevance(run: Run, region: Tensor, class_id: int, layer: str) -> Tensor:
    """A shuffled network's relevance at the layer: logits mean nothing there, not by their sign."""
    # Of changes the quotient of 1 and one near zero would be large without bound, so they count as
    # they are, and their sign is taken from what reaches the layer.
    quantity: Quantity = "logit" if run.compares else "one"
    start = relevance_of_logits(run.evidence, region, class_id, quantity)
    (found,) = run.at_layers(start, [layer])
    return found * found.double().sum().sign().to(found) if run.compares else found
