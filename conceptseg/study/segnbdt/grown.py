"""Which tree is studied, how it compares with others, and which images judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.head import LAST, Head
from conceptseg.study.segnbdt.induce import agreement, cluster, from_confusion, support
from conceptseg.study.segnbdt.names import NAMES, named
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.survey import KEPT
from conceptseg.study.segnbdt.tree import Tree, given_tree, random_tree, star

MOST_PIXELS = 60_000
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

    `trees`: rows of how it compares with others, on kept pixels that none of them was made from
    (unless there is a single image); `null`: agreement with the network
    of random binary trees' hard decisions; `observed` that of the tree on the same pixels;
    `redrawn`: cophenetic correlation with the tree made from redrawn evidence, `chance` with random
    trees; `support` of each node by the redrawn trees; `reads`: per node, what the units detect
    that it reads.
    """

    tree: Tree
    kind: str
    head: Head | None
    judged: tuple[str, ...]
    trees: tuple[dict[str, Any], ...]
    observed: float
    null: np.ndarray
    redrawn: np.ndarray
    chance: np.ndarray
    support: np.ndarray
    reads: dict[int, str]


GROWN = Key("tree", Grown)


@dataclass(frozen=True)
class _Kept:
    """Pixels of the kept images: logits [m, k], truth [m]; per image counts [i, k, k] and sums."""

    logits: np.ndarray
    truth: np.ndarray
    confusions: np.ndarray
    sums: np.ndarray | None
    counts: np.ndarray | None


def grow_tree(study: Segnbdt, context: Context, known: Known) -> Known:
    """The tree that is studied, from the images of its half, and how it compares with others."""
    table, head = known[KEPT], known[LAST].head
    built, judged = halves(study, context)
    k = len(context.model.classes)
    # A tree that needs no images is compared with others that do, made from a part of the judged.
    makers_of = built or _first_part(study, context, table.ids)
    mine = _kept(table, [i for i in table.ids if i in makers_of], k)
    makers = _makers(study, context, head, mine)
    kind = study.hierarchy if study.hierarchy != "weights" else f"weights, {study.linkage}"
    if kind not in makers:
        raise InputError(f"hierarchy: {kind} cannot be had from {context.model.name!r}")
    whole = np.ones(len(mine.confusions))
    tree = makers[kind](whole)
    tree, reads = named(tree, context.model.classes, head, known[NAMES])
    others = {name: make(whole) for name, make in makers.items() if name != kind}
    seen = set(judged) - makers_of or set(judged)
    test = _kept(table, [i for i in table.ids if i in seen], k)
    rng = np.random.default_rng([study.seed, 11])
    randoms = [random_tree(k, rng) for _ in range(study.random_trees)]
    rows = [_row(KINDS[kind], tree, tree, test, True)]
    rows += [_row(KINDS[name], other, tree, test, False) for name, other in others.items()]
    rows.append(_row(KINDS["star"], star(k), tree, test, False))
    redrawn = _redrawn(study, kind, head, mine, makers)
    grown = Grown(
        tree,
        KINDS[kind],
        head,
        judged,
        tuple(rows),
        rows[0]["agreement"],
        np.array([_agreement(one, test) for one in randoms]),
        np.array([agreement(tree, one) for one in redrawn]),
        np.array([agreement(tree, one) for one in randoms]),
        support(tree, redrawn),
        reads,
    )
    return GROWN(grown)


def halves(study: Segnbdt, context: Context) -> tuple[frozenset[str], tuple[str, ...]]:
    """Samples that the tree is made or tuned on (none where that needs none), and the others.

    Groups are kept together: each is in one part or the other by its hash.
    """
    samples = context.manifest.samples
    if study.tune == "none" and study.hierarchy in ("weights", "given"):
        return frozenset(), tuple(s.id for s in samples)
    groups = sorted({s.group for s in samples}, key=lambda g: sample_priority(study.seed, g))
    first = set(groups[: max(1, round(study.build_share * len(groups)))])
    built = frozenset(s.id for s in samples if s.group in first)
    judged = tuple(s.id for s in samples if s.group not in first)
    if not judged:
        raise InputError(
            f"the {len(samples)} images come from {len(groups)} group: none is left to judge the "
            "tree that is made from them; take more images, or hierarchy: weights and tune: none"
        )
    return built, judged


def _first_part(study: Segnbdt, context: Context, ids: Sequence[str]) -> frozenset[str]:
    """About half of the samples, by group, or by image where there is one group; all of one."""
    group = {s.id: s.group for s in context.manifest.samples}
    if len({group[i] for i in ids}) < 2:
        group = {i: i for i in ids}
    groups = sorted({group[i] for i in ids}, key=lambda g: sample_priority(study.seed, g))
    first = set(groups[: max(1, len(groups) // 2)])
    return frozenset(i for i in ids if group[i] in first)


def _kept(table: SampleTable, ids: Sequence[str], k: int) -> _Kept:
    tables = [table.tables[i] for i in ids]
    if not tables:
        nothing = np.zeros((0, k))
        return _Kept(nothing, np.zeros(0, np.int64), np.zeros((0, k, k)), None, None)
    confusions = []
    for one in tables:
        predicted = one["logits"].argmax(1)
        known = one["truth"] >= 0
        truth = one["truth"] if known.any() else predicted
        cells = (truth.astype(np.int64) * k + predicted)[known | ~known.any()]
        confusions.append(np.bincount(cells, minlength=k * k).reshape(k, k))
    return _Kept(
        np.concatenate([one["logits"] for one in tables]),
        np.concatenate([one["truth"] for one in tables]),
        np.array(confusions),
        np.concatenate([one["sums"] for one in tables]) if "sums" in tables[0] else None,
        np.concatenate([one["counts"] for one in tables]) if "sums" in tables[0] else None,
    )


Maker = Callable[[np.ndarray], Tree]
"""Weights of the kept images [i] -> a tree; trees from weights alone do not see them."""


def _makers(study: Segnbdt, context: Context, head: Head | None, kept: _Kept) -> dict[str, Maker]:
    makers: dict[str, Maker] = {}
    if study.hierarchy == "given":
        makers["given"] = lambda images: given_tree(study.tree, context.model.classes)
    if head is not None:
        makers["weights, ward"] = lambda images: cluster(head.weight, "ward")
        makers["weights, cosine"] = lambda images: cluster(head.weight, "cosine")
        makers["weights, average"] = lambda images: cluster(head.weight, "average")
    if len(kept.confusions):
        makers["confusion"] = lambda images: from_confusion(
            np.tensordot(images, kept.confusions, 1)
        )
    if kept.sums is not None and kept.counts is not None:
        sums, counts = kept.sums, kept.counts

        def by_features(images: np.ndarray) -> Tree:
            total = np.tensordot(images, counts, 1)[:, None]
            return cluster(np.tensordot(images, sums, 1) / np.maximum(total, 1), study.linkage)

        makers["features"] = by_features
    return makers


def _redrawn(
    study: Segnbdt, kind: str, head: Head | None, kept: _Kept, makers: dict[str, Maker]
) -> list[Tree]:
    """Trees from evidence drawn again with replacement: the weights' columns, or the images."""
    if kind == "given":
        return []
    trees = []
    for draw in range(study.bootstraps):
        rng = np.random.default_rng([study.seed, 12, draw])
        if head is not None and kind.startswith("weights"):
            columns = rng.integers(0, head.weight.shape[1], head.weight.shape[1])
            trees.append(cluster(head.weight[:, columns], study.linkage))
        else:
            n = len(kept.confusions)
            trees.append(
                makers[kind](np.bincount(rng.integers(0, n, n), minlength=n).astype(float))
            )
    return trees


def _decided(tree: Tree, kept: _Kept) -> tuple[np.ndarray, np.ndarray, slice]:
    """Soft and hard classes of a bounded number of kept pixels, and which these are."""
    step = slice(None, None, max(1, -(-len(kept.logits) // MOST_PIXELS)))
    logits = torch.from_numpy(np.ascontiguousarray(kept.logits[step].T))[None].float()
    soft, hard = Rules(tree, logits).both(logits)
    return soft[0].argmax(0).numpy(), hard[0].numpy(), step


def _agreement(tree: Tree, kept: _Kept) -> float:
    _, hard, step = _decided(tree, kept)
    return float((hard == kept.logits[step].argmax(1)).mean()) if len(hard) else float("nan")


def _row(name: str, tree: Tree, studied: Tree, kept: _Kept, own: bool) -> dict[str, Any]:
    soft, hard, step = _decided(tree, kept)
    network, truth = kept.logits[step].argmax(1), kept.truth[step]
    known = truth >= 0

    def share(hits: np.ndarray) -> float:
        return float(hits.mean()) if len(hits) else float("nan")

    return {
        "tree": name,
        "studied": own,
        "agreement": share(hard == network),
        "soft_agreement": share(soft == network),
        "accuracy": share(hard[known] == truth[known]),
        "network_accuracy": share(network[known] == truth[known]),
        "likeness": agreement(studied, tree),
        "mean_depth": float(tree.depths.mean()),
        "deepest": int(tree.depths.max()),
    }
