"""False uses where nothing is used, and uses found, at the level of a report's findings."""

from functools import partial

import numpy as np
import pytest

from conceptseg.stats.family import by_holm, judge
from conceptseg.study.shared import edits
from tests.study.nulls import Shape, false_share, found_share

RANDOM = {"ace": 20, "dissect": 10}
LACKS = {"ace": ("direction", "signs", "score", "any"), "dissect": ("direction", "signs")}


def shape(study, groups, lacks):
    """Fifty pairs of class and concept."""
    return Shape(groups, lacks, random=RANDOM[study])


def bar(count):
    return 0.05 + 2 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize(("study", "lacks"), [("ace", "any"), ("dissect", "signs")])
def test_few_data_sets_have_a_false_use(study, lacks, count=15):
    assert false_share(study, shape(study, 8, lacks), count) <= bar(count)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [6, 8, 10, 20])
@pytest.mark.parametrize(("study", "lacks"), [(s, one) for s in LACKS for one in LACKS[s]])
def test_one_data_set_in_twenty_has_a_false_use(study, lacks, groups, count=200):
    """By corrections within each class one in six of eight groups had. (Of concepts that are one
    more random direction, one pair in twenty is called used.)"""
    assert false_share(study, shape(study, groups, lacks), count) <= bar(count)


@pytest.mark.parametrize("study", ["ace", "dissect"])
def test_what_takes_nearly_all_of_the_iou_is_found_in_eight_groups(study, monkeypatch):
    """Where Holm's correction finds nothing. (In six groups about half of such uses are found.)"""
    found = partial(found_share, study, shape(study, 8, LACKS[study][-1]), 0.95)
    assert found(10) >= 0.8
    monkeypatch.setattr(edits, "judge", partial(judge, policy=by_holm))
    assert found(3) == 0
