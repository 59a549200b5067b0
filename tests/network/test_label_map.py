import numpy as np
import pytest
import torch

from conceptseg.network.label_map import class_areas, label_map


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (5, 7, 3), (2, 3, 5, 7, 3), (2, 1, 4, 4)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_what_argmax_says(shape, kind):
    logits = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(3)).to(kind)
    assert torch.equal(label_map(logits), logits.argmax(-3))


def test_the_lower_of_equals_wins_and_what_is_not_a_number_is_found():
    logits = torch.tensor([0.0, 2.0, 2.0, 1.0])[:, None, None].repeat(1, 1, 3)
    logits[2, 0, 1] = float("nan")
    logits[:, 0, 2] = -float("inf")
    assert label_map(logits).tolist() == [[1, 2, 0]]


def test_the_layout_in_memory_does_not_matter_and_no_gradient_is_kept():
    logits = torch.randn(2, 6, 9, 4, generator=torch.Generator().manual_seed(1))
    other = logits.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(label_map(other), label_map(logits))
    assert not label_map(other).requires_grad


def test_areas_are_counted_image_by_image():
    maps = torch.randint(0, 4, (3, 5, 7), generator=torch.Generator().manual_seed(2))
    found = class_areas(maps, 6)
    assert found.dtype == np.int64
    for image, own in zip(maps, found, strict=True):
        assert own.tolist() == [int((image == c).sum()) for c in range(6)]
