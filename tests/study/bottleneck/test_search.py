"""Planted slices are found by name and by their images; where none is, few are found."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.search import Condition, joined, search_slices

COLUMNS = {"tile": ("brick", "grass", "sand"), "half": ("upper", "lower"), "ink": ("a", "b", "c")}
COLUMNS |= {f"c{k}": ("x", "y") for k in range(5)}


def scenes(number, n=400, groups=None):
    """Images with values of columns, and qualities of 0.9 that know nothing of them."""
    rng = np.random.default_rng([number, n])
    values = {name: rng.choice(own, n) for name, own in COLUMNS.items()}
    conditions = [
        Condition(f"{name} = {one}", name, values[name] == one)
        for name, own in COLUMNS.items()
        for one in own
    ]
    quality = np.clip(rng.normal(0.9, 0.07, n), 0, 1)
    place = np.arange(n) if groups is None else rng.integers(0, groups, n)
    names = tuple(f"s{i:03d}" for i in range(n))
    sampling = Sampling(names, tuple(f"g{g:03d}" for g in place), "groups", 0, 100)
    return values, conditions, quality, sampling, rng


def searched(conditions, quality, sampling, seed=0):
    options = {"length": 3, "least": 8, "seed": seed}
    return search_slices(conditions, quality, 1 - quality, sampling, **options)


PLANTED = [
    {"tile": "brick", "half": "lower"},
    {"tile": "sand", "ink": "b", "half": "upper"},
    {"ink": "c", "c0": "x"},
    {"tile": "grass", "c1": "y", "c2": "x"},
]


@pytest.mark.parametrize(
    "planted", [*PLANTED[:2], *(pytest.param(one, marks=pytest.mark.slow) for one in PLANTED[2:])]
)
def test_nine_of_the_first_ten_images_are_of_the_planted_slice(planted):
    """Of 15 data sets each; and no more than one in twenty of what is claimed is another.

    Of 400 images the second holds 22, of which a half may be fewer than the ten that are looked at.
    """
    hits, claims, false = list[float](), 0, 0
    for number in range(15):
        values, conditions, quality, sampling, rng = scenes(number, 600)
        truth = np.logical_and.reduce([values[name] == one for name, one in planted.items()])
        quality = np.where(truth, np.clip(rng.normal(0.55, 0.15, len(quality)), 0, 1), quality)
        found = [one for one in searched(conditions, quality, sampling) if one.test.passed]
        worst = sorted(found, key=lambda one: one.difference.value)
        hits.append(float(truth[worst[0].members][:10].mean()) if worst else 0.0)
        worse = [one for one in worst if one.difference.value < 0]
        claims += len(worse)
        # What holds less of it than all images do has nothing to do with it.
        false += sum(truth[one.members].mean() <= truth.mean() for one in worse)
    assert np.mean(hits) >= 0.9
    assert false <= 0.05 * claims


def test_a_slice_is_named_by_its_conditions():
    values, conditions, quality, sampling, rng = scenes(1)
    truth = (values["tile"] == "brick") & (values["half"] == "lower")
    quality = np.where(truth, rng.normal(0.4, 0.1, len(quality)), quality)
    found = {one.name: one for one in searched(conditions, quality, sampling)}
    one = found["half = lower and tile = brick"]
    assert one.kind == "searched" and one.test.passed
    assert (truth & one.members).sum() == one.members.sum() < truth.sum()  # of one half alone


@pytest.mark.parametrize(("groups", "sets"), [(None, 30), (40, 20)])
def test_where_quality_knows_nothing_few_searches_find_a_slice(groups, sets):
    false = 0
    for number in range(sets):
        _, conditions, quality, sampling, _ = scenes(number, 160, groups)
        false += any(one.test.passed for one in searched(conditions, quality, sampling, number))
    assert false <= sets * (0.05 + 2 * np.sqrt(0.05 * 0.95 / sets))


def test_each_condition_of_a_slice_makes_it_worse_and_none_says_it_twice():
    values, conditions, quality, _, _ = scenes(2)
    quality = np.where(values["tile"] == "brick", 0.4, quality)
    first = np.arange(len(quality)) % 2 == 0
    found = joined(conditions, quality, first, 3, 8)
    assert found[0].name == "tile = brick"
    for one in found:
        assert len({condition.column for condition in one.conditions}) == len(one.conditions)
        own = quality[one.members & first].mean()
        for out in range(len(one.conditions)):
            rest = [c.members for k, c in enumerate(one.conditions) if k != out]
            if rest:
                assert own < quality[np.logical_and.reduce(rest) & first].mean()
    for one in found[1:]:
        both = (one.members & found[0].members).sum() / (one.members | found[0].members).sum()
        assert both < 0.5
