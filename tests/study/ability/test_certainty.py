"""Intervals of readings over new data sets, whose prototypes are learnt anew: by simulation."""

import numpy as np
import pytest
import torch

from conceptseg.data.manifest import Sample
from conceptseg.stats.estimate import Sampling
from conceptseg.study.ability import gather, read
from conceptseg.study.ability.certainty import above_output, mean_of, reading_of
from conceptseg.study.ability.config import POSITION
from conceptseg.study.ability.read import ANSWERING, VARIANTS, Abilities, LeftOut

UNITS, SIDE, K = 12, 8, 2


def features(rng, n):
    """Labels [n, 8, 8] and features that tell little of them: images differ in all units, a few of
    them greatly, so what prototypes read hangs on which images taught them."""
    labels = np.zeros((n, SIDE, SIDE), np.int64)
    labels[:, :, SIDE // 2 :] = 1
    side = labels[:, None] * 2 - 1
    shown = np.zeros((1, UNITS, 1, 1))
    shown[0, 0] = 0.5
    own = rng.standard_t(2, (n, UNITS, 1, 1)) + shown
    x = own * side + rng.normal(0, 1.5, (n, UNITS, SIDE, SIDE))
    return torch.from_numpy(labels), torch.from_numpy(x.astype(np.float32))


def learnt(x, labels, half, block):
    """What the halves taught, by the study's own sums."""
    sums = {}
    p = torch.nn.functional.one_hot(labels, K).movedim(-1, 1).float()
    each = {key: value.double().numpy() for key, value in gather.layer_sums(x, p).items()}
    for i, (own, part) in enumerate(zip(half, block, strict=True)):
        for key, value in each.items():
            name = f"trained/{own}/0/block {part}/{key}"
            sums[name] = sums[name] + value[i] if name in sums else value[i]
    return gather.reading(sums, "trained", 0)


def dealt(n, seed=0):
    samples = [Sample(f"i{i:03d}", group=f"i{i:03d}") for i in range(n)]
    half, by_group = gather.halves(samples, seed)
    block = gather.blocks(samples, half, by_group, seed)
    return np.array([[half[one.id], block[one.id]] for one in samples]).T


def abilities(seed, n):
    """One layer of one data set, read as the study reads it."""
    labels, x = features(np.random.default_rng(seed), n)
    half, block = dealt(n)
    reading = learnt(x, labels, half, block)
    other = torch.from_numpy(1 - half)
    found = read.by_other_half(x, reading, other, (SIDE, SIDE))["global"]
    dice = np.full((n, len(VARIANTS), 2, K), np.nan)
    dice[:, 0, 0] = read.scored(found, labels, K)
    areas = np.full((n, len(ANSWERING), 2, K), np.nan)
    areas[:, 0, 0] = read.area(found, labels, K)
    partly = np.full((2, n, len(ANSWERING), 1 + gather.BLOCKS, 2, K), np.nan)
    partly[:, :, 0, :, 0] = read.left_out(x, reading, other, labels, K)
    half_seen = np.full((n, K), 0.5)
    return Abilities(
        tuple(f"i{i:03d}" for i in range(n)), ("L0", POSITION), dice, half_seen, np.zeros((n, 2)),
        np.zeros(n), areas, half_seen, half_seen, {}, np.array([], int),
        LeftOut(*partly, half, block),
    )  # fmt: skip


def of_images(found):
    return Sampling(found.ids, found.ids, "images", 0, 500)


def test_a_block_left_out_reads_as_if_it_had_never_been_there():
    """By learning again from the others alone."""
    labels, x = features(np.random.default_rng(0), 24)
    half, block = dealt(24)
    assert np.bincount(half).tolist() == [12, 12] and len(np.unique(block[half == 0])) == 10
    whole = learnt(x, labels, half, block)
    other = torch.from_numpy(1 - half)
    found, _ = read.left_out(x, whole, other, labels, K)
    plain = read.by_other_half(x, whole, other, (SIDE, SIDE))["global"]
    assert found[:, 0] == pytest.approx(read.scored(plain, labels, K))
    for gone in (0, 7):
        for own in (0, 1):  # of the half that teaches the other
            kept = (half != own) | (block != gone)
            again = learnt(x[kept], labels[kept], half[kept], block[kept])
            rows = half != own
            seen = read.by_other_half(x[rows], again, other[rows], (SIDE, SIDE))["global"]
            expected = read.scored(seen, labels[rows], K)
            assert found[rows, 1 + gone] == pytest.approx(expected)


def test_the_interval_is_that_of_the_jackknife_by_a_loop():
    found, n = abilities(0, 24), 24
    values = reading_of(found, "global", "L0", 1)
    half, block = found.left_out.half, found.left_out.block
    means = []
    for own in (0, 1):
        for gone in range(10):
            kept = [i for i in range(n) if (half[i], block[i]) != (own, gone)]
            means.append(np.mean([values(-1 if half[i] == own else gone)[i] for i in kept]))
    variance = 19 / 20 * sum((one - np.mean(means)) ** 2 for one in means)
    told = mean_of(found, values, of_images(found))
    assert told.value == pytest.approx(found.dice[:, 0, 0, 1].mean())
    assert told.high - told.value == pytest.approx(2.093024 * np.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize("sets", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_intervals_cover_new_data_sets_with_prototypes_of_their_own(sets):
    """Draws of the images alone, as before, cover 80 % of them."""
    n = 40
    all_of_them = [abilities(seed, n) for seed in range(sets)]
    truth = np.mean([one.dice[:, 0, 0, 1].mean() for one in all_of_them])
    held = {"images alone": 0, "both": 0, "above": 0}
    for one in all_of_them:
        sampling = of_images(one)
        told = {
            "images alone": sampling.mean(one.dice[:, 0, 0, 1]),
            "both": mean_of(one, reading_of(one, "global", "L0", 1), sampling),
        }
        for name, estimate in told.items():
            held[name] += estimate.low <= truth <= estimate.high
        gaps = above_output(one, "global", "L0", 1, 0.0005)
        above = mean_of(one, gaps, sampling, 0, (-1, 1))
        held["above"] += above.low <= truth - 0.5 <= above.high
    print({name: count / sets for name, count in held.items()})
    assert held["images alone"] / sets < 0.88
    assert held["both"] / sets >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / sets)
    assert held["above"] / sets >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / sets)


def test_without_blocks_the_images_are_all_that_is_drawn():
    one = abilities(1, 24)
    plain = Abilities(**{**vars(one), "left_out": None})
    values = reading_of(plain, "global", "L0", 0)
    sampling = of_images(one)
    dice = one.dice[:, 0, 0, 0]
    expected = sampling.mean(dice).joined(sampling.bounded(dice, 0.0, 1.0))
    assert mean_of(plain, values, sampling) == expected
    assert mean_of(one, reading_of(one, "probe", "L0", 0), sampling, 5) is None, "none was made"


def test_a_dice_that_all_images_share_is_not_told_as_if_none_could_differ():
    one = abilities(1, 24)
    same = np.full_like(one.dice, 0.97)
    still = LeftOut(*(np.zeros_like(each) for each in (one.left_out.dice, one.left_out.areas)),
                    one.left_out.half, one.left_out.block)  # fmt: skip
    alike = Abilities(**{**vars(one), "dice": same, "left_out": still})
    told = mean_of(alike, reading_of(alike, "global", "L0", 1), of_images(one))
    assert told.low < 0.93 and 0.97 < told.high < 1.0
