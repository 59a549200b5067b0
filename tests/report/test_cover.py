"""What all reports say alike."""

from types import SimpleNamespace

import pytest

from conceptseg.data.manifest import Sample
from conceptseg.report import cover
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import FEWEST
from conceptseg.study.shared import studied

NOTES = {
    "model": "unet", "origin": "unet.pt", "manifest": "CamVid", "images": 8, "images_given": 9,
    "unit": "image", "groups": 8, "manifest_groups": 3,
}  # fmt: skip


def report(notes, **more):
    words = {"title": "A title", "method": "ACE on", "lead": "", "sections": (), "limits": ("own",)}
    return cover.report(Result("x", notes=notes), **words, **more)


def test_the_cover_has_what_all_have_then_the_studys_own():
    made = report(NOTES | {"layer": "encoder.4"}, facts=(("Nodes", 3),))
    assert made.subtitle == "ACE on unet, data CamVid"
    assert list(made.facts) == [
        ("Network", "unet"), ("Weights", "unet.pt"), ("Layer", "encoder.4"), ("Data", "CamVid"),
        ("Images", "8 of 9 given"), ("Intervals and tests count", "8 images"), ("Nodes", 3),
    ]  # fmt: skip
    assert "Layer" not in dict(report(NOTES).facts)


def test_images_that_are_one_file_limit_what_is_said():
    same = {"repeated": {"images": 3, "first": ["s02", "s04"]}}
    words = {"title": "A title", "method": "ACE on", "lead": "", "sections": (), "limits": ()}
    made = cover.report(Result("x", notes=NOTES, provenance=same), **words)
    (limit,) = [one for one in made.limits if "the same file" in one]
    assert limit.startswith("3 of the images") and "first s02 and s04" in limit
    assert not any("the same file" in one for one in report(NOTES).limits)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, True),
        ({"manifest_groups": 8}, False),  # each image is a group of its own
        ({"unit": "group", "groups": 3}, False),
    ],
)
def test_images_of_few_groups_limit_what_is_said(changes, said):
    limits = report(NOTES | changes).limits
    assert limits[0] == "own"
    assert any("come from 3 groups" in limit for limit in limits) == said
    unit = changes.get("unit", "image")
    assert f"No interval is computed from fewer than {FEWEST} {unit}s." in limits


def test_earlier_notes_give_the_manifests_groups_where_images_were_counted():
    notes = {key: value for key, value in NOTES.items() if key != "manifest_groups"}
    notes |= {"unit": "image", "groups": 3}
    assert cover.counted(notes) == "8 images"
    assert any("come from 3 groups" in limit for limit in report(notes).limits)


def test_one_of_a_kind_is_not_many():
    assert cover.counted({"unit": "group", "groups": 1}) == "1 group"
    assert cover.counted({"unit": "group", "groups": 4}) == "4 groups"
    assert cover.counted({"unit": "image"}) == "images"


def context():
    samples = [Sample(id=f"s{n}", group=f"g{n // 2}", image=f"s{n}.png") for n in range(4)]
    manifest = SimpleNamespace(name="CamVid", samples=samples, sample=lambda i: samples[int(i[1])])
    return SimpleNamespace(manifest=manifest, model=SimpleNamespace(name="unet", origin="random"))


def test_notes_count_images_and_groups():
    comparison = SimpleNamespace(methods=("seg_grad_cam",))
    notes = studied.notes(context(), ["s0", "s1"], ["g0", "g0"], "group", comparison, layer="x")
    assert notes == {
        "model": "unet", "origin": "random", "manifest": "CamVid", "images": 2, "images_given": 4,
        "unit": "group", "groups": 1, "manifest_groups": 1, "methods": ["seg_grad_cam"],
        "layer": "x",
    }  # fmt: skip
