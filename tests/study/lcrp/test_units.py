"""Scores, sensitivities and curves by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.record import Tail
from conceptseg.study.lcrp import flip
from conceptseg.study.lcrp.assess import Score, pearson
from conceptseg.study.lcrp.background import (
    BLENDS,
    Background,
    Sensitivity,
    blended,
    changes,
    fills,
)
from conceptseg.study.lcrp.choose import complexity
from conceptseg.study.lcrp.classes import weighed
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import Engines, context_score, object_mask, regions
from conceptseg.study.lcrp.flip import Curves, points
from conceptseg.study.lcrp.maps import Found
from conceptseg.study.lcrp.ranks import able_channels, shuffled_relevance
from conceptseg.study.lcrp.sections import doubt
from conceptseg.study.lcrp.shuffles import Shuffles, channel_means
from conceptseg.study.lcrp.tables import _error
from conceptseg.study.lcrp.verdicts import told_of_tests
from tests.small_models import images, seeded, unet, wrapped
from tests.study.ace.small import batch, context


def test_context_score_is_the_positive_mass_outside():
    found = torch.tensor([[[3.0, -9.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]], [[-1.0] * 2] * 2])
    mask = torch.tensor([[True, False], [False, False]])
    assert context_score(found, mask).tolist() == pytest.approx([0.25, 1.0, 0.0])


def test_regions_are_large_enough_and_of_the_prediction():
    prediction = torch.zeros(20, 20, dtype=torch.int64)
    prediction[:8, :8] = 1
    prediction[10:17, 10:19] = 2  # 63 pixels
    found = regions(prediction, (1, 2, 3))
    assert list(found) == [1] and int(found[1].sum()) == 64 and found[1].shape == (1, 20, 20)


def test_the_object_is_the_labels_where_there_are_some():
    region = torch.tensor([[[True, False, False]]])
    labels = torch.tensor([[1, 1, -1]])
    assert object_mask(labels, 1, region).tolist() == [[True, True, False]]
    assert object_mask(labels, 2, region).tolist() == [[True, False, False]]
    assert object_mask(None, 2, region).tolist() == [[True, False, False]]


def test_complexity_counts_channels_up_to_the_share():
    assert complexity(np.array([8.0, -1.0, 1.0, 0.0])) == 0.25
    assert complexity(np.array([1.0, 1.0, -1.0, 1.0, 1.0])) == 0.8
    assert np.isnan(complexity(np.zeros(3)))


def test_change_of_relevance_by_loops():
    rng = np.random.default_rng(0)
    relevance = rng.normal(size=(9, 4))
    relevance[:, 3] = 0
    relevance[2, 0] = 0
    found = changes(relevance)
    for k in range(4):
        total = 0.0
        for v in range(1, 9):
            first, other = relevance[0, k], relevance[v, k]
            largest = max(abs(first), abs(other))
            ratio = (first - other) / largest if largest > 0 else 0.0
            total += abs(min(1.0, max(-1.0, ratio)))
        assert found[0, k] == pytest.approx(total / 8)
        assert found[1, k] == abs(relevance[0, k])


def test_sensitivity_is_weighed_by_relevance():
    found = Sensitivity.of([("a", 1.0, 3.0), ("b", 0.0, 1.0)])
    assert found.value == 0.75 and np.isnan(Sensitivity.of([("a", 1.0, 0.0)]).value)


def test_backgrounds_are_replaced_outside_alone_and_by_the_blend():
    image = torch.full((3, 4, 6), 0.25)
    hidden = fills(image, 0, "a")
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:2] = True
    found = blended(image, hidden, mask)
    assert found.shape == (4 * len(BLENDS), 3, 4, 6)
    assert (found[:, :, :2] == 0.25).all()
    assert torch.allclose(found[4:, :, 2:], hidden[:, :, 2:])
    assert torch.allclose(found[:4, :, 2:], (hidden[:, :, 2:] + 0.25) / 2)


def test_fills_are_what_they_are_called_and_drawn_by_the_id():
    image = torch.zeros(3, 8, 8)
    grey, coloured, black, one = fills(image, 0, "a")
    assert (grey[0] == grey[1]).all() and grey.std() > 0.2
    assert (coloured[0] != coloured[1]).any()
    assert not black.any()
    assert (one == one[:, :1, :1]).all() and one[0, 0, 0] != one[1, 0, 0]
    assert torch.equal(fills(image, 0, "a")[0], grey)
    assert not torch.equal(fills(image, 0, "b")[0], grey)
    assert not torch.equal(fills(image, 1, "a")[0], grey)


def test_points_of_a_curve():
    assert points(30, 15) == list(range(0, 31, 2))
    assert points(3, 15) == [0, 1, 2, 3]
    assert points(128, 4) == [0, 32, 64, 96, 128]


def test_area_under_a_curve():
    curve = np.array([[0.0, -1.0, -3.0], [0.0, 0.0, 2.0]])
    share = np.array([0.0, 0.5, 1.0])
    change = np.repeat(curve[:, None], 7, 1)
    found = Curves(("a", "b"), np.array([1, 1]), change, share, ("x", "y", "z", "u"))
    assert found.area(curve).tolist() == pytest.approx([-0.25 - 1.0, 0.5])
    assert np.array_equal(found.of(3), curve) and np.array_equal(found.random, curve)


def test_classes_of_an_image_count_together_in_a_curve_s_error():
    values = np.array([1.0, 3.0, 2.0, 6.0])
    alone = values.std(ddof=1) / 2
    assert _error(values, list("abcd")) == pytest.approx(alone)
    pairs = np.repeat(values, 2)
    assert _error(pairs, list("aabbccdd")) == pytest.approx(alone)
    assert _error(values, list("aaaa")) is None and _error(values[:0], []) is None


def test_the_order_that_findings_rest_on_is_among_those_compared():
    for composite, more in (("epsilon_plus", 0), ("epsilon_plus_flat", 1), ("rescale", 1)):
        found = flip.methods(SimpleNamespace(composite=composite))
        assert len(found) == 3 + more and composite in found.values()


@pytest.mark.parametrize("composite", ["epsilon_plus", "attention"])
def test_every_order_starts_from_the_same_region(composite, monkeypatch):
    """The predicted one, wherever the labels lie."""
    seen = []
    monkeypatch.setattr(flip.Flip, "_random", lambda *args: [])
    monkeypatch.setattr(
        flip.Flip, "_curves", lambda self, t, b, orders, m, k: seen.append(orders) or np.zeros(0)
    )
    model, x = unet(), images(1, 32, 32)
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, :4, :4] = 1
    study = Lcrp.model_construct(
        composite=composite, zero_bias=True, quantity="logit", sign="signed", random_orders=0,
        flip_images=1, flip_steps=2, reference="mean",
    )  # fmt: skip
    chosen = SimpleNamespace(classes=(1,), units=8, drawn=lambda c, n: ("s00",))
    for own in (labels, None):
        here = context(model, x, "dec2")
        flip.Flip(study).map(here, replace(batch(x), labels=own), {"chosen": chosen})
    first, second = seen
    assert len(first) == len(flip.names(study))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def changes_study(**options):
    return Lcrp.model_construct(
        composite="rescale", zero_bias=True, quantity="logit", sign="signed",
        reference="mean", flip_mode="remove", flip_steps=2, **options,
    )  # fmt: skip


def test_a_change_is_undone_where_changes_are_ranked():
    """All channels flipped are those of the reference, so the curve ends at its logit."""
    model, x = unet(), images(1, 32, 32)
    here, study = context(model, x, "mid"), changes_study()
    tail = Tail.of(model, x, "mid")
    sweep = flip.Flip(study)
    blank = sweep._blank(here, x, tail)
    reference = x.mean((2, 3), keepdim=True).expand_as(x)
    assert torch.allclose(blank, Tail.of(model, reference, "mid").activation, atol=1e-6)
    mask = torch.ones(32, 32, dtype=torch.bool)
    order = np.arange(blank.shape[1])
    (curve,) = sweep._curves(tail, blank, [order], mask, 1)
    ends = tail.resume(blank)[0, 1].mean() - tail.logits[0, 1].mean()
    assert abs(curve[0]) < 1e-6 and curve[-1] == pytest.approx(float(ends), abs=1e-5)
    plain = flip.Flip(changes_study().model_copy(update={"composite": "epsilon_plus"}))
    assert not plain._blank(here, x, tail).any()


def test_relevance_of_a_shuffled_network_speaks_for_the_class_at_the_layer():
    """Its sign means nothing, and is that of what the layer passes on, whatever passes it by."""
    model, x = unet(), images(3, 32, 32)
    here = context(model, x, "mid")
    engines, signs = Engines(changes_study()), []
    region = torch.ones(1, 32, 32, dtype=torch.bool)
    for number in range(3):
        run = engines.shuffled(here, x[:1], number).run(x[number : number + 1], ["mid"])
        for class_id in range(3):
            found = shuffled_relevance(run, region, class_id, "mid")
            start = relevance_of_logits(run.evidence, region, class_id)
            (plain,) = run.at_layers(start, ["mid"])
            assert float(found.double().sum()) > 0
            assert torch.equal(found.abs(), plain.abs())
            signs.append(float(plain.double().sum()) > 0)
    assert True in signs and False in signs


def test_a_background_that_the_network_does_not_read_changes_nothing():
    """Layers of one pixel: what changes are counted from must stay that of the untouched image."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    model, x = wrapped(seeded(lambda: net)), images(1, 24, 24)
    region = torch.zeros(24, 24, dtype=torch.bool)
    region[:12] = True
    hidden = fills(x[0], 0, "s00")
    sweep = Background(changes_study())
    found = sweep._relevance(context(model, x, "1"), x, hidden, region, region[None], 1)
    assert np.abs(found[0]).max() > 1e-3
    assert np.abs(found - found[0]).max() < 1e-6


def test_correlation():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    assert pearson(x, 3 * x - 1) == pytest.approx(1)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(pearson(x[:2], y[:2])) and np.isnan(pearson(np.ones(5), x[:5]))


def test_a_sensitivity_has_an_interval_over_groups():
    """Two groups of equal weight: a draw is all of one, all of the other, or both."""
    found = Sensitivity.of([("a", 1.0, 2.0), ("b", 0.5, 2.0), ("c", 0.0, 4.0)])
    assert found.interval({"a": "x", "b": "x", "c": "y"}, 0) == pytest.approx((0.0, 0.75))
    assert np.isnan(found.interval(dict.fromkeys("abc", "x"), 0)).all()
    assert np.isnan(Sensitivity.of([("a", 1.0, 0.0), ("b", 1.0, 0.0)]).interval(
        {"a": "x", "b": "y"}, 0)).all()  # fmt: skip
    both = Sensitivity.joined([found, Sensitivity.of([("a", 0.0, 8.0)])])
    assert both.value == pytest.approx(3 / 16) and len(both.samples) == 4


class Chosen:
    """Two channels, of three and one part of the class's relevance."""

    concepts = {1: (4, 7)}  # noqa: RUF012
    mean = {1: np.eye(8)[4] * 0.3 + np.eye(8)[7] * 0.1}  # noqa: RUF012


def test_a_class_s_score_weighs_channels_by_relevance_image_by_image():
    columns = {
        "sample": np.array(["a", "a", "b", "b", "c"], dtype=object),
        "class": np.array([1, 1, 1, 1, 1]),
        "unit": np.array([4, 7, 4, 7, 7]),
        "context": np.array([0.2, 0.6, 0.4, 0.0, 0.5]),
        "mass": np.array([1.0, 1.0, 1.0, 0.0, 0.0]),
    }
    maps = Found(columns, np.zeros((5, 2)), {}, {}, {})
    found = weighed(Chosen, maps, 1, ("b", "a", "c"))
    assert found[:2].tolist() == pytest.approx([0.4, 0.3]) and np.isnan(found[2])


def test_what_acts_lies_above_both_baselines():
    numbers = dict.fromkeys(Score.__dataclass_fields__, 0.5)
    acting = Score(**{**numbers, "p_adjusted": 0.01})
    assert acting.acts
    for worse in ({"p_adjusted": 0.06}, {"over_shuffled": -0.1}, {"over_field": -0.01}):
        assert not replace(acting, **worse).acts
    alone = replace(acting, over_shuffled=float("nan"), over_field=0.2)
    assert alone.acts and alone.excess == 0.2 and not replace(alone, over_field=-0.2).acts


def test_what_is_not_shown_is_not_shown_to_be_absent():
    numbers = dict.fromkeys(Score.__dataclass_fields__, 0.5)
    ends = {"over_shuffled_ci": (0.1, 0.4), "over_field_ci": (0.1, 0.4), "images": 8}
    one = Score(**{**numbers, **ends, "p_adjusted": 0.01})
    assert one.verdict == "acts"
    open_ = replace(one, p_adjusted=0.3)
    assert open_.verdict == "cannot be told"
    assert replace(one, p_adjusted=float("nan")).verdict == "cannot be told"
    below = replace(open_, over_field_ci=(-0.4, -0.1))
    assert below.verdict == "does not" and replace(below, images=4).verdict == "cannot be told"


def test_the_larger_p_counts_and_a_test_that_is_missing_is_none_that_passed():
    one = Score(**dict.fromkeys(Score.__dataclass_fields__, 0.5))
    assert replace(one, p_networks=0.2).corrected(0.01) == 0.2
    assert replace(one, p_networks=0.001).corrected(0.01) == 0.01
    assert np.isnan(replace(one, p_networks=float("nan")).corrected(0.01))
    without = replace(one, over_shuffled=float("nan"), p_networks=float("nan"))
    assert without.corrected(0.01) == 0.01


def shuffles(networks=8, channels=6, seed=0):
    """Networks whose levels differ, more than their channels do; two classes, three images."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.5, 0.1, networks)
    scores = {
        (n, c): level[n] + 0.1 * c + rng.normal(0, 0.02, (channels, 3))
        for n in range(networks)
        for c in (1, 2)
    }
    return Shuffles(scores, {1: ("a", "b", "c"), 2: ("b", "c", "d")})


def test_a_channel_is_held_against_the_largest_of_each_shuffled_network_by_hand():
    from scipy.stats import t

    one = shuffles(4)
    means = {key: found.mean(1) for key, found in one.scores.items()}
    centre = {c: np.mean([means[n, c].mean() for n in range(4)]) for c in (1, 2)}
    largest = []
    for n in range(4):
        others = [m for m in range(4) if m != n]
        each = [means[n, c] - np.mean([means[m, c].mean() for m in others]) for c in (1, 2)]
        largest.append(np.concatenate(each).max())
    assert one.centre(2) == pytest.approx(centre[2])
    assert one.largest.tolist() == pytest.approx(largest)
    excess = one.excess(1, {"a": 0.9, "b": 0.8, "d": 0.0})
    assert excess == pytest.approx(0.85 - centre[1])
    distance = (excess - np.mean(largest)) / (np.std(largest, ddof=1) * np.sqrt(1.25))
    assert one.p(excess) == pytest.approx(t.sf(distance, 3))
    assert one.p(one.needed(0.05)) == pytest.approx(0.05)


def test_a_network_that_learnt_nothing_seldom_has_a_channel_beyond_the_others():
    """Of 200 networks like the shuffled ones; their images would all call the excess real."""
    found = 0
    for seed in range(200):
        nine = shuffles(9, seed=seed)
        twins = Shuffles({k: v for k, v in nine.scores.items() if k[0] < 8}, nine.images)
        own = [
            twins.excess(c, dict(zip(twins.images[c], row, strict=True)))
            for c in (1, 2)
            for row in nine.scores[8, c]
        ]
        found += twins.p(max(own)) <= 0.05
    assert found <= 20


def test_what_shuffled_networks_show_of_an_image_follows_its_receptive_field():
    one = shuffles()
    field = {("a", 1): 0.2, ("b", 1): 0.4, ("c", 1): 0.6, ("z", 1): 0.9}
    found = one.baseline(1, field, ("z", "a"))
    assert found.tolist() == pytest.approx([0.5 + one.centre(1), one.centre(1) - 0.2])
    for few in (Shuffles({}, {1: ("a",)}), shuffles(2)):
        assert np.isnan(few.baseline(1, field, ("a",))).all()


def test_too_few_networks_or_images_tell_nothing():
    one = shuffles(2)
    assert np.isnan(one.p(0.9)) and np.isnan(one.needed(0.05))
    assert np.isnan(shuffles().excess(1, {"a": 0.9}))  # one image of three
    nan = float("nan")
    found = channel_means(np.array([[0.2, nan, 0.4], [nan, nan, 0.1]]))
    assert found[0] == pytest.approx(0.3) and np.isnan(found[1])


def test_channels_below_an_even_share_are_not_tested():
    share = np.array([0.3, 0.2, 0.1, -0.05, 0.0])
    assert able_channels(share, 5) == (0,) and able_channels(share * 2, 5) == (0, 1)
    assert able_channels(share, 0) == ()


def told(rows, largest=()):
    result = SimpleNamespace(notes={"shuffled_largest": list(largest)})
    return " ".join(told_of_tests(result, rows))


def test_absence_of_a_test_is_not_told_as_a_result():
    fields = ("p_images", "p_least", "detectable")
    none = dict.fromkeys(fields) | {"verdict": "cannot be told"}
    text = told([none, none])
    assert "0 act from context, 0 were shown not to, and of 2 it cannot be told" in text
    assert "2 pairs were not tested" in text and "p-value" not in text
    row = {"verdict": "does not", "p_images": 0.4, "p_least": 1 / 32, "detectable": 0.2}
    text = told([row] * 4, [0.1, 0.25])
    assert "4 were shown not to" in text and "is 0.031" in text and "only several" in text
    assert "20 points in the median" in text and "10, 25." in text
    assert "only several" not in told([row | {"p_least": 0.001}] * 4)


def test_relevance_that_is_lost_or_made_is_told():
    assert doubt(0.57) == doubt(1.0) == []
    assert "lost on the way" in doubt(0.1)[0].text and "grew on the way" in doubt(2e14)[0].text
