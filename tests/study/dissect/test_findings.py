"""What findings say of the units that were ablated, and which pictures stand under them."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect.ablate import Ablations, losses
from conceptseg.study.dissect.exhibits import illustrate
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.remaining import Remaining
from conceptseg.study.dissect.sections import causal
from conceptseg.study.dissect.tables import losses as loss_table
from tests.study.dissect.test_ablate import study

IMAGES = 20
NAMES = ["shadow", "road", "kerb"]
"""What each of six units detects, by its number here; the last detects nothing."""
DETECTED = np.array([0, 1, 1, 2, 0, 2])
DETECTOR = np.array([True, True, True, True, True, False])


def said(units, concepts=(0,)):
    """The finding of a class that loses all without these units, nothing without random ones."""
    names = tuple(f"{i:02}" for i in range(IMAGES))
    sampling = Sampling(names, names, "images", 0)
    clean = np.full((IMAGES, 1), 0.8)
    random = [np.repeat(clean[:, None], 6, 1)]
    shown = losses(study(), clean, np.zeros((IMAGES, 1, 1)), random, sampling, -clean[:, None])
    ablations = Ablations((concepts,), (tuple(units),), (), shown, (), IMAGES, IMAGES, "zero")
    detection = SimpleNamespace(
        plan=SimpleNamespace(vocabulary=SimpleNamespace(names=NAMES)),
        chosen=SimpleNamespace(concept=DETECTED),
        detector=DETECTOR,
        detectors=lambda concept: np.flatnonzero(DETECTOR & (concept == DETECTED)),
    )
    (found,) = findings(detection, ablations, (Remaining(0.9, 0.8),), ["car"])
    return found


@pytest.mark.parametrize("units", [(0,), (0, 4), (0, 4, 1), (0, 1)])
def test_units_of_which_half_detect_it_are_said_to(units):
    found = said(units)
    assert found.plain == "The network finds car by units that detect shadow."
    assert "Of these" not in found.claim


def test_units_that_mostly_detect_something_else_are_said_to():
    found = said((0, 1, 2, 3, 5))
    more = ", more of which detect road"
    assert found.plain == f"The network finds car by units that overlap shadow{more}."
    assert found.claim.startswith("car uses the units that overlap shadow: without the 5 units")
    end = " 1 of these 5 detects it; others detect road (2) and kerb (1)."
    assert found.claim.endswith(end)
    none = said((3, 5, 1)).claim
    assert none.endswith(" 0 of these 3 detect it; others detect kerb (1) and road (1).")
    both = said((0, 1, 2, 3, 5), (0, 2))
    assert both.plain.endswith("overlap shadow and kerb.")
    assert both.claim.endswith(" 2 of these 5 detect one of them; others detect road (2).")
    assert said((3, 5, 1)).plain.endswith("overlap shadow, more of which detect kerb.")
    assert said((5,)).claim.endswith(" 0 of these 1 detect it.")


def test_the_table_says_what_is_of_context_and_how_many_units_detect_it():
    """Of three concepts with the same units one is context: no name has to be taken apart."""
    kinds = dict(zip(range(3), ("context", "class", "colour"), strict=True))
    vocabulary = SimpleNamespace(names=["rain, snow and ice", *NAMES[1:]], kind=kinds.__getitem__)
    detection = SimpleNamespace(
        plan=SimpleNamespace(vocabulary=vocabulary),
        detectors=lambda concept: np.flatnonzero(DETECTOR & (concept == DETECTED)),
    )
    concepts, sets = ((1, 0, 2), (1, 2)), ((0, 1, 2, 5), (1, 2, 3, 4))
    ids = tuple(f"{i:02}" for i in range(IMAGES))
    own = losses(
        study(),
        np.full((IMAGES, 1), 0.8),
        np.full((IMAGES, 2, 1), 0.8),
        [np.full((IMAGES, 6, 1), 0.8)] * 2,
        Sampling(ids, ids, "images", 0),
        np.zeros((IMAGES, 2, 1)),
    )
    ablations = Ablations(concepts, sets, (), own, (), IMAGES, IMAGES, "zero")
    first, second = loss_table(detection, ablations, ["car"]).rows
    assert first["concept"] == "road, rain, snow and ice and kerb" and first["of_context"] is True
    assert second["of_context"] is False
    assert [(row["detecting"], row["units"]) for row in (first, second)] == [(3, 4), (3, 4)]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"ablate_units": 9}, "overlap a concept most, at most 9 (`ablate_units`)"),
        ({}, "the units that overlap a concept most are ablated together"),
    ],
)
def test_the_report_says_how_many_units_are_ablated_at_most(config, told):
    tables = {"losses": Table(())}
    result = Result("dissect", tables=tables, notes={"ablated_to": "zero"}, config=config)
    text = causal(result).intro
    assert told in text and "all units" not in text


def test_pictures_are_of_as_many_groups_as_there_are():
    """Two units answer most on frames of one drive."""
    rows = [
        {"unit": unit, "sample": f"{group}{n}", "group": group, "picture": "p", "outline": ""}
        for unit, frames in ((7, "aab"), (8, "aca"))
        for n, group in enumerate(frames)
    ]
    units = [{"unit": unit, "label": "shadow", "detector": True} for unit in (7, 8)]
    result = Result("dissect", tables={"units": Table(units), "exemplars": Table(rows)})
    finding = Finding(claim="", n=0, evidence="causal", details={"concept": "shadow"})
    shown = [one.caption for one in illustrate(result)(finding)]
    assert shown == ["a0", "c1", "b2", "a1", "a2", "a0"]
