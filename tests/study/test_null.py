"""False uses where nothing is used, and uses found, at the level of a report's findings."""

from functools import partial

import numpy as np
import pytest

from conceptseg.stats.family import by_holm, judge
from conceptseg.study.shared import edits
from tests.study.nulls import Shape, claims, made, planted

RANDOM = {"ace": 20, "dissect": 10}
LACKS = {"ace": ("direction", "signs", "score", "any"), "dissect": ("direction", "signs", "mixed")}


def data_sets(study, groups, lacks, count):
    """Data sets of 50 pairs of class and concept, and the generator that made them."""
    rng = np.random.default_rng(groups)
    shape = Shape(groups, lacks, random=RANDOM[study])
    for _ in range(count):
        yield made(shape, rng, 1 if study == "ace" else shape.concepts), rng


def false_share(study, groups, lacks, count):
    each = (claims(study, data, rng) for data, rng in data_sets(study, groups, lacks, count))
    return float(np.mean([bool(found) for found in each]))


def found_share(study, groups, share, count):
    """Of a use that takes about that share of a class's IoU, among fifty pairs."""
    found = 0
    for data, rng in data_sets(study, groups, LACKS[study][-1], count):
        uses = claims(study, planted(data, share, rng), rng)
        found += any(one.class_ == "class 0" for one in uses)
    return found / count


@pytest.mark.parametrize(("study", "lacks"), [("ace", "any"), ("dissect", "mixed")])
def test_few_data_sets_have_a_false_use(study, lacks, count=15):
    assert false_share(study, 8, lacks, count) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [6, 8, 10, 20])
@pytest.mark.parametrize(("study", "lacks"), [(s, one) for s in LACKS for one in LACKS[s]])
def test_one_data_set_in_twenty_has_a_false_use(study, lacks, groups, count=200):
    """Exponential costs of random edits: by Student's law a third of data sets had false uses, and
    by corrections within each class one in six of eight groups."""
    assert false_share(study, groups, lacks, count) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize("study", ["ace", "dissect"])
def test_what_takes_nearly_all_of_the_iou_is_found_in_eight_groups(study, monkeypatch):
    """Where Holm's correction finds nothing. (In six groups about half of such uses are found.)"""
    assert found_share(study, 8, 0.95, 10) >= 0.8
    monkeypatch.setattr(edits, "judge", partial(judge, policy=by_holm))
    assert found_share(study, 8, 0.95, 3) == 0
