"""Second sweep: every pixel of the judged images, decided by the network and by its tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.columns import WORDS
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.grown import GROWN
from conceptseg.study.segnbdt.rules import Rules, entropy
from conceptseg.study.segnbdt.tree import random_tree
from conceptseg.study.segnbdt.tune import TUNING, run_with, tensors

FINE = 2**16
"""Confidences and entropies are counted in these parts of one, so that sums are exact."""
ROUNDING = 1e-4
"""By so much of a bin its edges lie lower, lest an even split fall on one and rounding decide."""
IMAGES, NODES = Key("images", SampleTable), Key("nodes", JointCounts)


@dataclass(frozen=True)
class Judged:
    """What was counted. Per image i, `joint[i]` [c, 3 + deciders] are the distinct combinations
    (truth or -1, at a boundary of the prediction, class by each of `deciders`, pixels); the keys of
    `WORDS` name the deciders.

    `hits` [i, n, 2]: pixels below each node, and those at which its own decision was right.
    `bins` [n, b, 3]: pixels, right ones, and the sum of confidences (in parts of `FINE`);
    `entropy` [n]: mean in nats. Where an image has no labels the network's class is the reference.
    `sampling` says what each image counts as.
    """

    ids: tuple[str, ...]
    deciders: tuple[str, ...]
    joint: tuple[np.ndarray, ...]
    hits: np.ndarray
    bins: np.ndarray
    entropy: np.ndarray
    labelled: np.ndarray
    sampling: Sampling

    def classes_of(self, image: int, decider: str) -> np.ndarray:
        return np.asarray(self.joint[image][:, 2 + self.deciders.index(decider)])

    @cached_property
    def any_labels(self) -> bool:
        return bool(self.labelled.any())

    def confusion(self, first: str, second: str, k: int, boundary: bool = False) -> np.ndarray:
        """Pixels of each image by two classes, int64 [i, k, k]; "truth" names the labels.

        Pixels without a label are left out where one of the two is the truth; with `boundary` only
        pixels at a boundary of the prediction count.
        """
        counts = np.zeros((len(self.joint), k * k), np.int64)
        for i, rows in enumerate(self.joint):
            a, b = (
                rows[:, 0] if name == "truth" else self.classes_of(i, name)
                for name in (first, second)
            )
            good = (a >= 0) & (b >= 0) & ((rows[:, 1] == 1) | (not boundary))
            np.add.at(counts[i], a[good] * k + b[good], rows[good, -1])
        return counts.reshape(-1, k, k)

    def against_reference(self, decider: str, k: int) -> np.ndarray:
        """Counts [i, k, k] of labels by decided class; by the network's where there are none."""
        counts = self.confusion("truth", decider, k)
        if not self.labelled.all():
            counts[~self.labelled] = self.confusion("network", decider, k)[~self.labelled]
        return counts


JUDGED = Key("judged", Judged)


@dataclass(frozen=True)
class Judge(Pass):
    """One forward per image, a second one with tuned weights; counts only."""

    study: Segnbdt

    name = "judge"
    cost = "1 forward per judged image, 2 if tuned"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        judged = set(known[GROWN].judged)
        return context.manifest.named(judged)

    def forwards(self, context: Context) -> float:
        share = 1.0 if self.study.tune == "none" else 2 * (1 - self.study.build_share)
        return share * len(context.manifest.samples)

    def beside(self, context: Context, logits: Tensor) -> object:
        """An image's decisions, counted node by node; by a tree like any other."""
        rules = Rules(random_tree(logits.shape[1], np.random.default_rng(0)), logits)
        return _decided(rules, logits), nodes_at(
            rules, logits, label_map(logits)[0], self.study.bins
        )

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, k = self.study, len(context.model.classes)
        tables, counts = {}, JointCounts.empty()
        with torch.no_grad():
            logits = context.model(batch.images)
            rules = Rules(known[GROWN].tree, logits)
            decided = _decided(rules, logits)
            if TUNING in known:
                weights = tensors(known[TUNING].best, context)
                decided += _decided(rules, run_with(context, weights, batch.images))
            for i, sample_id in enumerate(batch.ids):
                one = [each[i] for each in decided]
                truth = torch.full_like(one[0], -1) if batch.labels is None else batch.labels[i]
                labelled = bool((truth >= 0).any())
                reference = truth if labelled else one[0]
                bins = nodes_at(rules, logits[i : i + 1], reference, study.bins)
                counts = counts.merge(JointCounts(bins))
                tables[sample_id] = {
                    "joint": joint(truth, near_edges(one[0], study.boundary_px), one, k),
                    "hits": np.stack([bins[:, -1, 0], bins[:, :-1, 1].sum(1)], 1)[None],
                    "labelled": np.array([labelled]),
                }
        return IMAGES(SampleTable.each(tables)) | NODES(counts)


def join_judgements(study: Segnbdt, context: Context, known: Known) -> Known:
    """The counts of all images, and what each image counts as."""
    table, counts = known[IMAGES], known[NODES].counts
    assert counts is not None  # there is an image at least
    groups = [context.manifest.sample(i).group for i in table.ids]
    last = counts[:, -1]
    judged = Judged(
        tuple(table.ids),
        tuple(WORDS)[: 6 if TUNING in known else 3],
        tuple(table.tables[i]["joint"] for i in table.ids),
        table.column("hits"),
        counts[:, :-1],
        last[:, 2] / FINE / np.maximum(last[:, 0], 1),
        table.column("labelled"),
        Sampling.counting(table.ids, groups, study.unit, study.seed),
    )
    return JUDGED(judged)


def _decided(rules: Rules, logits: Tensor) -> list[Tensor]:
    """Classes [n, h, w] by the network, and by its tree softly and hard."""
    soft, hard = rules.both(logits)
    return [label_map(logits), label_map(soft), hard]


def joint(truth: Tensor, edge: Tensor, decided: list[Tensor], k: int) -> np.ndarray:
    """Distinct rows (truth, edge, classes..., pixels), int64 [c, 3 + deciders], of one image."""
    code = (truth + 1) * 2 + edge.long()
    for one in decided:
        code = code * k + one
    codes, counts = torch.unique(code, return_counts=True)
    columns = [counts]
    for _ in decided:
        columns.append(codes % k)
        codes = torch.div(codes, k, rounding_mode="floor")
    columns += [codes % 2, torch.div(codes, 2, rounding_mode="floor") - 1]
    return np.asarray(torch.stack(columns[::-1], 1).cpu().numpy())


def near_edges(prediction: Tensor, radius: int) -> Tensor:
    """Booleans [h, w]: pixels within whose square of `radius` more than one class is predicted."""
    values = prediction[None, None].float()
    size = 2 * radius + 1
    highest = functional.max_pool2d(values, size, 1, radius)
    lowest = -functional.max_pool2d(-values, size, 1, radius)
    return (highest != lowest)[0, 0]


def nodes_at(rules: Rules, logits: Tensor, reference: Tensor, bins: int) -> np.ndarray:
    """Counts int64 [n, bins + 1, 3] of one image's pixels below each node.

    The bins are of the confidence in the branch that is taken, from 0 to 1: pixels, right ones, sum
    of confidences. The last row holds all pixels, nothing, and the sum of entropies.
    """
    tree, scores = rules.tree, rules.scores(logits)
    chosen, log_edges = rules.choices(scores)[0], rules.log_edges(scores)
    spread = entropy(log_edges, tree)[0]
    lookup = torch.from_numpy(tree.branch_of).to(reference.device)
    # The last column is for pixels without a reference, which an index of -1 finds.
    lookup = torch.cat([lookup, torch.full_like(lookup[:, :1], -1)], 1)
    flat = reference.flatten()
    found = list[Tensor]()  # counts leave the device together, at the end
    for n, node in enumerate(tree.nodes):
        wanted = lookup[n][flat]
        below = wanted >= 0
        own = log_edges[0, node.edge : node.edge + len(node.branches)]
        sure = own.amax(0)[below].exp()
        place = (sure * bins + ROUNDING).long().clamp(max=bins - 1)
        right = (chosen[n] == wanted)[below]
        each = [
            place.bincount(of.double(), bins) for of in (torch.ones_like(sure), right, _parts(sure))
        ]
        pixels = below.sum().double()
        whole = torch.stack([pixels, torch.zeros_like(pixels), _parts(spread[n][below]).sum()])
        found.append(torch.cat([torch.stack(each, 1), whole[None]]))
    return np.asarray(torch.stack(found).long().cpu().numpy())


def _parts(values: Tensor) -> Tensor:
    """In whole parts of one, whose sums are exact."""
    return (values.double() * FINE).round()
