"""The maps beside a study's result: keys lead from the table to pictures and into the report."""

import numpy as np
import pytest

from conceptseg.report.blocks import Gallery, Picture, Prose
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.shared import local_maps
from conceptseg.study.shared.compare import Comparison

METHODS = ("seg_grad_cam", "rise (masks 500)")


@pytest.fixture
def comparison():
    maps = {
        m: [np.full((2, 3), 10 * k + n, np.float32) for n in (0, 1)] for k, m in enumerate(METHODS)
    }
    drawn = {m: [f"{m} {n}".encode() for n in (0, 1)] for m in METHODS}
    chosen = (("scene a", 1), ("scene b", 0))
    return Comparison(chosen, METHODS, maps, dict.fromkeys(METHODS, 1.0), [b"a", b"b"], drawn)


def result(comparison, methods=METHODS):
    table = local_maps.table(comparison, ("road", "car"))
    return Result("toy", [], {"saliency": table}, notes={"methods": list(methods)})


def test_each_key_of_the_table_is_a_picture_of_its_own(comparison):
    rows = local_maps.table(comparison, ("road", "car")).rows
    images = local_maps.pictures(comparison)
    assert [(row["sample"], row["class"]) for row in rows] == [
        ("scene a", "car"),
        ("scene b", "road"),
    ]
    assert [images[row["picture"]] for row in rows] == [b"a", b"b"]
    for n, row in enumerate(rows):
        assert [images[row[m]] for m in METHODS] == [f"{m} {n}".encode() for m in METHODS]
    assert len(images) == 6


def test_arrays_hold_the_maps_themselves(comparison):
    found = local_maps.arrays(comparison)
    assert len(found) == 4
    assert sorted(float(one[0, 0]) for one in found.values()) == [0, 1, 10, 11]
    assert all(one.shape == (2, 3) and one.dtype == np.float32 for one in found.values())


def test_a_row_of_the_section_holds_the_image_and_every_method(comparison):
    section = local_maps.section(result(comparison), "Beside the rest.")
    (gallery,) = section.blocks
    assert isinstance(gallery, Gallery) and gallery.columns == ("image", *METHODS)
    images = local_maps.pictures(comparison)
    for _, shown in gallery.rows:
        assert len(shown) == 3 and all(picture.key in images for picture in shown)


def test_without_maps_the_section_says_so(comparison):
    (said,) = local_maps.section(result(comparison, ()), "").blocks
    assert isinstance(said, Prose) and said.text


def test_a_finding_of_no_class_is_not_pictured_by_some_class_s_maps(comparison):
    """Those of digit 3 beside "where layers agree, images are segmented better" show neither."""
    whole = result(comparison)
    chosen = local_maps.illustrate(whole)
    said = {"claim": "seen", "n": 8, "evidence": "estimate"}
    name = whole.tables["saliency"].rows[0]["class"]
    assert chosen(Finding(**said), []) == [] and chosen(Finding(class_=name, **said), [])
    assert chosen(Finding(class_="another", **said), []) == []


def test_a_fault_shows_the_mistakes_and_not_what_detects_the_concept():
    """Units that detect "bottom left" were shown for road that is seen there in error."""
    result = Result("x", tables={"saliency": Table([])}, notes={"methods": []})
    mistakes, units = [Picture("mistake-3-a", "road, false")], [Picture("photo-b", "unit 7")]
    chosen = local_maps.illustrate(result, lambda finding: units)
    said = {"claim": "seen", "n": 8, "evidence": "mistake-3"}
    assert chosen(Finding(fault=True, **said), mistakes) == mistakes
    assert chosen(Finding(fault=True, **said), []) == units
    assert chosen(Finding(**said), mistakes) == units
