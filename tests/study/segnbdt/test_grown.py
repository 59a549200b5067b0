"""Which images rival trees are made from: not those they are compared on."""

from types import SimpleNamespace

from conceptseg.study.segnbdt.grown import _first_part

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
