"""Which images and classes a saliency study explains."""

import numpy as np
import pytest
import torch

from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.saliency.choose import CASES, Choose, cases, draw_cases
from conceptseg.study.saliency.config import Saliency
from tests.explain.explainers.planted import red_finder, two_red_squares
from tests.small_models import images
from tests.study.ace.small import batch, context


def held(**classes):
    table = SampleTable.empty()
    for priority, (sample_id, own) in enumerate(classes.items()):
        one = {"class": np.array(own, dtype=np.int64)}
        table = table.merge(SampleTable.of(sample_id, one, priority=priority, classes=own))
    return table


def study(classes=(), **changes):
    data = {"manifest": "m", "classes": classes}
    model = {"source": "planted", "name": "clean"}
    return Saliency(**{"data": data, "model": model, "images": 4, **changes})


def drawn(one, here, x):
    """What is drawn of a batch by a study."""
    return draw_cases(one, here, Choose(one).map(here, batch(x), Known()))[CASES]


def test_classes_take_turns_and_rare_ones_are_not_crowded_out():
    table = held(a=[1], b=[1], c=[1, 2], d=[1, 3], e=[1])
    assert cases(study(), table) == (("c", 2), ("d", 3), ("a", 1), ("b", 1))


def test_no_image_is_taken_twice_and_none_is_made_up():
    table = held(a=[1], b=[1, 2])
    assert sorted(cases(study(images=10), table)) == [("a", 1), ("b", 2)]


def test_several_classes_of_an_image():
    table = held(a=[1, 2, 3], b=[2, 3])
    chosen = cases(study(classes_per_image=2), table)
    assert len(chosen) == 4 and len(set(chosen)) == 4
    assert {s for s, _ in chosen} == {"a", "b"}
    assert all(c in table.tables[s]["class"] for s, c in chosen)


def test_the_hash_decides_not_the_order():
    one, two = held(a=[1], b=[1]), SampleTable.empty()
    for sample_id, priority in (("b", 1), ("a", 0)):
        arrays = {"class": np.array([1])}
        two = two.merge(SampleTable.of(sample_id, arrays, priority=priority, classes=[1]))
    three = study(images=2)
    assert cases(three, one) == cases(three, two) == (("a", 1), ("b", 1))


def test_small_regions_do_not_count():
    """Two red squares of 24 px each in 16 x 24: 12.5 % of the image."""
    x = two_red_squares()
    here = context(red_finder(), x, "encoder")
    for least, expected in ((0.12, [("s00", 0), ("s00", 1)]), (0.13, [("s00", 0)])):
        one = study(min_region_fraction=least, classes_per_image=2)
        assert sorted(drawn(one, here, x)) == expected


def test_a_region_that_is_empty_everywhere_is_one_clear_line():
    x = images(2, 16, 24) * 0
    here = context(red_finder(), x, "encoder")
    with pytest.raises(InputError, match="predicted is empty, or below 0.10%.*class 1.*2 images"):
        drawn(study(classes=("class 1",)), here, x)


def test_a_network_that_returns_nan_is_named_with_its_image():
    x = two_red_squares()
    model = red_finder()
    with torch.no_grad():
        model.module.tail.bias.fill_(float("nan"))
    here = context(model, x, "encoder")
    given = batch(x)
    with pytest.raises(InputError, match="s00"), model.watching(given.images, given.ids):
        Choose(study()).map(here, given, Known())
