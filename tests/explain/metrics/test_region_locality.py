import math

import numpy as np
import pytest
import torch

from conceptseg.explain.contract import Trial
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.metrics.region_locality import RegionLocality, parts
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.planted import red_finder, two_red_squares
from tests.explain.metrics.judging import trial

RED = Target(1)


def judged(explainer, x):
    scene = Scene(red_finder(), x)
    maps = explainer.on(scene, [RED])[0]
    return RegionLocality().measure(Trial(scene, explainer, RED, maps)).value


def test_two_squares_tell_methods_apart():
    """Seg-Grad-CAM shows both, whichever was asked for; Seg-HiRes-Grad-CAM only that one."""
    x = two_red_squares()
    assert judged(SegGradCam(layer="encoder"), x).tolist() == pytest.approx([0.5])
    assert judged(SegHiresGradCam(layer="encoder"), x).tolist() == pytest.approx([1.0])


def test_undefined_with_one_object_only():
    x = two_red_squares().repeat(3, 1, 1, 1)
    x[1, :, :, 14:] = 0.4
    x[2] = 0.4
    found = judged(SegGradCam(layer="encoder"), x)
    assert found[0].item() == pytest.approx(0.5)
    assert found[1:].isnan().all()
    assert judged(SegGradCam(layer="encoder"), x[1:]).isnan().all()


def test_a_known_leak():
    """A map of 3 on the object that was asked for and 1 elsewhere; squares of 24 and 12 pixels."""
    x = two_red_squares()
    x[:, :, 7:10, 16:20] = 0.4

    def rule(scene, target):
        return 1.0 + 2.0 * scene.fix(target).mask

    given = trial(red_finder(), x, target=RED, rule=rule)
    found = RegionLocality(min_pixels=12).measure(given).value.item()
    first, second = 72 / (72 + 12), 36 / (36 + 24)
    assert found == pytest.approx((first + second) / 2)
    assert RegionLocality().measure(given).value.isnan().all(), "12 pixels are too few"


def brute(mask, gap, least):
    """Parts by flooding, distances between all pixels."""
    left = {tuple(at) for at in np.argwhere(mask)}
    found = []
    while left:
        flood, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) in left:
                left.discard((y, x))
                flood.add((y, x))
                edge += [(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)]
        if len(flood) >= least:
            found.append(flood)
    found.sort(key=lambda part: (-len(part), min(part)))
    for i, first in enumerate(found):
        for second in found[i + 1 :]:
            if min(math.dist(a, b) for a in first for b in second) >= gap:
                return [first, second]
    return [set(), set()]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gap", [2.0, 6.0, 11.0, 40.0])
def test_parts_by_flooding(seed, gap):
    # Few large blobs: smoothed noise.
    field = np.random.default_rng(seed).normal(size=(20, 28))
    for _ in range(4):
        field = (field + np.roll(field, 1, 0) + np.roll(field, 1, 1) + np.roll(field, -1, 1)) / 4
    mask = field > np.quantile(field, 0.8)
    found = [{tuple(at) for at in np.argwhere(part)} for part in parts(mask, gap, 4)]
    assert found == brute(mask, gap, 4)


def test_parts_that_touch_at_a_corner_are_one():
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[:6, :6] = mask[6:, 6:] = True
    assert not parts(mask.numpy(), 0.0, 1).any()


def test_two_maps_from_shared_passes():
    x = two_red_squares()
    scene = Scene(red_finder(), x)
    explainer = SegHiresGradCam(layer="encoder")
    maps = explainer.on(scene, [RED])[0]
    before = dict(scene.passes)
    RegionLocality().measure(Trial(scene, explainer, RED, maps))
    assert scene.passes == {**before, "tail backward": before["tail backward"] + 2}
