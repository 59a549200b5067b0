import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.study.shared.overlap import class_iou, referred, without_small


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_by_loops_over_pixels(seed, classes):
    """Ignored pixels (-1, and values beyond the classes) count nowhere; absent classes are nan."""
    rng = np.random.default_rng(seed)
    prediction = rng.integers(0, classes, (3, 4, 5))
    reference = rng.integers(-1, classes + 1, (3, 4, 5))
    reference[1][reference[1] == 0] = -1
    found = class_iou(torch.from_numpy(prediction), torch.from_numpy(reference), classes)
    assert found.shape == (3, classes) and found.dtype == torch.float32
    for n in range(3):
        for c in range(classes):
            shared = either = held = 0
            for p, r in zip(prediction[n].flat, reference[n].flat, strict=True):
                if 0 <= r < classes:
                    shared += p == c and r == c
                    either += p == c or r == c
                    held += r == c
            value = found[n, c].item()
            assert np.isnan(value) if not held else np.isclose(value, shared / either, rtol=1e-6)


def test_a_class_that_the_reference_lacks_is_undefined_whatever_is_predicted():
    reference = torch.tensor([[[0, 0], [-1, 1]]])
    wrong = torch.tensor([[[2, 0], [2, 1]]])
    found = class_iou(wrong, reference, 3)[0]
    assert found[0] == 0.5 and found[1] == 1.0 and torch.isnan(found[2])


def test_all_pixels_ignored():
    assert torch.isnan(class_iou(torch.zeros(1, 2, 2).long(), -torch.ones(1, 2, 2).long(), 2)).all()


def test_inputs_are_left_alone():
    prediction, reference = torch.tensor([[[0, 1]]]), torch.tensor([[[-1, 1]]])
    class_iou(prediction, reference, 2)
    assert prediction.tolist() == [[[0, 1]]] and reference.tolist() == [[[-1, 1]]]


def test_devices_without_float64():
    """Only the CPU is asked for double precision: MPS has none."""
    asked = []
    double = torch.Tensor.double

    def seen(tensor):
        asked.append(tensor.device.type)
        return double(tensor)

    maps = torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "double", seen)
        patch.setattr(torch.Tensor, "cpu", lambda tensor: asked.append("to cpu") or tensor)
        found = class_iou(maps, maps, 2)
    assert asked == ["to cpu", "cpu"] and found.device == maps.device


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.5]))
def test_small_classes_and_ignored_pixels_are_left_out(seed, share):
    """By counts over pixels: a class of at most so large a share of an image's known pixels."""
    labels = np.random.default_rng(seed).integers(-1, 4, (2, 4, 5))
    kept = without_small(torch.from_numpy(labels), 3, share).numpy()
    for before, after in zip(labels, kept, strict=True):
        known = (before >= 0) & (before < 3)
        for value in np.unique(before):
            large = 0 <= value < 3 and (before == value).sum() > share * known.sum()
            assert (after[before == value] == (value if large else -1)).all()


def test_what_is_compared_with_is_the_label_map_or_the_prediction_where_nothing_is_labelled():
    prediction = torch.tensor([[[0, 1]], [[1, 1]]])
    labels = torch.tensor([[[-1, 0]], [[-1, -1]]])
    reference, labelled = referred(labels, prediction)
    assert reference.tolist() == [[[-1, 0]], [[1, 1]]] and labelled.tolist() == [True, False]
    reference, labelled = referred(None, prediction)
    assert torch.equal(reference, prediction) and not labelled.any()
