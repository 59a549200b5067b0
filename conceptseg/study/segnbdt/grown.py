"""Which tree is studied, how it compares with others, and which images judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import Tables
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.head import LAST, Head
from conceptseg.study.segnbdt.induce import Linkage, agreement, cluster, from_confusion, support
from conceptseg.study.segnbdt.names import SENSES, UNITS, units_read, with_hypernyms
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.survey import KEPT
from conceptseg.study.segnbdt.tree import Tree, given_tree, random_tree, star

MOST_PIXELS = 60_000
"""On which trees are compared; of more than 32 classes fewer, for a tree's cost at a pixel grows
with the square of the classes."""
KINDS = {
    "weights, ward": "last weights, Ward",
    "weights, cosine": "last weights, cosine",
    "weights, average": "last weights, average",
    "confusion": "confusions",
    "features": "mean features of classes",
    "star": "star (softmax)",
    "given": "given",
}


@dataclass(frozen=True)
class Grown:
    """`tree` that is studied; `judged` samples, none of which had a part in making it.

    `trees`: rows of how it, the first, compares with others, on kept pixels that none of them was
    made from (unless there is a single image); `null`: agreement with the network of random binary
    trees' hard decisions on these; `redrawn`: cophenetic correlation with the tree made from
    redrawn evidence, `chance` with random trees; `support` of each node by the redrawn trees;
    `reads`: per node, what the units detect that it reads.
    """

    tree: Tree
    kind: str
    judged: tuple[str, ...]
    trees: tuple[dict[str, Any], ...]
    null: np.ndarray
    redrawn: np.ndarray
    chance: np.ndarray
    support: np.ndarray
    reads: dict[int, str]


GROWN = Key("tree", Grown)


def grow_tree(study: Segnbdt, context: Context, known: Known) -> Known:
    """The tree that is studied, from the images of its half, and how it compares with others."""
    table, head, k = known[KEPT], known.get(LAST), len(context.model.classes)
    built, judged = halves(study, context)
    # A tree that needs no images is compared with others that do, made from a part of the judged.
    makers_of = built or _first_part(study, context, table.ids)
    makers = _makers(study, context, head, [table.tables[i] for i in table.ids if i in makers_of])
    kind = study.hierarchy if study.hierarchy != "weights" else f"weights, {study.linkage}"
    if kind not in makers:
        raise InputError(f"hierarchy: {kind} cannot be had from {context.model.name!r}")
    made = {name: make(np.arange(n)) for name, (n, make) in makers.items()}
    tree = made.pop(kind)
    if SENSES in known:
        tree = with_hypernyms(tree, known[SENSES])
    seen = set(judged) - makers_of or set(judged)
    logits, truth = _pixels([table.tables[i] for i in table.ids if i in seen], k)
    others = {kind: tree, **made, "star": star(k)}
    rng = np.random.default_rng([study.seed, 11])
    randoms = [random_tree(k, rng) for _ in range(study.random_trees)]
    # The weights' columns, or the images, are drawn again with replacement.
    n, make = makers[kind]
    draws = [np.random.default_rng([study.seed, 12, draw]) for draw in range(study.bootstraps)]
    redrawn = [make(own.integers(0, n, n)) for own in draws if n]
    grown = Grown(
        tree,
        KINDS[kind],
        judged,
        tuple(_row(KINDS[name], one, tree, logits, truth) for name, one in others.items()),
        np.array([_share(Rules(one, logits).hard(logits) == logits.argmax(1)) for one in randoms]),
        np.array([agreement(tree, one) for one in redrawn]),
        np.array([agreement(tree, one) for one in randoms]),
        support(tree, redrawn),
        units_read(tree, head, known[UNITS]) if head and UNITS in known else {},
    )
    return GROWN(grown)


def halves(study: Segnbdt, context: Context) -> tuple[frozenset[str], tuple[str, ...]]:
    """Samples that the tree is made or tuned on (none where that needs none), and the others.

    Groups are kept together: each is in one part or the other by its hash.
    """
    ids, of = tuple(context.manifest.ids), tuple(context.manifest.groups)
    if study.tune == "none" and study.hierarchy in ("weights", "given"):
        return frozenset(), ids
    groups = sorted(set(of), key=lambda g: sample_priority(study.seed, g))
    first = set(groups[: max(1, round(study.build_share * len(groups)))])
    built = frozenset(name for name, group in zip(ids, of, strict=True) if group in first)
    judged = tuple(name for name, group in zip(ids, of, strict=True) if group not in first)
    if not judged:
        raise InputError(
            f"the {len(ids)} images come from {len(groups)} group: none is left to judge the "
            "tree that is made from them; take more images, or hierarchy: weights and tune: none"
        )
    return built, judged


def _first_part(study: Segnbdt, context: Context, ids: Sequence[str]) -> frozenset[str]:
    """About half of the samples, by group, or by image where there is one group; all of one."""
    group = dict(zip(context.manifest.ids, context.manifest.groups, strict=True))
    if len({group[i] for i in ids}) < 2:
        group = {i: i for i in ids}
    groups = sorted({group[i] for i in ids}, key=lambda g: sample_priority(study.seed, g))
    first = set(groups[: max(1, len(groups) // 2)])
    return frozenset(i for i in ids if group[i] in first)


Maker = Callable[[np.ndarray], Tree]
"""Places of what a tree is made from, columns of weights or kept images -> the tree of these."""


def _makers(
    study: Segnbdt, context: Context, head: Head | None, kept: Sequence[Tables]
) -> dict[str, tuple[int, Maker]]:
    """By kind of tree, of how many things it is made, and how; none are given trees made of."""
    makers: dict[str, tuple[int, Maker]] = {}
    if study.hierarchy == "given":
        given = given_tree(study.tree, context.model.classes)
        makers["given"] = 0, lambda drawn: given
    if head is not None:
        weight = head.weight

        def by_columns(columns: np.ndarray, linkage: Linkage) -> Tree:
            return cluster(weight.take(columns, 1), linkage)

        for linkage in get_args(Linkage):
            make = partial(by_columns, linkage=linkage)
            makers[f"weights, {linkage}"] = weight.shape[1], make
    if kept:
        confusions = _confusions(kept, len(context.model.classes))
        makers["confusion"] = len(kept), lambda images: from_confusion(confusions[images].sum(0))
    if kept and "sums" in kept[0]:
        sums, counts = (np.concatenate([one[name] for one in kept]) for name in ("sums", "counts"))

        def by_features(images: np.ndarray) -> Tree:
            total = np.maximum(counts[images].sum(0), 1)
            return cluster(sums[images].sum(0) / total[:, None], study.linkage)

        makers["features"] = len(kept), by_features
    return makers


def _confusions(kept: Sequence[Tables], k: int) -> np.ndarray:
    """Kept pixels of each image by label (by prediction where it has none) and prediction."""
    counts = np.zeros((len(kept), k, k))
    for own, one in zip(counts, kept, strict=True):
        predicted = one["logits"].argmax(1)
        truth = one["truth"] if (one["truth"] >= 0).any() else predicted
        np.add.at(own, (truth[truth >= 0], predicted[truth >= 0]), 1)
    return counts


def _pixels(kept: Sequence[Tables], k: int) -> tuple[Tensor, Tensor]:
    """Logits [1, k, m] and labels [m] of a bounded number of the images' kept pixels."""
    logits = np.concatenate([np.zeros((0, k), np.float32), *(one["logits"] for one in kept)])
    truth = np.concatenate([np.zeros(0, np.int32), *(one["truth"] for one in kept)])
    most = MOST_PIXELS * 32 // max(32, k)
    step = max(1, -(-len(logits) // most))
    drawn = np.ascontiguousarray(logits[::step].T)[None]
    return torch.from_numpy(drawn), torch.from_numpy(truth[::step])


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _row(name: str, tree: Tree, studied: Tree, logits: Tensor, truth: Tensor) -> dict[str, Any]:
    soft, hard = Rules(tree, logits).both(logits)
    network, known = logits[0].argmax(0), truth >= 0
    return {
        "tree": name,
        "studied": tree is studied,
        "agreement": _share(hard[0] == network),
        "soft_agreement": _share(soft[0].argmax(0) == network),
        "accuracy": _share((hard[0] == truth)[known]),
        "network_accuracy": _share((network == truth)[known]),
        "likeness": agreement(studied, tree),
        "mean_depth": float(tree.depths.mean()),
        "deepest": int(tree.depths.max()),
    }
