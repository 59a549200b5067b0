import numpy as np
import pytest
import torch

from conceptseg.config import Preprocessing
from conceptseg.explain.metrics.stability import Stability
from conceptseg.explain.noise import generator
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import SegmentationModel
from tests.explain.metrics.judging import additive, brightness, contributions, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2) * 0.8 + 0.1  # so that no noise is cut off
WHOLE = Target(1, Everything())


def noises(draws, radius, seed, shape=(3, 16, 24)):
    keys = [generator(seed, "uniform", draw) for draw in range(draws)]
    return [radius * (2 * torch.rand(shape, generator=key) - 1) for key in keys]


def test_a_channel_that_the_network_never_reads_changes_nothing():
    read = SegmentationModel(MODEL.module, MODEL.classes, Preprocessing(channels=(0, 1, 2)))
    found = [
        Stability(draws=2, agreement=0.0).measure(trial(read, x, target=WHOLE, rule=seen)).value
        for x in (X, torch.cat([X, torch.rand(2, 1, 16, 24)], 1))
    ]
    assert torch.equal(*found) and found[0].gt(0).all()


def seen(scene, target):
    """Brightness of what the network reads."""
    return scene.images[:, :3].mean(1)


def test_closed_form_of_a_linear_map():
    """Brightness changes by the noise's own mean over channels."""
    given = trial(MODEL, X, target=WHOLE)
    metric = Stability(draws=3, radius=0.05, seed=2, agreement=0.0)
    found = metric.measure(given)
    for i in range(2):
        norm = X[i].mean(0).norm().item()
        expected = [one.mean(0).norm().item() / norm for one in noises(3, 0.05, 2)]
        assert found.curve[i].tolist() == pytest.approx(expected, rel=1e-4)
        assert found.value[i].item() == pytest.approx(max(expected), rel=1e-4)
    mean = Stability(draws=3, radius=0.05, seed=2, agreement=0.0, read="mean").measure(given)
    assert torch.allclose(mean.value, found.curve.mean(1))
    assert found.at == (1.0, 2.0, 3.0)


def test_noise_is_cut_off_at_black_and_white():
    x = torch.ones(1, 3, 16, 24)
    found = Stability(draws=1, radius=0.5, seed=1, agreement=0.0).measure(
        trial(MODEL, x, target=WHOLE)
    )
    darker = noises(1, 0.5, 1)[0].clamp(max=0).mean(0)
    assert found.value.item() == pytest.approx(darker.norm().item() / (16 * 24) ** 0.5, rel=1e-4)


def test_only_draws_that_keep_the_prediction_count():
    """Told by hand, from the network's prediction under each draw."""
    scene = Scene(MODEL, X)
    region = scene.fix(Target(1)).mask
    clean = scene.logits.argmax(1)
    same = []
    for one in noises(8, 0.2, 0):
        after = Scene(MODEL, (X + one).clamp(0, 1)).logits.argmax(1)
        same.append([(after == clean)[i][region[i]].float().mean().item() for i in range(2)])
    least = sorted(share for row in same for share in row)[7]
    found = Stability(draws=8, radius=0.2, agreement=least - 1e-6).measure(trial(MODEL, X))
    for i in range(2):
        kept = [row[i] >= least - 1e-6 for row in same]
        assert found.curve[i].isfinite().tolist() == kept
        assert sum(kept) > 0
        assert found.value[i] == found.curve[i][torch.tensor(kept)].max()
    assert found.curve.isnan().any()
    every = Stability(draws=8, radius=0.2, agreement=1.0).measure(trial(MODEL, X)).value
    assert every.isnan().all(), "no draw leaves all pixels as they were"


def test_the_region_stays_that_of_the_clean_image():
    """A map that copies the region does not move, though the noisy prediction does."""
    given = trial(MODEL, X, rule=lambda scene, target: scene.fix(target).mask.float())
    found = Stability(radius=0.3, agreement=0.0).measure(given)
    assert found.curve.eq(0).all()
    moved = noises(1, 0.3, 0)[0]
    assert not torch.equal(
        Scene(MODEL, (X + moved).clamp(0, 1)).fix(Target(1)).mask,
        Scene(MODEL, X).fix(Target(1)).mask,
    )


def test_scale_of_the_map_does_not_matter():
    values = []
    for factor in (1.0, 1e-30, -1e30):
        given = trial(MODEL, X, target=WHOLE, rule=lambda s, t, f=factor: f * brightness(s, t))
        values.append(Stability(agreement=0.0).measure(given).value)
    assert torch.allclose(values[0], values[1], rtol=1e-4)
    assert torch.allclose(values[0], values[2], rtol=1e-4)


def test_a_zero_map_has_no_relative_change():
    given = trial(MODEL, X, torch.zeros(2, 16, 24))
    assert Stability(agreement=0.0).measure(given).value.isnan().all()


@pytest.mark.slow
def test_quantus():
    """Max-sensitivity with the same draws, of a network whose map is linear in the image."""
    quantus = pytest.importorskip("quantus")
    model, x = additive(8, 12), images(2, 8, 12, 1) * 0.8 + 0.1

    def rule(scene, target):
        return contributions(scene.model, scene.images)

    given = trial(model, x, target=WHOLE, rule=rule)
    found = Stability(draws=4, radius=0.05, seed=3, agreement=0.0).measure(given).value
    drawn = iter(noises(4, 0.05, 3, (1, 8, 12)))

    def explain(model, inputs, targets, **kwargs):
        return contributions(model, torch.as_tensor(inputs))[:, None].numpy()

    peer = quantus.MaxSensitivity(
        nr_samples=4,
        perturb_func=lambda arr, **kwargs: arr + next(drawn).flatten().numpy(),
        normalise=False,
        abs=False,
        disable_warnings=True,
    )
    expected = peer(
        model=model,
        x_batch=x.numpy(),
        y_batch=np.ones(2, dtype=int),
        a_batch=contributions(model, x)[:, None].numpy(),
        explain_func=explain,
        channel_first=True,
    )
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_other_seeds_draw_other_noise():
    values = [Stability(seed=seed, agreement=0.0).measure(trial(MODEL, X)).value for seed in (0, 1)]
    assert not torch.equal(*values)
