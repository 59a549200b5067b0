"""What is a concern of dissect, and what says nothing."""

import pytest

from conceptseg.study.dissect.verdict import verdict as dissect
from tests.study.verdicts import result


def test_dissect_asks_for_context_alone():
    concepts = [
        {"concept": "known context", "category": "context"},
        {"concept": "red", "category": "colour"},
    ]

    def verdict(*losses, known=concepts):
        rows = [{"class": "car", "concept": c, "used": u, "verdict": v} for c, u, v in losses]
        return dissect(result("dissect", losses=rows, concepts=known))

    def said(*losses):
        return verdict(*losses).status

    unasked = verdict(("red", True, "used"), known=concepts[1:])
    assert unasked.status == "cannot tell" and "that car uses units of red." in unasked.sentence
    assert "audit" in unasked.advice
    unasked = verdict(("red", False, "inconclusive"), known=concepts[1:])
    assert unasked.status == "cannot tell" and "uses units of" not in unasked.sentence
    assert said(("red and known context", True, "used")) == "concern"
    assert said(("red", True, "used")) == "none shown"
    assert said(("known context", False, "inconclusive")) == "none shown"
    assert said(("known context", False, "not testable")) == "cannot tell"
    assert said() == "cannot tell"


@pytest.mark.parametrize(
    ("blind", "others", "status", "words"),
    [
        (3, 9, "cannot tell", "Of 3 pairs of class and context, 3 could hardly"),
        (2, 9, "cannot tell", "Of 3 pairs of class and context, 2 could hardly"),
        (1, 0, "none shown", "Of 3 pairs of class and context, 1 could hardly"),
        (0, 0, "none shown", "No class was shown to use units of context (shade)."),
    ],
)
def test_dissect_counts_what_could_be_told_of_context_alone(blind, others, status, words):
    """Pairs of class and colour could all have been shown; they say nothing of context."""
    concepts = [{"concept": "shade", "category": "context"}]
    row = {"class": "car", "used": False, "verdict": "inconclusive"}
    shade = {**row, "concept": "shade", "of_context": True}
    rows = [{**shade, "verdict": "underpowered"}] * blind + [shade] * (3 - blind)
    rows += [{**row, "concept": "blue", "of_context": False}] * others
    found = dissect(result("dissect", losses=rows, concepts=concepts))
    assert found.status == status and words in found.sentence


def test_dissect_knows_context_among_three_concepts_of_the_same_units():
    concepts = [{"concept": "shade", "category": "context"}]
    row = {"class": "car", "used": True, "verdict": "used", "units": 8}
    merged = {**row, "concept": "blue, shade and flat"}
    for own in (merged, {**merged, "of_context": True}):  # of earlier versions, and of this one
        found = dissect(result("dissect", losses=[own], concepts=concepts))
        assert found.status == "concern" and "car by blue, shade and flat" in found.sentence
    named = {**row, "concept": "shade and sun", "of_context": False}
    assert dissect(result("dissect", losses=[named], concepts=concepts)).status == "none shown"


def test_dissect_says_whether_units_detect_context_or_but_overlap_it():
    row = {"concept": "shade", "used": True, "verdict": "used", "of_context": True, "units": 9}
    rows = [{**row, "class": "car", "detecting": 5}, {**row, "class": "bus", "detecting": 4}]
    concepts = [{"concept": "shade", "category": "context"}]

    def said(*own):
        return dissect(result("dissect", losses=own, concepts=concepts)).sentence

    assert said(rows[0]) == "Classes use units that detect context (car by shade)."
    assert said(rows[1]) == "Classes use units that overlap context (bus by shade)."
    both = "detect context (car by shade), and units that overlap context (bus by shade)."
    assert said(*rows).endswith(both)


@pytest.mark.parametrize(
    ("detectors", "blocks", "status"),
    [(0, 6, "none shown"), (0, 5, "cannot tell"), (None, 6, "cannot tell")],
)
def test_dissect_where_no_unit_detects_context(detectors, blocks, status):
    """Nothing was ablated for it; with too few images, no unit was compared with it either, and
    with too few groups none could have been shown."""
    concepts = [{"concept": "shade", "category": "context", "detectors": detectors}]
    rows = [{"class": "car", "concept": "blue", "used": True, "verdict": "used"}]
    notes = {"null": {"blocks": blocks}}
    found = dissect(result("dissect", notes, losses=rows, concepts=concepts))
    assert (
        found.status == status and "No unit was shown to detect context (shade)" in found.sentence
    )


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip
