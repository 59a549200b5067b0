"""Images that rival trees are made from, not those they are compared on, and kept pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.segnbdt.grown import MOST_PIXELS, _first_part, _pixels

STUDY = SimpleNamespace(seed=0)


def context(groups):
    ids = [f"s{i}" for i in range(len(groups))]
    return SimpleNamespace(manifest=SimpleNamespace(ids=ids, groups=groups))


def test_about_half_of_the_groups_make_trees_and_none_is_split():
    groups = [f"g{i % 7}" for i in range(40)]
    ids = [f"s{i}" for i in range(40)]
    first = _first_part(STUDY, context(groups), ids)
    assert len({groups[int(i[1:])] for i in first}) == 3
    rest = {groups[int(i[1:])] for i in set(ids) - first}
    assert rest.isdisjoint({groups[int(i[1:])] for i in first}) and len(rest) == 4


def test_images_of_one_group_are_parted_singly_and_one_image_is_all():
    ids = [f"s{i}" for i in range(10)]
    assert len(_first_part(STUDY, context(["g"] * 10), ids)) == 5
    assert _first_part(STUDY, context(["g"]), ["s0"]) == {"s0"}


@pytest.mark.parametrize(("classes", "most"), [(4, MOST_PIXELS), (32, MOST_PIXELS), (320, 6000)])
def test_pixels_times_classes_are_bounded(classes, most):
    """So that trees of many classes cost no square of them."""
    count = MOST_PIXELS + 1000 if classes <= 32 else 20_000
    logits = np.zeros((count, classes), np.float32)
    logits[:, 0] = np.arange(count)
    kept = {"logits": logits, "truth": np.arange(count, dtype=np.int32)}
    found, truth = _pixels([kept], classes)
    assert found.shape[2] == len(truth) <= most
    assert len(truth) > most / 3
    assert found[0, 0].tolist() == truth.tolist()  # a pixel keeps its label
