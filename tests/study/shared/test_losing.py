"""Own pixels missed, or others called the class: networks wired for each of the two."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.ace.findings import plain
from conceptseg.study.dissect.ablate import Ablations, losses
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.remaining import Remaining
from conceptseg.study.shared.edits import Editable
from conceptseg.study.shared.losing import Losing
from conceptseg.study.shared.overlap import by_right_pixels, iou_of, pixel_counts
from tests.small_models import wrapped
from tests.study.dissect.test_ablate import study

SKY, WALL = 0, 1
IMAGES, SIDE = 16, 16
CLASSES = ["sky", "building", "road"]


class Street(nn.Module):
    """Units that show sky and wall, and logits of sky, building and road at each pixel.

    `finds`: building is what shows wall; else it is everything but sky: its own pixels need
    nothing, and only the sky unit keeps it off the sky.
    """

    def __init__(self, finds: bool):
        super().__init__()
        self.units = nn.Conv2d(3, 2, 1, bias=False)
        self.head = nn.Conv2d(2, 3, 1)
        with torch.no_grad():
            self.units.weight.copy_(torch.eye(3)[:2, :, None, None])
            # Of sky the unit's own, of building wall's or everything less sky, of road a constant.
            building = [0.0, 4.0] if finds else [-4.0, 0.0]
            reads = torch.tensor([[2.0, 0.0], building, [0.0, 0.0]])
            self.head.weight.copy_(reads[:, :, None, None])
            self.head.bias.copy_(torch.tensor([0.5, 0.0 if finds else 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.units(x))


def scenes() -> tuple[Tensor, Tensor]:
    """Sky above, building below; the line between at another height in each image."""
    labels = torch.ones(IMAGES, SIDE, SIDE, dtype=torch.long)
    for i in range(IMAGES):
        labels[i, : 4 + i % 5] = SKY
    images = torch.stack([labels == SKY, labels == WALL, torch.zeros_like(labels)], 1).float()
    return images, labels


def erased(finds: bool, unit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU before and after a unit is set to 0 [n, k], and the part that is of own pixels."""
    model, (images, labels) = wrapped(Street(finds), 3), scenes()
    context = SimpleNamespace(model=model, levels="units")
    with torch.no_grad():
        layer = Editable.of(context, images, labels)
        edited = layer.tail.activation.clone()
        edited[:, unit] = 0
        iou, right = layer.iou_and_right(edited)
        assert torch.equal(iou.nan_to_num(-1), layer.iou(edited).nan_to_num(-1))
        return layer.iou().numpy(), iou.numpy(), right.numpy()


def dissected(finds: bool, unit: int, name: str):
    """What dissection says of building without a unit that detects `name`."""
    clean, iou, right = (one.astype(float) for one in erased(finds, unit))
    names = tuple(f"{i:02}" for i in range(IMAGES))
    sampling = Sampling(names, names, "images", 0)
    random = [np.repeat(clean[:, None], 6, 1)]
    shown = losses(study(), clean, iou[:, None], random, sampling, right[:, None])
    ablations = Ablations(((0,),), ((0,),), (), shown, (), IMAGES, IMAGES, "zero")
    vocabulary = SimpleNamespace(names=[name])
    detection = SimpleNamespace(
        plan=SimpleNamespace(vocabulary=vocabulary), detectors=lambda concept: [0]
    )
    found = findings(detection, ablations, (Remaining(0.9, 0.8),), CLASSES)
    return next(one for one in found if one.class_ == "building")


def test_what_a_class_needs_and_what_keeps_it_off_are_told_apart():
    needs, keeps = dissected(True, WALL, "wall"), dissected(False, SKY, "sky")
    assert needs.plain == "The network finds building by units that detect wall."
    assert keeps.plain == (
        "The network keeps building off what is not building by units that detect sky."
    )
    assert needs.details["missed"] == pytest.approx(-1) and needs.details["false"] == 0
    sky = np.array([4 + i % 5 for i in range(IMAGES)]) / SIDE
    # Its own pixels stay: IoU falls from 1 to its share of the image, all by sky that is called it.
    assert keeps.details["missed"] == 0
    assert keeps.details["false"] == pytest.approx(-sky.mean(), abs=1e-6)
    assert "0.00 is its own pixels" in keeps.claim and "0.00 other places" in needs.claim


@pytest.mark.parametrize(
    ("how", "context", "said"),
    [
        ("found", True, "The network finds building by roofs, which lies outside of it."),
        (
            "kept off",
            True,
            "The network keeps building off what is not building by roofs, which lies outside of "
            "it.",
        ),
        ("open", None, "The network finds building, or keeps it off what is not building, by "
                       "roofs; which of both stays open."),
    ],
)  # fmt: skip
def test_ace_says_it_too(how, context, said):
    nothing = Estimate(0, 0, 0, 20)
    where = {"elsewhere": 0.9 if context else 0.1}
    how = Losing(nothing, nothing, how)
    pair = SimpleNamespace(how=how, from_context=context, where=where, reached=1.0)
    assert plain(pair, "roofs", "building") == said


def test_the_two_parts_are_the_mean_over_both_orders():
    torch.manual_seed(0)
    before, after, labels = (torch.randint(-1, 3, (5, 9, 7)) for _ in range(3))
    counts = [pixel_counts(one.clamp(min=0), labels, 3) for one in (before, after)]
    part = by_right_pixels(*counts)
    for i in range(5):
        for c in range(3):
            known = labels[i] >= 0
            h = ((labels[i] == c) & known).sum().item()
            t, f = [], []
            for p in (before, after):
                called = (p[i].clamp(min=0) == c) & known
                t.append((called & (labels[i] == c)).sum().item())
                f.append((called & (labels[i] != c)).sum().item())
            if not h:
                assert torch.isnan(part[i, c])
                continue
            first = t[1] / (h + f[0]) - t[0] / (h + f[0])  # right pixels change first
            last = t[1] / (h + f[1]) - t[0] / (h + f[1])
            assert part[i, c].item() == pytest.approx((first + last) / 2, abs=1e-6)
            false = (t[0] + t[1]) / 2 * (1 / (h + f[1]) - 1 / (h + f[0]))
            change = (iou_of(counts[1]) - iou_of(counts[0]))[i, c].item()
            assert change == pytest.approx(part[i, c].item() + false, abs=1e-6)


def test_what_is_gained_is_told_as_such():
    worse, better = (Estimate(v, v, v, 20) for v in (-0.87, 0.031))
    said = Losing(worse, better, "found").told
    assert "0.87 is its own pixels, which are missed then, -0.03 other places" in said
    assert said.endswith("which are called it no longer.")
    said = Losing(better, worse, "kept off").told
    assert "-0.03 is its own pixels, which are found then, 0.87 other places" in said
    assert said.endswith("which are called it then.")


def test_images_that_do_not_tell_leave_it_open():
    names = tuple(map(str, range(12)))
    sampling = Sampling(names, names, "images", 0)
    change = np.full(12, -0.4)
    mixed = np.where(np.arange(12) % 2, -0.4, 0.0)
    assert Losing.of(change, mixed, sampling).how == "open"
    assert Losing.of(change, 0.2 * change, sampling).how == "kept off"
    few = np.where(np.arange(12) < 4, -0.4, np.nan)
    assert Losing.of(few, few, sampling).how == "open", "four images have no interval"
