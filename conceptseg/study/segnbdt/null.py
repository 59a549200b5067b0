"""How often filling any pixels is called a decision's evidence, or a part that it changes with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.explain.fill import filling
from conceptseg.explain.scene import Scene
from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import logits_without, moved
from conceptseg.study.segnbdt.findings import evidence_findings, part_findings
from conceptseg.study.segnbdt.grown import GROWN, grow_tree
from conceptseg.study.segnbdt.removal import removals_of
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.target import decision
from conceptseg.study.shared.nulls import (
    Bench,
    Claim,
    Power,
    Selftest,
    all_batches,
    any_evidence,
    subset,
)

IMAGES, PLACES, CONTROLS, PARTS, SIDE = 40, 16, 3, 4, 20
DRAWN = 20
"""Images of one draw."""


@dataclass(frozen=True)
class Bank:
    """Of each image the `edges` that it takes with their `margin`, and how margins change with each
    of `PLACES` squares filled, `changes` [places, edges]."""

    study: Segnbdt
    context: Context
    known: Known
    images: tuple[dict[str, Any], ...]


def bank(bench: Bench, seed: int) -> Bank:
    study, context = bench.ready("segnbdt", {}, network="biased", n=IMAGES, seed=4000 + seed)
    assert isinstance(study, Segnbdt)
    known = bench.known_after(study, context, grow_tree)
    rng = np.random.default_rng(seed)
    images = torch.cat([one.images for one in all_batches(context)])
    made = tuple(_filled(study, context, known, image[None], rng) for image in images)
    return Bank(study, context, known, made)


def _filled(
    study: Segnbdt, context: Context, known: Known, image: torch.Tensor, rng: np.random.Generator
) -> dict[str, Any]:
    """What filling squares of a size, wherever they lie, does to the decisions of an image."""
    tree = known[GROWN].tree
    scene = Scene(context.model, image, batch_size=PLACES)
    hard = Rules(tree, scene.logits).hard(scene.logits)[0]
    counts = np.bincount(hard.flatten().numpy(), minlength=tree.classes)
    least = max(1.0, study.min_region_fraction * hard.numel())
    edges = np.flatnonzero(counts @ tree.paths >= least).tolist()
    leaves = torch.from_numpy(tree.paths > 0)
    square = torch.zeros(tuple(image.shape[2:]), dtype=torch.bool)
    square[:SIDE, :SIDE] = True
    masks = [moved(square, rng) for _ in range(PLACES)]
    logits = logits_without(scene, filling(context.model, scene.images, study.fill), masks)
    targets = [decision(tree, e, leaves[:, e][hard][None]).on(scene.logits) for e in edges]
    margin = np.array([float(one(scene.logits)[0]) for one in targets])
    changes = np.array([[float(one(z[None])[0]) for one in targets] for z in logits]) - margin
    return {"edges": np.array(edges, np.int64), "margin": margin, "changes": changes}


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """In each image any square is the evidence, any other a part, and others their controls."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = subset(rng, IMAGES, DRAWN).tolist()
        tables = {f"i{row:03d}": _dealt(made.images[row], rng) for row in rows}
        table = SampleTable.each(tables)
        ids = tuple(table.ids)
        sampling = Sampling(ids, ids, "images", number, 200)
        study = made.study.model_copy(update={"seed": number})
        tree, classes = made.known[GROWN].tree, made.context.model.classes
        removals = removals_of(study, table, sampling, tree, classes)
        yield any_evidence(evidence_findings(removals)), any_evidence(part_findings(removals))


def _dealt(one: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    order = rng.permutation(PLACES)
    changes = one["changes"]
    removed = changes[order[: 1 + CONTROLS]].T
    parts = np.zeros((PARTS, 2, len(one["edges"])))
    for part in range(PARTS):
        own, *others = rng.permutation(PLACES)[: 1 + CONTROLS]
        # Which way filling moves a margin is the same everywhere: that is no part's doing.
        parts[part] = changes[own], np.abs(changes[others]).mean(0)
    return {
        "edge": one["edges"],
        "margin": one["margin"],
        "removed": removed,
        "part": np.arange(PARTS),
        "parts": parts,
    }


def _found(result: Result) -> bool:
    return any(
        one.evidence == "removal"
        and one.details["part"] == "known context"
        and "digit 3" in one.claim
        for one in result.findings
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a decision rests on its evidence (signs of images, Holm)",
            "squares filled at random, each held against others of its size",
            "all branches of a tree",
        ),
        Claim(
            "a decision changes with a part of the image (signs of images, Holm)",
            "squares filled at random, in place of parts; margins move, as they do elsewhere",
            "all branches and parts",
        ),
    ),
    draws=draws,
    power=Power("the decision for digit 3 changes with the stripes", {}, _found),
)
