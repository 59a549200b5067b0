import pytest
import torch

from conceptseg.explain.contract import Trial
from conceptseg.explain.explainers.seg_hires_grad_cam import SegHiresGradCam
from conceptseg.explain.metrics.randomisation import Randomisation
from conceptseg.explain.regions import UserMask
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.shuffle import shuffled
from tests.explain.metrics.judging import brightness, noise, trial
from tests.small_models import images, unet

EXPLAINER = SegHiresGradCam(layer="dec2", relu=False)


def test_scipy_on_a_network_shuffled_by_hand():
    from scipy.stats import spearmanr

    model, x, target = unet(), images(2), Target(1)
    scene = Scene(model, x)
    maps = EXPLAINER.on(scene, [target])[0]
    given = Trial(scene, EXPLAINER, target, maps)
    same = Target(1, UserMask(scene.fix(target).mask))
    singles = []
    for seed in (4, 5):
        other = EXPLAINER(shuffled(model, seed), x, same)
        for sign in ("signed", "absolute"):
            found = Randomisation(seed=seed, sign=sign).measure(given).value
            for i in range(2):
                rows = [one[i].flatten().double().numpy() for one in (maps, other)]
                rows = [abs(row) for row in rows] if sign == "absolute" else rows
                expected = abs(spearmanr(*rows).statistic)
                assert found[i].item() == pytest.approx(expected, abs=1e-4)
            if sign == "signed":
                singles.append(found)
    assert torch.stack(singles).abs().max() < 0.95, "a gradient is not blind to the weights"
    both = Randomisation(seed=4, networks=2).measure(given).value
    assert torch.allclose(both, (singles[0] + singles[1]) / 2)


def test_a_map_of_the_image_alone_is_found_out():
    given = trial(unet(), images(2), rule=brightness)
    assert Randomisation().measure(given).value.tolist() == pytest.approx([1.0, 1.0])


def test_a_map_of_the_region_alone_is_found_out():
    """The region stays that of the trained network, though the shuffled one predicts another."""
    model, x = unet(), images(2)
    given = trial(model, x, rule=lambda scene, target: scene.fix(target).mask.float())
    there, elsewhere = (net(x).argmax(1) == 1 for net in (model, shuffled(model, 0)))
    assert not torch.equal(there, elsewhere)
    assert Randomisation().measure(given).value.tolist() == pytest.approx([1.0, 1.0])


def test_a_map_that_turns_into_its_opposite_is_as_bad():
    model = unet()

    def rule(scene, target):
        return brightness(scene, target) * (1 if scene.model is model else -1)

    assert Randomisation().measure(trial(model, images(2), rule=rule)).value.tolist() == (
        pytest.approx([1.0, 1.0])
    )


def test_a_map_that_has_nothing_to_do_with_it_scores_nought():
    model = unet()

    def rule(scene, target):
        return noise(2, 64, 96, seed=int(scene.model is model))

    found = Randomisation().measure(trial(model, images(2, 64, 96), rule=rule)).value
    assert found.abs().max() < 4 / (64 * 96) ** 0.5


@pytest.mark.parametrize("apart", [False, True])
def test_sharing_a_support_is_no_likeness_nor_is_sharing_none(apart):
    """Two independent maps, 0 outside of one square, or of a square each."""
    model = unet()

    def rule(scene, target):
        own = scene.model is model
        maps, there = noise(2, 64, 96, seed=int(own)).abs() + 0.1, torch.zeros(64, 96)
        there[:20, :20] = float(own or not apart)
        there[-20:, -20:] = float(apart and not own)
        return maps * there

    assert Randomisation().measure(trial(model, images(2, 64, 96), rule=rule)).value.max() < 0.2


def test_a_map_of_a_few_pixels_tells_nothing():
    def rule(scene, target):
        maps = noise(2, 64, 96, seed=1)
        maps[:, 7:] = 0  # 7 rows
        maps[:, :, 9:] = 0
        return maps

    assert Randomisation().measure(trial(unet(), images(2, 64, 96), rule=rule)).value.isnan().all()


def test_a_constant_map_has_no_ranks():
    given = trial(unet(), images(2), torch.ones(2, 16, 24))
    assert Randomisation().measure(given).value.isnan().all()


def test_training_on_makes_another_shuffled_network():
    """Copies are kept, but not beyond a change of the weights, even one that hides."""
    model, x = unet(), images(1)
    before = Randomisation().measure(trial(model, x, rule=_logit)).value
    model.module.head.weight.data.mul_(-1)
    after = Randomisation().measure(trial(model, x, noise(1, 16, 24), rule=_logit)).value
    fresh = unet()
    fresh.module.head.weight.data.mul_(-1)
    expected = Randomisation().measure(trial(fresh, x, noise(1, 16, 24), rule=_logit)).value
    assert before.isfinite().all()
    assert torch.equal(after, expected)


def _logit(scene, target):
    return scene.logits[:, 1]
