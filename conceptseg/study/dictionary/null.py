"""How often random directions are called used atoms, and random atoms repairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.concepts.dictionary import Dictionary as Atoms
from conceptseg.concepts.finders.nmf import Nmf
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dictionary.assess import LOSSES, judge_losses
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.erase import ERASED
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.repair import (
    REPAIRS,
    TRIALS,
    choose_atoms,
    judge_repairs,
)
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, subset

IMAGES, ATOMS, POOL, RANDOM, DRAWN = 100, 8, 48, 20, 40
"""Scenes; atoms of a draw, which are random directions of a pool; random edits; images."""
CLASSES = ("digit 3", "digit 9", "digit 5")


@dataclass(frozen=True)
class Bank:
    """What random directions cost a real network, and what its atoms do where it fails."""

    study: Dictionary
    context: Context
    known: Known


def bank(bench: Bench, seed: int) -> Bank:
    """Of `biased` on scenes whose context is drawn at random: it fails in many."""
    keys = {
        "finder": Nmf(counts=(16,), max_rows=4000),
        "images": IMAGES,
        "erase_images": IMAGES,
        "recover_images": 8,
        "random_edits": POOL,
        "sobol_atoms": 0,
        "refits": 2,
        "unit": "image",
        "recovered": 0.5,
        "min_failures": 3,
        "smallest_effect": 0.0,
    }
    scenes = {"format": "planted", "context": "balanced", "pair_share": 0.8}
    options = {"network": "biased", "scenes": scenes, "n": IMAGES, "classes": CLASSES}
    study, context = bench.ready("dictionary", keys, seed=13_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Dictionary)
    context = replace(context, layer="bottleneck")
    known = bench.known_after(study, context, judge_repairs)
    return Bank(study, context, known)


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Some random directions are taken for atoms, the atoms' gains are dealt anew in each image."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        context = replace(made.context, seed=number)
        study = made.study.model_copy(update={"seed": number})
        losses = judge_losses(study, context, made.known | as_atoms(made.known, rng))[LOSSES]
        dealt = made.known | TRIALS(shuffled(made.known[TRIALS], rng))
        dealt |= choose_atoms(study, context, dealt)
        repairs = judge_repairs(study, context, dealt)[REPAIRS]
        yield (
            any(one.used for one in losses),
            any(one.test.passed for one in repairs),
        )


def as_atoms(known: Known, rng: np.random.Generator) -> Known:
    """Erasures of some images in which random directions stand for atoms, and others for chance."""
    iou, learnt = known[ERASED].column("iou"), known[LEARNT]
    first = 1 + learnt.count
    rows = subset(rng, len(iou), DRAWN)
    taken = first + rng.permutation(iou.shape[1] - first)[: ATOMS + RANDOM]
    ids = [known[ERASED].ids[row] for row in rows]
    table = SampleTable.batch(ids, {"iou": iou[rows][:, [0, *taken]]})
    few = replace(learnt, atoms=Atoms(np.eye(ATOMS, learnt.atoms.atoms.shape[1])))
    return ERASED(table) | LEARNT(few)


def shuffled(trials: SampleTable, rng: np.random.Generator) -> SampleTable:
    """The same gains in each image, of atoms in another order each."""
    made = {}
    for name in trials.ids:
        own = dict(trials.tables[name])
        iou = own["iou"].copy()
        for row in iou:
            row[1:] = row[1:][rng.permutation(len(row) - 1)]
        made[name] = {**own, "iou": iou}
    return SampleTable.each(made)


SELFTEST = Selftest(
    claims=(
        Claim(
            "a class uses an atom (joint flips of signs over images, and beyond random directions)",
            "random directions that vary as the layer does, with the codes of atoms, in place of "
            "atoms; no loss is too small to count",
            "all atoms and classes of a run",
        ),
        Claim(
            "one atom undoes a class's failures (signs of images of the other half, Holm)",
            "the gains of all atoms, dealt anew to the atoms in each failing image",
            "all classes of a run",
        ),
    ),
    draws=draws,
    seconds=60,
    power="it names atoms by what they overlap; the audit asks whether that is context",
)
