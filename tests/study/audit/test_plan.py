"""What `check` says of an audit of hundreds of classes: its cost at most, and how to narrow it."""

from types import SimpleNamespace

import pytest

from conceptseg.study.audit.plan import remarks
from conceptseg.study.audit.swap import Swap
from tests.study.audit.small import audit


def context(classes, images):
    model = SimpleNamespace(classes=[f"c{n}" for n in range(classes)], class_id=lambda name: 0)
    manifest = SimpleNamespace(background=None, samples=[None] * images)
    return SimpleNamespace(model=model, manifest=manifest, held=None)


@pytest.mark.parametrize(
    ("classes", "images", "each"), [(3, 500, 4 + 5 * 5), (500, 60, 63), (500, 60_000, 4 + 5 * 502)]
)
def test_no_image_has_more_donors_than_there_are_others(classes, images, each):
    study = audit(images=40, donors=5)
    assert Swap(study).forwards(context(classes, images)) == classes * min(40, images) * each


def test_many_pairs_are_told_with_how_to_name_fewer():
    assert remarks(audit(), context(10, 100)) == []
    ((what, text),) = remarks(audit(), context(150, 100))
    assert what == "pairs" and "150 classes by 151 contexts" in text
    assert "data.classes and context_classes" in text
