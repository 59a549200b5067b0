"""What runs of one network say together, class by class."""

from dataclasses import replace

from conceptseg.report.blocks import Report
from conceptseg.report.embedded import Run
from conceptseg.report.index import Entry, as_html, says, together
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.verdict import cannot_tell, concern, none_shown

CLASSES = ["digit 3", "digit 33", "road"]


def finding(class_name, fault=False, **details):
    return Finding(
        claim="c", class_=class_name, effect=1.0, ci=(0.5, 1.5), by="interval", n=9, evidence="e",
        details=details, fault=fault,
    )  # fmt: skip


def entry(study, verdict, *findings, weights="w", data="set"):
    notes = {"classes": CLASSES, "model": "net", "manifest": data}
    result = Result(study, findings, notes=notes, provenance={"weights": weights}, verdict=verdict)
    return Entry(Run(f"{study}-1", result, Report(study)), f"./{study}/report.html")


LOOK = concern("It leans on brick: digit 3.", "Look.")


def test_a_concern_is_of_the_classes_that_the_verdict_names():
    result = entry("ace", LOOK).run.result
    assert [says(result, name) for name in CLASSES] == ["concern", "none shown", "none shown"]
    assert says(result, "tree") == ""


def test_or_of_those_with_evidence_that_they_lean_on_context():
    """Where a sentence names some and counts the others."""
    found = [finding("road", from_context=True), finding("digit 33", from_context=False)]
    result = entry("ace", LOOK, *found).run.result
    assert [says(result, name) for name in CLASSES] == ["concern", "none shown", "concern"]


def told(study, sentence, findings=(), config=None, status=concern, **tables):
    """A result of the classes tram, wire and rail, with these rows."""
    made = {name: Table(rows) for name, rows in tables.items()}
    notes = {"classes": ["tram", "wire", "rail", "background"]}
    verdict = status(sentence, "Look.")
    return Result(study, findings, made, notes=notes, verdict=verdict, config=config or {})


def cells(result):
    return [says(result, name) for name in ("tram", "wire", "rail")]


def test_rows_of_a_class_decide_and_not_the_context_that_a_sentence_names():
    row = {"class": "tram", "context": "wire"}
    of_wire, of_rail = {**row, "class": "wire"}, {**row, "class": "rail"}
    rows = [
        {**row, "verdict": "confirmed"},
        {**of_wire, "verdict": "no reliance shown"},
        {**of_wire, "context": "sky", "verdict": "no reliance shown"},
        {**of_wire, "context": "sand", "verdict": "underpowered"},
        *({**of_rail, "context": name, "verdict": "underpowered"} for name in ("sky", "sand")),
        {**of_rail, "verdict": "no reliance shown"},
    ]
    # Pictures of one pair stand in another table; they are no further pairs.
    shown = [{**of_rail, "verdict": "no reliance shown"}] * 5
    result = told("audit", "tram on wire.", verdicts=rows, examples=shown)
    assert cells(result) == ["concern", "none shown", "cannot tell"]
    assert says(result, "background") == "cannot tell"  # nothing was measured of it
    calm = told("audit", "Nothing.", verdicts=rows[1:], status=none_shown)
    assert cells(calm) == ["cannot tell", "none shown", "cannot tell"]


def test_names_that_a_sentence_leaves_out_are_found_in_the_rows():
    row = {"used": True, "verdict": "used", "concept": 1}
    rows = [
        {**row, "class": "tram", "from_context": True},
        {**row, "class": "wire", "from_context": False},
        {**row, "class": "rail", "from_context": None},
    ]
    result = told("ace", "bus by concept 1 and 3 more.", pairs=rows)
    assert cells(result) == ["concern", "none shown", "cannot tell"]


def test_rows_that_are_not_of_context_say_nothing_where_context_is_asked():
    row = {"used": False, "verdict": "inconclusive", "concept": "blue", "of_context": False}
    shade = {**row, "concept": "shade", "of_context": True}
    rows = [
        {**shade, "class": "tram", "used": True, "verdict": "used"},
        {**shade, "class": "wire", "verdict": "not testable"},
        *({**row, "class": "wire", "concept": name} for name in ("blue", "red", "wire")),
        {**shade, "class": "rail"},
    ]
    alone = [{"class": "wire", "unit": n, "used": False, "verdict": "inconclusive"} for n in "ab"]
    result = told("dissect", "tram by wire and shade.", losses=rows, unit_losses=alone)
    assert cells(result) == ["concern", "cannot tell", "none shown"]


def test_findings_of_mistakes_tell_the_names_that_a_sentence_counts():
    faults = [finding(name, fault=True) for name in ("wire", "tram")]
    assert cells(told("x", "car, bus, tram and 1 more.", faults)) == [
        "concern", "concern", "none shown",
    ]  # fmt: skip
    assert cells(told("x", "car, bus and tram.", faults)) == ["concern", "none shown", "none shown"]
    drawn = [finding("wire", fault=True, caused=True, concept="letters")]
    rows = [{"class": name, "verdict": "inconclusive"} for name in ("tram", "wire", "rail")]
    misled = told("ace", "Misled.", drawn, {"masks": {"letters": "m"}}, pairs=rows)
    assert cells(misled) == ["none shown", "concern", "none shown"]
    assert cells(told("ace", "Misled.", drawn, pairs=rows)) == ["none shown"] * 3


def test_a_concern_that_is_of_no_class_is_told_of_none():
    assert cells(told("saliency", "2 methods mark context.")) == ["cannot tell"] * 3
    moved = told("lcrp", "tram changes most with the background.")
    assert says(moved, "background") == "none shown" and says(moved, "tram") == "concern"


def test_why_a_run_cannot_tell_is_not_told_by_what_it_says_of_other_classes():
    row = {"context": "sky", "verdict": "confirmed", "class": "tram"}
    rows = [row, *({**row, "class": name, "verdict": "underpowered"} for name in ("wire", "rail"))]
    leaning = told("ace", "Look at wire.", [finding("wire", from_context=True)])
    entries = [
        Entry(Run(one.study, replace(one, provenance={"weights": "w"}), Report(one.study)), "./a")
        for one in (
            leaning,
            told("audit", "Tram on sky.", verdicts=rows),
            told("saliency", "2 methods mark context."),
            told("lcrp", "Of 4 none.", status=cannot_tell),
        )
    ]
    (table,) = together(entries)
    said = next(sentence for name, _, sentence in table.rows if name == "wire")
    assert said == (
        "1 of 4 runs raise a concern on wire: ace. Not so: audit: cannot tell (little could have "
        "been shown of this class); saliency: cannot tell (it is of no class by name: 2 methods "
        "mark context); lcrp: cannot tell (Of 4 none)."
    )


def test_a_region_that_is_called_like_a_class_is_no_concern_of_that_class():
    found = [finding("tram", region="wire", own=False)]
    assert cells(told("counterfactual", "tram by wire.", found)) == [
        "concern", "none shown", "none shown",
    ]  # fmt: skip


def test_runs_of_one_network_stand_together_and_say_where_they_differ():
    blind = cannot_tell("Of 4 pairs none could be tested.", "Give more.")
    entries = [
        entry("ace", LOOK),
        entry("audit", LOOK, data="other"),
        entry("lcrp", blind),
        entry("ace", none_shown("Nothing.", "Fine."), weights="another"),
        entry("old", None, weights=None),
    ]
    (table,) = together(entries)
    assert table.heads == ("ace on set", "audit on other", "lcrp on set")
    name, cells, sentence = table.rows[0]
    assert (name, cells) == ("digit 3", ("concern", "concern", "cannot tell"))
    assert sentence == (
        "2 of 3 runs raise a concern on digit 3: ace, audit. Not so: lcrp: cannot tell "
        "(Of 4 pairs none could be tested)."
    )
    page = as_html(entries, [])
    assert page.count('<article class="run"') == 5 and "no verdict" in page
