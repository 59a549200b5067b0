"""What trained networks' logits say of their classes: those of a softmax, and those of sigmoids."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.engine.independence import SHARED, by_masks, look_independent, shared
from conceptseg.network.model import SegmentationModel

SIDE = 24


def scenes(count, dice):
    """Images, and masks [n, 3, h, w] of a disc, its core, and a bar that may lie across it."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    images = 0.3 * torch.rand(count, 3, SIDE, SIDE, generator=dice)
    masks = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.bool)
    for image, mask in zip(images, masks, strict=True):
        at = torch.randint(6, SIDE - 6, (2,), generator=dice)
        far = ((y - at[0]) ** 2 + (x - at[1]) ** 2).sqrt()
        top = int(torch.randint(0, SIDE - 4, (1,), generator=dice))
        mask[0], mask[1], mask[2, top : top + 3] = far < 6, far < 3, True
        image[mask] += 0.5
    return images.clamp(0, 1), masks


def drawn_over(masks):
    """One label a pixel [n, h, w], as masks are stored: later classes lie over earlier ones."""
    return torch.where(masks[:, 2], 3, torch.where(masks[:, 1], 2, 1 * masks[:, 0]))


def trained(by, seed):
    """A small network and its logits on new scenes; `by` softmax, sigmoid, or with a background."""
    torch.manual_seed(seed)
    dice = torch.Generator().manual_seed(seed)
    many = 3 if by == "sigmoid" else 4
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, many, 1),
    )  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        images, masks = scenes(6, dice)
        ground = ~masks.any(1, keepdim=True)
        if by == "softmax":
            loss = functional.cross_entropy(net(images), drawn_over(masks))
        else:
            target = masks if by == "sigmoid" else torch.cat([ground, masks], 1)
            loss = functional.binary_cross_entropy_with_logits(net(images), target.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model = SegmentationModel(net, ["background", "disc", "core", "bar"][-many:])
    with torch.no_grad():
        return model, model(scenes(6, dice)[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_null_and_power(seed):
    """Networks trained by a softmax are let through, those trained class by class are not."""
    assert look_independent(*trained("softmax", seed)) is None
    for by in ("sigmoid", "sigmoid beside a background"):
        model, logits = trained(by, seed)
        assert look_independent(model, logits) is not None, shared(logits)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_masks_of_one_label_a_pixel_tell_too(seed):
    images, masks = scenes(20, torch.Generator().manual_seed(99))
    labels = drawn_over(masks)
    for by, right in (("softmax", 0), ("sigmoid beside a background", 1)):
        model, _ = trained(by, seed)
        with torch.no_grad():
            found = by_masks([(model(images), labels)])
        assert found[right] > found[1 - right] + 0.1


def test_agreement_with_masks_by_hand():
    logits = torch.tensor([[3.0, 2.0, -1.0, 5.0], [1.0, 4.0, -2.0, 6.0], [-1.0] * 4])[None, :, None]
    labels = torch.tensor([0, 1, 0, -1])[None, None]
    # Largest: 0, 1, 0, and one that is ignored. Positive: 0 and 1 at both of the first pixels.
    both = pytest.approx((1.0, (1 / 3 + 1 / 2) / 2))
    assert by_masks([(logits, labels)]) == both
    parts = [(logits[..., at : at + 2], labels[..., at : at + 2]) for at in (0, 2)]
    assert by_masks(parts) == both


def test_what_is_shared_by_hand():
    logits = torch.tensor([[3.0, -1.0], [1.0, -3.0]])[None, :, None]  # means 2, -2; differences 1
    assert shared(logits) == pytest.approx(4.0)
    assert shared(logits - logits.mean(1, keepdim=True)) == 0


def test_the_softmax_has_no_gradient_along_what_is_shared():
    z = torch.randn(2, 5, 3, 3, requires_grad=True)
    functional.cross_entropy(z, torch.randint(0, 5, (2, 3, 3))).backward()
    assert z.grad.sum(1).abs().max() < 1e-7


def test_a_reading_that_makes_no_difference_is_not_doubted():
    model = SegmentationModel(nn.Conv2d(3, 3, 1), ["a", "b", "c"])
    model(torch.rand(1, 3, 4, 4))
    one = torch.full((1, 3, 10, 10), -8.0)
    one[:, 0] = 2.0
    assert shared(one) > SHARED and look_independent(model, one) is None  # exactly one is positive
    one[:, 0, 0, :5] = -8.0
    assert look_independent(model, one) is None  # nearly everywhere
    one[:, 0, :2] = -8.0
    assert look_independent(model, one) is not None
