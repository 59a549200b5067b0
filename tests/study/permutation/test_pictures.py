"""Which images are pictured: what changes most, and each class of which something is claimed."""

from types import SimpleNamespace

import numpy as np

from conceptseg.engine.known import Known
from conceptseg.report.blocks import Picture
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.study.permutation.assess import IMPORTANCES
from conceptseg.study.permutation.config import OVERALL
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.pictures import MOST_CLASSES, held, pictured
from conceptseg.study.permutation.sections import illustrate

CLASSES = [f"c{k}" for k in range(12)]


def claimed(name, loss, passed=True, part="phase", scheme="swap", far=0.05):
    variant = SimpleNamespace(scheme=scheme, feature=SimpleNamespace(name=part))
    test = SimpleNamespace(passed=passed)
    loss = Estimate(loss, loss - far, loss + far, 20, "images")
    return SimpleNamespace(class_name=name, loss=loss, test=test, variant=variant)


def known(importances, changes):
    """Image i holds class i alone, and changes by so much."""
    n, k = len(changes), len(CLASSES)
    clean, overlap = np.full((n, k), np.nan), np.full((n, 1, 1, k), np.nan)
    for i, change in enumerate(changes):
        clean[i, i % k], overlap[i, 0, 0, i % k] = 0.1, change
    ids = tuple(f"s{i:02d}" for i in range(n))
    deltas = Deltas(ids, (), clean, overlap, np.zeros((n, 2, k)), np.zeros((n, 1, 2, k)))
    return Known() | DELTAS(deltas) | IMPORTANCES(tuple(importances))


def test_a_class_of_which_something_is_claimed_is_pictured_by_an_image_that_holds_it():
    """By that which changes most in it, unless one of the gallery holds it already."""
    changes = [0.9, 0.8, *np.linspace(0.1, 0.2, 22)]
    told = known(
        [
            claimed("c1", 0.9),  # in the gallery
            claimed("c5", 0.3),
            claimed("c7", 0.5),
            claimed("c3", 0.8, passed=False),
            claimed("c4", 0.8, scheme="mean"),
            claimed("c6", 0.2, far=0.21),  # images that none of these shows may lose nothing
            claimed(OVERALL, 1.0),
        ],
        changes,
    )
    assert pictured(told, 2, CLASSES) == ["s00", "s01", "s19", "s17"]
    assert held(told[DELTAS], 19, CLASSES) == ["c7"]
    every = known([claimed(name, 0.5) for name in CLASSES], changes)
    assert len(pictured(every, 2, CLASSES)) == 2 + MOST_CLASSES - 2
    assert pictured(known([], changes), 2, CLASSES) == ["s00", "s01"]


def test_a_finding_of_a_class_shows_images_that_hold_it():
    images = (("a", ["c0", "c1"], True), ("b", ["c1"], True), ("d", ["c2"], False))
    rows = [
        {"sample": s, "what": what, "picture": f"{s}-{what}", "classes": held, "gallery": first}
        for what in ("clean", "phase, swap")
        for s, held, first in images
    ]
    chosen = illustrate(SimpleNamespace(tables={"examples": Table(rows)}))

    def shown(name):
        found = chosen(SimpleNamespace(class_=name, details={"part": "phase"}))
        assert all(isinstance(one, Picture) for one in found)
        return [one.key for one in found if one.key.endswith("swap")]

    assert shown(None) == ["a-phase, swap", "b-phase, swap"]
    assert shown("c0") == ["a-phase, swap"] and shown("c2") == ["d-phase, swap"]
    assert shown("c3") == []
