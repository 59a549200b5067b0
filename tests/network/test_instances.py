"""Instances of a detector, folded to class maps."""

import math

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.network.instances import LEAST, are_instances, fold_instances
from conceptseg.network.outputs import take


def instances(labels: list[int], scores: list[float], masks: torch.Tensor) -> dict:
    return {
        "boxes": torch.zeros(len(labels), 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
        "masks": masks,
    }


def loops(found: dict, classes: int) -> torch.Tensor:
    _, _, h, w = found["masks"].shape
    maps = torch.zeros(classes, h, w)
    for y in range(h):
        for x in range(w):
            for label, score, mask in zip(
                found["labels"], found["scores"], found["masks"], strict=True
            ):
                value = float(score * mask[0, y, x])
                maps[label, y, x] = max(float(maps[label, y, x]), value)
            maps[0, y, x] = 1 - max(float(value) for value in maps[1:, y, x])
            for c in range(classes):
                maps[c, y, x] = math.log(max(float(maps[c, y, x]), LEAST))
    return maps


def test_folding_is_the_loops():
    first = instances([2, 1, 2], [0.9, 0.4, 0.6], torch.rand(3, 1, 4, 5))
    none = instances([], [], torch.zeros(0, 1, 4, 5))
    maps = fold_instances([first, none], 4)
    torch.testing.assert_close(maps, torch.stack([loops(first, 4), loops(none, 4)]))
    assert (maps[1].argmax(0) == 0).all(), "background where nothing is"


def test_the_prediction_is_what_is_surer_than_one_half():
    masks = torch.tensor([[0.9, 0.9, 0.2, 0.0]]).view(1, 1, 1, 4).repeat(2, 1, 1, 1)
    maps = fold_instances([instances([1, 2], [0.6, 0.5], masks)], 3)
    assert maps.argmax(1).flatten().tolist() == [1, 1, 0, 0]
    alone = fold_instances([instances([1], [0.6], masks[:1])], 2)
    torch.testing.assert_close(alone.softmax(1)[0, 1, 0, :3], torch.tensor([0.54, 0.54, 0.12]))


def test_scores_and_masks_have_gradients():
    found = instances([1, 2], [0.9, 0.4], torch.rand(2, 1, 3, 3))
    found["scores"].requires_grad_()
    found["masks"].requires_grad_()
    fold_instances([found], 3)[:, 1].sum().backward()
    assert found["scores"].grad[0] > 0 and found["scores"].grad[1] == 0
    assert (found["masks"].grad[0] > 0).all()


def test_taken_from_what_a_detector_returns():
    found = [instances([1], [0.9], torch.rand(1, 1, 8, 8)) for _ in range(2)]
    taken = take(found, 3, 2, (8, 8))
    assert taken.rule == "instances, folded" and taken.maps.shape == (2, 3, 8, 8)
    assert not are_instances(found, 3)
    assert not are_instances([{"boxes": torch.zeros(1, 4)}], 1)


def test_a_label_that_is_no_class():
    found = instances([1, 5], [0.9, 0.9], torch.rand(2, 1, 4, 4))
    with pytest.raises(InputError, match=r"labels 1 to 5, but 3 classes are named"):
        fold_instances([found], 3)
