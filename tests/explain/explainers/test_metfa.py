import math
from collections.abc import Sequence
from statistics import mean

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from conceptseg.errors import InputError
from conceptseg.explain.explainers.metfa import CORRECTIONS, Metfa, coverage, order
from conceptseg.explain.explainers.prediction_mask import PredictionMask
from conceptseg.explain.explainers.smoothgrad import SmoothGrad
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.methods import explainers, unsuited
from conceptseg.explain.noise import generator
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.study.selftest.bench import Planted
from conceptseg.study.shared.compare import Compare
from tests.explain.metrics.judging import additive, explainer, pointwise
from tests.small_models import images, unet

WHOLE = Target(1, Everything())


def by_hand(draws, level):
    """The published rule, from sums of binomial coefficients."""
    tail, k = 0.0, -1
    while tail + math.comb(draws, k + 1) / 2**draws < level / 2:
        k += 1
        tail += math.comb(draws, k) / 2**draws
    return k, draws - 1 - k, 1 - 2 * tail


@pytest.mark.parametrize(
    ("draws", "first", "last", "covered"),
    [(10, 1, 8, 0.9785), (20, 5, 14, 0.9586), (50, 17, 32, 0.9672), (6, 0, 5, 0.9688)],
)
def test_which_values_are_the_interval_s_ends(draws, first, last, covered):
    assert order(draws, 0.05) == (first, last) == by_hand(draws, 0.05)[:2]
    assert coverage(draws, 0.05) == pytest.approx(covered, abs=5e-5)
    assert coverage(draws, 0.05) == pytest.approx(by_hand(draws, 0.05)[2], abs=1e-12)


def test_intervals_hold_the_median_as_often_as_they_say():
    """40,000 cells of which each draw is an independent skewed number of known median."""
    drawn = torch.empty(1, 10, 200, 200).exponential_(generator=generator("cells"))
    method = Metfa(draws=10, cells=(200, 200))
    found = method.intervals(drawn, Scene(unet(), torch.zeros(1, 3, 200, 200)))
    held = (found.low <= math.log(2)) & (math.log(2) <= found.high)
    assert held.double().mean().item() == pytest.approx(0.9785, abs=0.003)
    middle = drawn[0].sort(0).values[1:9].mean(0)
    assert torch.allclose(found.smoothed[0], middle)


def unit_of(grid):
    low, high = min(map(min, grid)), max(map(max, grid))
    return [[(value - low) / (high - low) for value in row] for row in grid]


def test_every_number_by_hand():
    """A method that shows the noisy image's brightness; all else in loops over its pixels."""
    bright = explainer(lambda scene, target: scene.images.mean(1))
    x, net = images(2, 6, 9), pointwise()
    method = Metfa(draws=7, radius=0.3, cells=(6, 9), threshold=0.4, correction="none", seed=4)
    method = method.model_copy(update={"of": bright})
    found = method.solve(Scene(net, x, batch_size=3), WHOLE)
    noise = [2 * torch.rand(3, 6, 9, generator=generator(4, "uniform", j)) - 1 for j in range(7)]
    for i in range(2):
        maps = [unit_of((x[i] + 0.3 * e).clamp(0, 1).mean(0).tolist()) for e in noise]
        for y in range(6):
            for c in range(9):
                values = sorted(one[y][c] for one in maps)
                assert found.low[i, y, c].item() == pytest.approx(values[0], abs=1e-5)
                assert found.high[i, y, c].item() == pytest.approx(values[6], abs=1e-5)
                assert found.smoothed[i, y, c].item() == pytest.approx(mean(values), abs=1e-5)
                above = sum(value > 0.4 for value in values)
                p = sum(math.comb(7, k) for k in range(above, 8)) / 2**7
                assert found.above[i, y, c].item() == pytest.approx(p, abs=1e-12)


def test_a_method_that_noise_does_not_move_has_no_width():
    x, net = images(2, 24, 32), unet()
    scene = Scene(net, x)
    found = Metfa(of=PredictionMask(), draws=6).solve(scene, Target(1))
    assert torch.equal(found.low, found.high)
    assert torch.equal(found.smoothed, scene.fix(Target(1)).mask.float())


def test_noise_changes_no_gradient_of_a_linear_network():
    net, x = additive(12, 15, channels=2), images(3, 12, 15, 2)
    clean = VanillaSaliency()(net, x, Target(1, Everything(), "logit"))
    span = clean.flatten(1).amax(1) - clean.flatten(1).amin(1)
    expected = (clean - clean.flatten(1).amin(1)[:, None, None]) / span[:, None, None]
    scene = Scene(net, x)
    found = Metfa(draws=8).solve(scene, Target(1, Everything(), "logit"))
    assert torch.allclose(found.smoothed, expected, atol=1e-6)
    assert (found.high - found.low).abs().max() < 1e-6


def test_pure_noise_is_called_salient_no_more_often_than_allowed():
    """Cells whose median is the threshold: of 300 images hardly one has a cell that is either."""
    drawn = torch.rand(300, 20, 16, 16, generator=generator("null"))
    scene = Scene(unet(), torch.zeros(300, 3, 16, 16))
    wrong = {}
    for correction in CORRECTIONS:
        method = Metfa(threshold=0.5, correction=correction)
        found = method.intervals(drawn, scene)
        wrong[correction] = found.salient.flatten(1).any(1).double().mean().item()
    assert wrong["yekutieli"] <= wrong["hochberg"] <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
    assert wrong["none"] > 0.9


def test_of_what_is_salient_each_kind_of_map_is_shown():
    drawn = torch.rand(2, 20, 32, 32, generator=generator("shown")) * 0.1
    drawn[:, :, 4:12, 4:12] += 0.8
    scene = Scene(unet(), torch.zeros(2, 3, 32, 32))
    shown = {}
    for show in ("smoothed", "salient", "low", "high", "width"):
        method = Metfa(cells=(8, 8), show=show)
        shown[show] = method._shown(method.intervals(drawn, scene))
    inside = torch.zeros(2, 32, 32, dtype=torch.bool)
    inside[:, 4:12, 4:12] = True
    assert torch.equal(shown["salient"] > 0, inside)
    assert torch.equal(shown["salient"][inside], shown["smoothed"][inside])
    assert torch.allclose(shown["width"], shown["high"] - shown["low"])
    assert (shown["low"] <= shown["high"]).all()
    found = Metfa(cells=(8, 8)).intervals(drawn, scene)
    assert torch.equal(found.irrelevant, ~found.salient)


def test_corrections_are_those_of_scipy():
    p = torch.rand(50, generator=generator("p")).double().pow(3).numpy()
    for name, method in (("hochberg", "bh"), ("yekutieli", "by")):
        expected = stats.false_discovery_control(p, method=method)
        assert CORRECTIONS[name](p) == pytest.approx(expected, abs=1e-12)


def test_passes_are_the_method_s_for_each_copy_and_the_clean_one():
    scene = Scene(unet(), images(2, 24, 32), batch_size=8)
    Metfa(draws=10)(scene.model, scene.images, WHOLE)
    Metfa(draws=10).on(scene, [WHOLE, Target(0)])
    assert scene.passes == {"forward": 2 + 20, "backward": 2 * 20}


def test_a_wrapped_method_is_at_the_study_s_layer_and_is_tried_like_any():
    entry = {"kind": "metfa", "of": "seg_grad_cam", "draws": 6}
    made = explainers([entry, "metfa"], "dec2")
    assert [method.of.layers_named for method in made.values()] == [{"dec2", "auto"}, {"auto"}]
    net, x = unet(), images(1, 32, 48)
    assert unsuited([entry], net, x, "dec2") == ()
    with pytest.raises(InputError, match="layer 'mud' does not exist"):
        unsuited([{"kind": "metfa", "of": {"kind": "seg_grad_cam", "layer": "mud"}}], net, x)


def test_labels_go_with_their_images():
    labels = torch.zeros(2, 24, 32, dtype=torch.int64)
    seen: list[Sequence[int]] = []

    def rule(scene, target):
        seen.append(scene.labels.flatten(1).float().mean(1).tolist())
        return scene.images.mean(1)

    labels[1] = 1
    method = Metfa(draws=6).model_copy(update={"of": explainer(rule)})
    method.on(Scene(unet(), images(2, 24, 32), labels, batch_size=6), [WHOLE])
    assert seen == [[0, 1] * 3, [0, 1] * 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draws": 5}, "draws: an interval at level 0.05 needs at least 6 draws"),
        ({"draws": 10, "level": 0.001}, "level 0.001 needs at least 11 draws"),
        ({"cells": (0, 3)}, "at least one cell each way"),
        ({"of": "rize"}, "unknown explainer 'rize'.*'rise'"),
        ({"of": {"kind": "rise", "mask": 3}}, "unknown key 'mask'"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Metfa(**given)


def test_room_is_asked_for():
    scene = Scene(unet(), images(1, 24, 32), memory_gib=1e-5)
    with pytest.raises(InputError, match="memory_gib"):
        Metfa(of=SmoothGrad(samples=1)).on(scene, [WHOLE])


@pytest.mark.parametrize("of", ["rise", "vanilla_saliency"])
def test_what_check_counts_is_what_its_draws_take(of):
    """Within a factor of two of the passes that a map really takes, and not those of one draw."""
    given = {"kind": of, "masks": 40} if of == "rise" else of
    for draws in (10, 30):
        method = Metfa(of=given, draws=draws)
        scene = Scene(unet(), images(1))
        method.on(scene, [WHOLE])
        assert 0.5 < method.passes(scene) / sum(scene.passes.values()) < 2


def test_whoever_shows_maps_beside_its_result_counts_their_passes(tmp_path):
    """Of the maps beside a study's own result, thirty draws are three times ten."""
    own = Planted()
    counted = []
    for draws in (10, 30):
        compare = ({"kind": "metfa", "draws": draws},)
        study, context = own.ready("permutation", {"compare": compare}, n=4)
        counted.append(Compare(study.compare).forwards(context))
    assert counted[1] - 4 == pytest.approx(3 * (counted[0] - 4))
