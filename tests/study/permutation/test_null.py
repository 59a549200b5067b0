"""Where nothing costs more than the smallest effect, few families claim that something does."""

import numpy as np
import pytest
import torch

from conceptseg.data.manifest import Sample
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.donors import derangement
from conceptseg.study.permutation.features import Feature, swapped
from conceptseg.study.permutation.findings import findings
from conceptseg.study.permutation.losses import overlap_loss
from conceptseg.study.permutation.survey import Variant
from tests.study.permutation.small import assessed, deltas

PARTS, CLASSES = 6, 3


def false_claims(groups, sets, seed=0):
    """Share of data sets, of two images a group, with a finding that counts as evidence.

    Effects lie symmetrically about the smallest one that counts, groups are of unlike spread, and
    parts and classes share half of their variance.
    """
    rng = np.random.default_rng([seed, groups])
    count = 0
    for _ in range(sets):
        scale = rng.exponential(0.1, (groups, 1, 1))
        shared = rng.normal(size=(groups, 1, 1))
        rise = 0.005 + scale * (rng.normal(size=(groups, PARTS, CLASSES)) + shared)
        overlap = np.repeat(rise, 2, axis=0)
        given = deltas(overlap, np.full((2 * groups, CLASSES), 0.2))
        rows = assessed(given, lambda i: f"g{i // 2}").values()
        count += any(one.standing == "evidence" for one in findings(list(rows)))
    return count / sets


@pytest.mark.parametrize(("groups", "sets"), [(8, 40), (13, 15)])
def test_findings_of_nothing_are_rare(groups, sets):
    assert false_claims(groups, sets) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)


SIDE, CHANNELS, REPEATS, IMAGES = 16, 6, 5, 60


def scenes(rng):
    """Images [n, c, h, w] and labels: a square of either class that the first channel shows, and
    channels of noise that say nothing of it."""
    images = rng.normal(size=(IMAGES, CHANNELS, SIDE, SIDE)).astype(np.float32)
    labels = np.zeros((IMAGES, SIDE, SIDE), np.int64)
    for image, label in zip(images, labels, strict=True):
        top, left, own = *rng.integers(0, SIDE - 7, 2), rng.integers(1, 3)
        label[top : top + 7, left : left + 7] = own
        # Images are of very unlike difficulty. Each channel has a size of its own: were it that of
        # the image, another's noise would not be as good as its own beside the other channels.
        image[1:] *= rng.exponential(0.5, (CHANNELS - 1, 1, 1))
        image[0] = 1.6 * (label == 1) - 1.6 * (label == 2)
    return torch.from_numpy(images), torch.from_numpy(labels)


def network(images):
    """It reads the noise, too, and errs by it, so its IoU can fall; exchanging it costs nothing."""
    seen = images[:, 0] + images[:, 1:].sum(1)
    return torch.stack([torch.full_like(seen, 0.8), seen, -seen], 1)


def exchanged(seed):
    """What exchanging each channel of one data set costs, by the study's own functions."""
    rng = np.random.default_rng(seed)
    images, labels = scenes(rng)
    clean = overlap_loss(network(images), labels)
    samples = [Sample(f"s{i:02}", group=f"s{i:02}") for i in range(IMAGES)]
    parts = tuple(Variant(Feature(f"p{c}", "channels", (c,)), "swap") for c in range(CHANNELS))
    rise = np.zeros((IMAGES, CHANNELS, REPEATS, 3))
    for repeat in range(REPEATS):
        donors = derangement(samples, seed, repeat)[0]
        given = images[[int(donors[one.id][1:]) for one in samples]]
        for place, part in enumerate(parts):
            changed = network(swapped(images, given, part.feature))
            rise[:, place, repeat] = overlap_loss(changed, labels) - clean
    nothing = np.zeros((IMAGES, CHANNELS, 2, 3))
    ids = tuple(one.id for one in samples)
    return Deltas(ids, parts, clean, rise, nothing[:, 0], nothing)


@pytest.mark.parametrize("sets", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_exchanging_noise_that_the_network_reads_is_no_need(sets):
    """A null that can fail: there is IoU to lose, each image loses or gains some, none on average,
    as another image's noise is as good as its own. Even with no loss too small to count."""
    false, covered, rows = 0, [], {}
    for seed in range(sets):
        rows = assessed(exchanged(seed), lambda i: f"s{i:02}", smallest=0.0)
        named = [one.details["part"] for one in findings(list(rows.values()))]
        assert "p0" in named, "the channel that shows the classes is found in every data set"
        false += any(part != "p0" for part in named)
        noise = [one for (place, _), one in rows.items() if place > 0]
        covered += [one.loss.low <= 0 <= one.loss.high for one in noise]
    assert rows[0, "c1"].loss.value > 0.15 and np.nanmean(exchanged(0).clean[:, 1:]) < 0.8
    assert false / sets <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
    print(f"{false} of {sets} data sets with a false finding, {np.mean(covered):.3f} covered")
    assert np.mean(covered) >= 0.92
