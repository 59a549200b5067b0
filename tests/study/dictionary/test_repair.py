"""What a repair is said to give back, from numbers by hand; and claims where atoms are alike."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.concepts.dictionary import Dictionary as Atoms
from conceptseg.stats.estimate import Sampling
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.repair import (
    CHOSEN_ATOMS,
    FAILURES,
    HARMS,
    REPAIRS,
    TRIALS,
    Failure,
    SampleTable,
    choose_atoms,
    judge_repairs,
    regained,
)
from conceptseg.study.shared.atoms import changed, codes_of

ATOMS = 6


def made(rng, images, gain=0.0, harm=None):
    """Failing images of one class, in which atom 2 gains as much more as said; what all others
    lose by it is by chance, or as `harm` says."""
    ids = [f"s{i:02}" for i in range(2 * images)]
    tables = {}
    for name in ids:
        before = rng.uniform(0, 0.3)
        change = rng.exponential(0.1) * rng.normal(size=ATOMS)
        change[2] += gain
        iou = np.array([[before, *(before + change)]])
        tables[name] = {"class": np.array([4]), "iou": iou}
    failure = Failure(4, (tuple(ids[:images]), tuple(ids[images:])), np.zeros(ATOMS), 0.9)
    change = {name: {"change": rng.normal(size=(1, 1, 5))} for name in ids[images:]}
    right = {"right": {"change": np.full((1, 1, 5), -0.25)}}
    if harm:
        right = {f"right{i}": {"change": harm(i)} for i in range(40)}
    known = FAILURES((failure,)) | TRIALS(SampleTable.each(tables))
    known |= HARMS(SampleTable.each({**change, **right}))
    manifest = SimpleNamespace(sample=lambda name: SimpleNamespace(group=name))
    context = SimpleNamespace(manifest=manifest, seed=0)
    study = Dictionary.model_construct(unit="image", seed=0)
    known |= choose_atoms(study, context, known)
    return known, judge_repairs(study, context, known)[REPAIRS][0]


def test_shares_are_of_what_was_lost():
    known, found = made(np.random.default_rng(0), 20, gain=0.5)
    assert known[CHOSEN_ATOMS] == {4: 2} and found.atom == 2
    own = [known[TRIALS].tables[f"s{i:02}"]["iou"][0] for i in range(20, 40)]
    lost = sum(0.9 - one[0] for one in own)
    assert found.regained.value == pytest.approx(sum(one[3] - one[0] for one in own) / lost)
    others = [np.mean([one[1 + q] - one[0] for q in (0, 1, 3, 4, 5)]) for one in own]
    assert found.by_placebo == pytest.approx(sum(others) / lost)
    assert found.harm.value == pytest.approx(-0.25)
    assert found.test.passed


def test_atoms_that_are_alike_repair_nothing():
    """The best of the choosing half is no better on the other: the halves share no image."""
    count = 60
    false = sum(made(np.random.default_rng([1, s]), 12)[1].test.passed for s in range(count))
    assert false <= (0.05 + 2 * np.sqrt(0.05 * 0.95 / count)) * count


def test_erasing_takes_an_atoms_part_and_leaves_the_rest():
    """Of a layer that is two atoms and something else, only the atom's own part goes."""
    rng = np.random.default_rng(2)
    atoms = np.linalg.qr(rng.normal(size=(5, 5)))[0][:3]
    codes = rng.random((4, 4, 2))
    rest = 0.3 * atoms[2]
    layer = torch.from_numpy(np.moveaxis(codes @ atoms[:2] + rest, 2, 0)[None])
    found = codes_of(Atoms(atoms[:2]), layer)
    assert found[0].numpy() == pytest.approx(np.moveaxis(codes, 2, 0), abs=1e-6)
    erased = changed(layer, -found[:, 0], atoms[0])[0].numpy()
    expected = codes[..., 1:] @ atoms[1:2] + rest
    assert erased == pytest.approx(np.moveaxis(expected, 2, 0), abs=1e-6)


def test_that_no_image_was_harmed_does_not_show_that_none_ever_is():
    """One image in twenty loses all of its IoU by the repair: 40 images without such a one, of
    which one set in eight consists, do not exclude the mean, and no more do 40 with some."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lost = rng.random(40) < 0.05
        _, found = made(rng, 6, 0.5, lambda i, lost=lost: np.full((1, 1, 5), -1.0 * lost[i]))
        held.append(found.harm.low <= -0.05 <= found.harm.high)
    assert np.mean(held) >= 0.92


def test_that_all_images_regain_all_does_not_show_that_every_one_ever_will():
    """Of twenty failures of which one in thirty stays: in half of the data sets none does, and the
    interval was one point then, which held the truth in none of them."""
    rng, ids = np.random.default_rng(0), tuple(f"i{i:02}" for i in range(20))
    right, truth, held, points = 0.98, 29 / 30, [], 0
    for number in range(200):
        clean = rng.choice([0.0, 0.0, 0.3], 20)
        gain = np.where(rng.random(20) < truth, right - clean, 0.0)
        own = Sampling(ids, ids, "images", number)
        found = regained(own, gain, right - clean, own.pointed(gain, -1, 1))
        held.append(found.low <= truth <= found.high)
        points += found.value == 1
        assert found.value == gain.sum() / (right - clean).sum()
    assert np.mean(held) >= 0.93 and points > 80


def test_of_failures_that_regain_all_kinds_of_shares_the_ratio_alone_counts():
    rng, ids = np.random.default_rng(1), tuple(f"i{i:02}" for i in range(20))
    lost = rng.uniform(0.5, 1.0, 20)
    own, gain = Sampling(ids, ids, "images", 0), lost * rng.uniform(0.2, 0.9, 20)
    assert regained(own, gain, lost, own.pointed(gain, -1, 1)) == own.ratio(gain, lost)
