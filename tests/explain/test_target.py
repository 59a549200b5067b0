import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conceptseg.config import TargetConfig
from conceptseg.errors import InputError
from conceptseg.explain.regions import (
    Boundary,
    Box,
    Component,
    Everything,
    FalsePositive,
    Labelled,
    Predicted,
    UserMask,
)
from conceptseg.explain.target import Target, configured
from conceptseg.network.label_map import label_map

SCORES = ("margin", "centred", "logit", "logprob", "probability")
quick = settings(max_examples=25, deadline=None)


def logits(n=2, k=4, h=5, w=6, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, h, w, generator=generator, dtype=torch.float64) * scale


def by_hand(z, c, score):
    """One pixel's score from its logits, in plain floats."""
    others = [math.exp(v) for k, v in enumerate(z) if k != c]
    everything = sum(others) + math.exp(z[c])
    return {
        "margin": z[c] - math.log(sum(others)),
        "centred": z[c] - sum(z) / len(z),
        "logit": z[c],
        "logprob": z[c] - math.log(everything),
        "probability": math.exp(z[c]) / everything,
    }[score]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_scores_pixel_by_pixel(score, reduce):
    z = logits()
    found = Target(1, score=score, reduce=reduce).on(z)(z)
    for n in range(2):
        values = [
            by_hand(z[n, :, y, x].tolist(), 1, score)
            for y in range(5)
            for x in range(6)
            if z[n, :, y, x].argmax() == 1
        ]
        total = sum(values)
        assert found[n].item() == pytest.approx(total / len(values) if reduce == "mean" else total)


@quick
@given(st.integers(0, 99), st.floats(-50, 50))
def test_all_but_the_logit_are_blind_to_a_constant(seed, shift):
    z = logits(seed=seed)
    for score in ("margin", "centred", "logprob", "probability"):
        target = Target(2, Everything(), score=score).on(z)
        assert torch.allclose(target(z), target(z + shift), atol=1e-9)


@quick
@given(st.integers(0, 99))
def test_scores_agree_with_each_other(seed):
    z = logits(seed=seed)
    pixel = Box(1, 1, 2, 2)
    margin, logprob, probability = (
        Target(0, pixel, score=score).on(z)(z) for score in ("margin", "logprob", "probability")
    )
    assert torch.allclose(logprob.exp(), probability)
    assert torch.allclose(margin.sigmoid(), probability)


def test_a_sigmoid_head_s_margin_is_its_logit():
    z = logits(k=1)
    pair = torch.cat((torch.zeros_like(z), z), 1)
    target = Target(1, Everything()).on(pair)
    assert torch.allclose(target(pair), z.mean((1, 2, 3)))


def test_extreme_logits_stay_finite():
    z = logits().float() * 1e4
    for score in SCORES:
        assert Target(1, Everything(), score=score).on(z)(z).isfinite().all()


def test_the_region_stays_where_it_was():
    z = logits()
    target = Target(1).on(z)
    moved = z.roll(1, 3)
    expected = [
        np.mean([by_hand(moved[n, :, y, x].tolist(), 1, "margin") for y, x in
                 np.argwhere((z[n].argmax(0) == 1).numpy())])
        for n in range(2)
    ]  # fmt: skip
    assert target(moved).tolist() == pytest.approx(expected)


def test_variants_are_scored_on_their_image_s_region():
    z = logits()
    target = Target(1).on(z)
    variants = torch.stack((z, z * 2, z - z[:, :1]), 1).flatten(0, 1)
    found = target(variants)
    assert torch.allclose(found[0::3], target(z))
    assert torch.allclose(found[1::3], target(z * 2))


def test_an_empty_region_scores_zero_with_zero_gradient():
    z = logits()
    z[0, 1] = -1e3
    z.requires_grad_()
    for reduce in ("mean", "sum"):
        target = Target(1, reduce=reduce).on(z)
        assert target.empty.tolist() == [True, False]
        assert target.pixels[0] == 0 < target.pixels[1]
        values = target(z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
        assert values[0] == 0 and gradient[0].abs().max() == 0 < gradient[1].abs().max()


@pytest.mark.parametrize("score", SCORES)
def test_gradients(score):
    z = logits(n=1, h=2, w=3, scale=1.0).requires_grad_()
    target = Target(1, Everything(), score=score).on(z)
    assert torch.autograd.gradcheck(target, (z,))


def test_labels():
    z = logits()
    labels = torch.full((2, 5, 6), -1)
    labels[:, :, :3] = 1
    target = Target(1, Labelled(1)).on(z, labels)
    assert target.mask[:, :, :3].all() and not target.mask[:, :, 3:].any()
    with pytest.raises(InputError, match="needs labels"):
        Target(1, Labelled(1)).on(z)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Target(1, score="loss"), "score is one of margin, centred, logit, .*'loss'"),
        (lambda: Target(1, reduce="max"), "reduce is one of mean, sum"),
        (lambda: Target(4).on(logits()), "class 4 is not among the 4"),
        (lambda: Target(-1).on(logits()), "class -1 is not among"),
        (lambda: Target(0).on(logits(k=1)), "margin score needs at least two classes"),
        (lambda: Target(0).on(logits())(logits(h=7)), "region that was fixed on"),
        (lambda: Target(0).on(logits())(logits(n=3)), "region that was fixed on"),
    ],
)
def test_bad_targets(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_configuration():
    assert configured(TargetConfig(), 2) == Target(2, Predicted(2))
    config = TargetConfig(region="false_positive", part="boundary", radius_px=2, score="logit")
    assert configured(config, 1) == Target(1, Boundary(FalsePositive(1), 2), score="logit")
    config = TargetConfig(part="largest", box=(0, 0, 2, 2), reduce="sum")
    region = Component(Predicted(0), "largest") & Box(0, 0, 2, 2)
    assert configured(config, 0) == Target(0, region, reduce="sum")
    assert TargetConfig.model_validate(config.model_dump()) == config
    for wrong in ({"region": "predictd"}, {"scores": "logit"}, {"radius_px": 0}):
        with pytest.raises(ValidationError):
            TargetConfig.model_validate(wrong)


def test_a_user_mask_as_region():
    z = logits()
    mask = torch.zeros(2, 5, 6, dtype=torch.bool)
    mask[0, 2, 2] = True
    target = Target(3, UserMask(mask)).on(z)
    assert target.empty.tolist() == [False, True]
    assert target(z)[0].item() == pytest.approx(by_hand(z[0, :, 2, 2].tolist(), 3, "margin"))


def test_a_known_prediction_fixes_the_same_regions():
    """Of many targets of the same images the prediction is made once."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 7, 6, 5, generator=generator)
    labels = torch.randint(-1, 7, (2, 6, 5), generator=generator)
    known = label_map(logits)
    for region in ("predicted", "labelled", "true_positive", "false_positive", "false_negative"):
        for class_id in range(7):
            target = configured(TargetConfig(region=region), class_id)
            plain, by_it = target.on(logits, labels), target.on(logits, labels, known)
            assert torch.equal(plain.mask, by_it.mask)
    with pytest.raises(InputError, match="labels of shape"):
        target.on(logits, labels[:, :4], known)
