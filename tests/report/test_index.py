"""What runs of one network say together, class by class."""

from conceptseg.report.blocks import Report
from conceptseg.report.embedded import Run
from conceptseg.report.index import Entry, as_html, says, together
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import cannot_tell, concern, none_shown

CLASSES = ["digit 3", "digit 33", "road"]


def finding(class_name, **details):
    return Finding(
        claim="c", class_=class_name, effect=1.0, ci=(0.5, 1.5), by="interval", n=9, evidence="e",
        details=details,
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
