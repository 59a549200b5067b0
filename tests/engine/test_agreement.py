"""Agreement with masks by counting, and the readings that are looked for."""

import itertools

import numpy as np
import pytest
import torch

from conceptseg.engine.agreement import (
    agreement,
    best_shift,
    confusion,
    confusions,
    displaced,
    renamed,
)

RNG = torch.Generator().manual_seed(4)


def blobs(n=3, h=40, w=56, classes=4):
    """Label maps of smooth patches, with some ignored pixels."""
    noise = torch.rand(n, classes, h // 8, w // 8, generator=RNG)
    wide = torch.nn.functional.interpolate(noise, (h, w), mode="bicubic")
    labels = wide.argmax(1)
    labels[:, :2, :3] = -1
    return labels


def test_iou_by_counting():
    labels, prediction = blobs(), blobs().clamp(min=0)
    found = agreement(confusion(prediction, labels, 5))
    kept = labels >= 0
    for c in range(4):
        ours, theirs = (prediction == c) & kept, (labels == c) & kept
        assert found.iou[c] == pytest.approx(float((ours & theirs).sum() / (ours | theirs).sum()))
    assert np.isnan(found.iou[4])
    assert found.mean == pytest.approx(np.nanmean(found.iou))


def test_the_best_names_by_trying_all():
    labels = blobs()
    order = [2, 0, 3, 1]
    prediction = torch.tensor([*order, 0])[labels]
    prediction[:, 20:24] = 1
    counts = confusion(prediction, labels, 4)
    found, assigned = renamed(counts)
    means = {p: agreement(counts[:, list(p)]).mean for p in itertools.permutations(range(4))}
    assert found.mean == pytest.approx(max(means.values()))
    assert assigned == order == list(max(means, key=means.get))


def test_names_that_fit_stay():
    labels = blobs()
    assert renamed(confusion(labels.clamp(min=0), labels, 6))[1] == list(range(6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.flip(1), "turned upside down"),
        (lambda m: m.flip(2), "mirrored"),
        (lambda m: m.flip(1, 2), "turned by 180 degrees"),
        (lambda m: m.roll((5, -7), (1, 2)), "shifted by -5 px down and +7 px right"),
    ],
)
def test_how_masks_were_displaced_is_named(change, words):
    truth = blobs().clamp(min=0)
    means = {one.words: one.mean for one in displaced(truth, change(truth), 4)}
    assert max(means, key=means.get) == words
    assert means[words] == pytest.approx(1)


def test_transposed_masks_of_square_images():
    truth = blobs(h=48, w=48).clamp(min=0)
    means = {one.words: one.mean for one in displaced(truth, truth.transpose(1, 2), 4)}
    assert means["transposed"] == 1


def test_masks_in_place_are_best_where_they_are():
    truth = blobs()
    assert best_shift(truth.clamp(min=0), truth, 4) == (0, 0)


def test_pixels_are_counted_by_label_and_prediction_wherever_a_label_is_known():
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(-1, 5, (3, 7, 6), generator=generator)
    prediction = torch.randint(0, 4, labels.shape, generator=generator)
    prediction[labels < 0] = -1  # as where ignored pixels are taken over
    expected = np.zeros((3, 4, 4), int)
    for (n, y, x), label in np.ndenumerate(labels.numpy()):
        if 0 <= label < 4:
            expected[n, label, prediction[n, y, x]] += 1
    assert np.array_equal(confusions(prediction, labels, 4).numpy(), expected)
