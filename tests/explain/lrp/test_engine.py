"""Conditional relevance: parts of a layer's relevance, and what they sum to."""

import pytest
import torch
from torch import nn

from conceptseg.errors import InputError
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.parts import channel, direction, within
from conceptseg.explain.lrp.start import relevance_of_logits, relevance_of_target
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from tests.small_models import hooks, images, seeded, unet, wrapped


def pipe():
    """No way round the layer `1`."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
        nn.Conv2d(5, 3, 1),
    )  # fmt: skip
    return wrapped(seeded(lambda: net).double())


@pytest.fixture(scope="module")
def ran():
    model, x = pipe(), images(2, 12, 16).double()
    run = Engine(model, x).run(x, ["1"])
    mask = torch.ones(2, 12, 16, dtype=torch.bool)
    start = relevance_of_logits(run.logits, mask, 1)
    (relevance,) = run.at_layers(start, ["1"])
    return run, start, relevance


def test_channels_sum_to_the_whole(ran):
    run, start, relevance = ran
    maps = run.conditional("1", torch.stack([channel(relevance, k) for k in range(4)]))
    assert maps.shape == (4, 2, 12, 16)
    assert torch.allclose(maps.sum(0), run.at_input(start), atol=1e-12)


def test_regions_sum_to_the_whole(ran):
    run, start, relevance = ran
    left = torch.zeros(2, 12, 16)
    left[:, :, :5] = 1
    maps = run.conditional("1", torch.stack([within(relevance, m) for m in (left, 1 - left)]))
    assert torch.allclose(maps.sum(0), run.at_input(start), atol=1e-12)
    # Nothing of the left part reaches further right than one 3 x 3 kernel does.
    assert float(maps[0, :, :, 6:].abs().max()) == 0 < float(maps[0, :, :, :5].abs().max())


def test_a_region_finer_than_the_layer_is_shared_out():
    relevance = torch.ones(1, 2, 2, 3)
    mask = torch.zeros(1, 4, 6)
    mask[0, :, 0] = 1
    found = within(relevance, mask)
    assert found[0, 0].tolist() == [[0.5, 0, 0], [0.5, 0, 0]]


def test_the_direction_of_one_channel_is_that_channel(ran):
    run, _, relevance = ran
    vector = torch.zeros(4, dtype=torch.float64)
    vector[2] = 7.0
    found = direction(relevance, run.activations["1"], vector)
    assert torch.allclose(found, channel(relevance, 2), rtol=1e-4, atol=1e-8)


def test_directions_of_a_basis_sum_to_the_whole(ran):
    """v (A . v) over an orthonormal basis is A, so the parts are R."""
    run, _, relevance = ran
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator()))[0]
    parts = [direction(relevance, run.activations["1"], v) for v in basis]
    assert torch.allclose(sum(parts), relevance, rtol=1e-3, atol=1e-6)


def test_each_image_may_have_a_channel_of_its_own(ran):
    _, _, relevance = ran
    found = channel(relevance, [3, 0])
    assert torch.equal(found[:1], channel(relevance, 3)[:1])
    assert torch.equal(found[1:], channel(relevance, 0)[1:])


def test_together_is_one_by_one(ran):
    run, _, relevance = ran
    parts = torch.stack([channel(relevance, k) for k in range(4)])
    assert torch.allclose(run.conditional("1", parts, 3), run.conditional("1", parts), atol=1e-12)


def test_together_is_one_by_one_through_every_kind_of_layer():
    model, x = unet(), images(1, 32, 48)
    run = Engine(model, x).run(x, ["mid"])
    start = relevance_of_logits(run.logits, torch.ones(1, 32, 48, dtype=torch.bool), 1)
    (relevance,) = run.at_layers(start, ["mid"])
    parts = torch.stack([channel(relevance, k) for k in range(8)])
    one = run.conditional("mid", parts)
    assert torch.allclose(run.conditional("mid", parts, 5), one, atol=1e-5 * one.abs().max())


def test_relevance_starts_as_promised():
    logits = torch.tensor([[[[1.0, -2.0]], [[3.0, 4.0]]]])
    mask = torch.tensor([[[True, True]]])
    found = relevance_of_logits(logits, mask, 0)[0, 0, 0].tolist()
    assert found == pytest.approx([1 / 3, -2 / 3])
    assert relevance_of_logits(logits, mask, 0, sign="positive")[0, 0, 0].tolist() == [1, 0]
    assert relevance_of_logits(logits, mask, 0, "one")[0, 0, 0].tolist() == [0.5, 0.5]
    assert relevance_of_logits(logits, mask, 0, normalise=False)[0, 0, 0].tolist() == [0.5, -1]
    p = logits.softmax(1)[0, 0, 0]
    assert torch.allclose(relevance_of_logits(logits, mask, 0, "probability")[0, 0, 0], p / p.sum())
    assert not relevance_of_logits(logits, mask, 0)[:, 1].any()
    assert not relevance_of_logits(logits, ~mask, 0).any()  # an empty region, no division by zero


def test_centred_logits_are_the_class_less_the_mean_of_all():
    logits = torch.tensor([[[[1.0, -2.0]], [[3.0, 4.0]], [[5.0, 1.0]]]])
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    found = relevance_of_logits(logits, mask, 0, "centred", normalise=False)
    each = torch.tensor([[2 / 3, -4 / 3], [-1.0, -4 / 3], [-5 / 3, -1 / 3]])
    assert torch.allclose(found[0, :, 0], each / 2)
    assert torch.allclose(found[0].sum(0)[0], torch.tensor([-2.0, -3.0]) / 2)
    normed = relevance_of_logits(logits, mask, 0, "centred")
    assert normed.sum(1).abs().sum() == pytest.approx(1)
    assert not relevance_of_logits(logits, mask, 0, "centred", "positive").any()


@pytest.mark.parametrize("composite", ["epsilon_plus", "gamma", "rescale"])
def test_what_all_logits_have_in_common_is_no_part_of_centred_relevance(composite):
    """The same decision with other weights of the last layer: the logits' maps are others, and grow
    without bound; the centred ones are what they were, and so is their growth."""
    x, mask = images(1, 12, 16).double(), torch.ones(1, 12, 16, dtype=torch.bool)
    model, found = pipe(), []
    last = model.module[4].weight
    same = torch.randn(last.shape[1:], generator=torch.Generator().manual_seed(0))
    for size in (0.0, 10.0):
        last.data += size * same.double()
        run = Engine(model, x, composite).run(x)
        maps = []
        for start in ("logit", "centred"):
            maps.append(run.followed(relevance_of_logits(run.evidence, mask, 1, start)))
        found.append(maps)
    (_, centred), (_, same_centred) = found
    apart = [float((a[0] - b[0]).norm() / a[0].norm()) for a, b in zip(*found, strict=True)]
    # What is left is the stabiliser's, where a logit changes its sign.
    assert apart[0] > 0.5 and apart[1] < 0.03
    assert centred[1].growth == pytest.approx(same_centred[1].growth, rel=0.03)


def test_images_are_normalised_by_themselves():
    logits = torch.tensor([1.0, 100.0])[:, None, None, None].expand(2, 2, 1, 3)
    mask = torch.ones(2, 1, 3, dtype=torch.bool)
    assert relevance_of_logits(logits, mask, 1).sum((1, 2, 3)).tolist() == pytest.approx([1, 1])


def test_a_target_is_shared_out_by_what_logits_add_to_it():
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    target = Target(1, Everything(), score="logit").on(logits, None)
    found = relevance_of_target(logits, target)
    assert torch.allclose(found[:, 1], logits[:, 1] / 4) and not found[:, [0, 2]].any()


def test_the_network_is_left_alone():
    model, x = unet(), images(1, 32, 48)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    engine = Engine(model, x)
    engine.run(x, ["mid"])
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert hooks(model) == hooks(engine.model) == 0


def test_after_an_error_no_hook_is_left():
    model, x = unet(), images(1, 32, 48)
    engine = Engine(model, x)
    with pytest.raises(InputError, match="does not exist"):
        engine.run(x, ["nowhere"])
    assert hooks(engine.model) == 0


def test_a_layer_inside_a_residual_branch_is_refused():
    model, x = unet(), images(1, 32, 48)
    engine = Engine(model, x)
    for layer in ("mid.conv2", "mid.bn1", "mid.short"):
        with pytest.raises(InputError, match=r"inside a residual branch of 'mid'.*layer: mid"):
            engine.check_layer(layer)
    for layer in ("mid", "enc2", "dec1", "up1"):
        engine.check_layer(layer)


def test_inference_mode_changes_nothing():
    model, x = unet(), images(1, 32, 48)
    start = torch.ones(1, 32, 48, dtype=torch.bool)

    def found():
        run = Engine(model, x).run(x)
        return run.at_input(relevance_of_logits(run.logits, start, 1))

    expected = found()
    with torch.inference_mode():
        assert torch.allclose(found(), expected, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(found(), expected, atol=1e-6)
