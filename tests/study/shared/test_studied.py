"""What was studied and what was left out, of objects and of the rows of a long table."""

from types import SimpleNamespace

import pytest

from conceptseg.data.draw import drawn
from conceptseg.data.listed import first_of
from conceptseg.data.rows import Columns
from conceptseg.study.permutation.donors import draw_samples
from conceptseg.study.shared import studied
from tests.data.test_rows import manifests

ROWS = 3000


def contexts(count):
    """Of a table and of the same samples as objects."""
    return [SimpleNamespace(manifest=one, seed=3) for one in manifests(count)]


@pytest.fixture
def made(monkeypatch):
    """How many rows become samples."""
    rows, own = [], Columns.sample

    def sample(self, row):
        rows.append(row)
        return own(self, row)

    monkeypatch.setattr(Columns, "sample", sample)
    return rows


@pytest.mark.parametrize("most", [0, 1, 7, 40, 50])
def test_the_first_by_hash_are_those_that_are_drawn(most):
    for context in contexts(40):
        found = first_of(context.manifest.samples, 3, most)
        assert {one.id for one in found} == set(drawn(3, context.manifest.ids, most))
        assert tuple(found) == tuple(studied.first(context, most))
        assert [one.id for one in found] == sorted((s.id for s in found), key=lambda i: int(i[1:]))


def test_of_a_long_table_nothing_becomes_a_sample_but_what_is_drawn(made):
    table, objects = contexts(ROWS)
    study = SimpleNamespace(images=12)
    assert draw_samples(study, table) == draw_samples(study, objects) and len(made) == 12
    assert all(table.manifest.labelled(one) for one in draw_samples(study, table))
    made.clear()
    assert len(list(studied.first(table, 9))) == len(made) == 9
    made.clear()
    kept = [f"s{i}" for i in range(5, ROWS)]
    rows = studied.left_out(table, kept, "not drawn", "no mask")
    assert rows == studied.left_out(objects, kept, "not drawn", "no mask") and not made


def test_images_that_were_left_out_are_named_with_their_reason_as_far_as_they_are_few(monkeypatch):
    monkeypatch.setattr(studied, "NAMED", 2)
    for context in contexts(8):  # s2 and s5 have no labels
        rows = studied.left_out(context, ["s0", "s3"], "not drawn", "no mask")
        assert rows == [
            {"kind": "sample", "sample": "s1", "reason": "not drawn"},
            {"kind": "sample", "sample": "s2", "reason": "no mask"},
            {"kind": "samples", "count": 3, "reason": "not drawn"},
            {"kind": "samples", "count": 1, "reason": "no mask"},
        ]
        alike = studied.left_out(context, ["s0", "s3"], "not kept")
        assert {row["reason"] for row in alike} == {"not kept"} and alike[-1]["count"] == 4
