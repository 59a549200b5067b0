"""The report of a saliency study, from its result alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.saliency import attacked, brush, exhibits, sections
from conceptseg.study.saliency.standing import MASK_COPY

Rows = Sequence[Mapping[str, Any]]
LIMITS = (
    "A metric that hides pixels shows the network images unlike those it was trained on; what it "
    "says depends on the fill. The metrics' parameters are listed with them.",
    "Dice Explained favours maps that keep the object, deletion favours maps that cover it: both "
    "reward a copy of the prediction. That is why the copy is listed in every table.",
    "A mean rank adds up metrics that measure different things. Look at the metric that your "
    "question needs. Localisation counts in no rank: it rewards tracing the prediction.",
    "Maps show places. They do not say what is there, or whether the network uses it as a cause.",
)


def compose(result: Result) -> Report:
    """Which methods to believe: ranks, trade-offs, trivial maps, sanity, context, pictures."""
    notes = result.notes
    return cover.report(
        result,
        illustrate=exhibits.illustrate(result),
        title="Local explanations of a segmentation network, compared",
        method="Saliency methods on",
        lead=_lead(result),
        facts=(
            ("Cases", notes["cases"]),
            ("Region", notes["region"]),
            ("Score", notes["score"]),
        ),
        sections=(
            sections.standing(result),
            sections.trade(result),
            sections.against(result),
            sections.sanity(result),
            sections.context(result),
            exhibits.gallery(result),
            brush.section(result),
            attacked.section(result),
            sections.cost(result),
            sections.numbers(result),
        ),
        limits=(
            *LIMITS,
            f"Metrics that explain again were computed on {notes['sanity']} of {notes['cases']} "
            "cases; their intervals are wide.",
        ),
    )


def _lead(result: Result) -> str:
    notes, rows = result.notes, result.tables["methods"].rows
    trivial = [row for row in rows if row["family"] == "baseline"]
    real = [row for row in rows if row["family"] != "baseline"]
    methods = f"{counted(len(real), 'local method')} and {counted(len(trivial), 'trivial map')}"
    metrics = counted(len(notes["metrics"]), "metric")
    text = (
        f"{methods} explained the same {counted(notes['cases'], 'case')} (an image and a class in "
        f"it) of {notes['model']}, and {metrics} judged every map. "
    )
    if real and real[0]["rank"] is not None:
        text += f"The best mean rank of a method is that of {real[0]['method']}."
        text += _ahead(trivial, real[0]["rank"])
    text += _blank(rows, int(as_number(notes["cases"])))
    if told := [f"{row['method']}: {row['remarks']}" for row in rows if row.get("remarks")]:
        text += f" What speaks against maps, by method and number of cases: {'; '.join(told)}."
    return text + _against_copy(result, {row["method"] for row in real})


def _blank(rows: Rows, cases: int) -> str:
    """Which methods' maps are zero everywhere in all cases, and in some."""
    count = {row["method"]: row.get("blank") or 0 for row in rows}
    always = [method for method, number in count.items() if number == cases]
    parts = [f"{method} in {n}" for method, n in count.items() if 0 < n < cases]
    text = ""
    if always:
        text += (
            f" The maps of {', '.join(always)} are zero everywhere in all cases: what the metrics "
            "say of them is what they say of no map."
        )
    if parts:
        text += f" Maps are zero everywhere in some of the {cases} cases: {', '.join(parts)}."
    return text


def _ahead(trivial: Rows, rank: float) -> str:
    """How many trivial maps rank above the best method; nothing where none was compared."""
    ahead = sum(row["rank"] is not None and row["rank"] < rank for row in trivial)
    if ahead:
        which = "One trivial map ranks" if ahead == 1 else f"{ahead} trivial maps rank"
        return f" {which} above it: by these metrics no method adds to such maps."
    return " No trivial map ranks above it." if trivial else ""


def _against_copy(result: Result, real: set[str]) -> str:
    """How many of the `real` methods do better, how many worse, and how many were inconclusive."""
    primary = result.notes["primary"]
    rows = [
        row
        for row in result.tables["against"].rows
        if (row["metric"], row["reference"]) == (primary, MASK_COPY) and row["method"] in real
    ]
    testable = [row for row in rows if as_number(row["p_least"]) <= ALPHA]
    if not testable:
        text = " No method could be tested against a copy of the prediction's mask"
        if rows:
            least = min(as_number(row["p_least"]) for row in rows)
            units = cover.counted(result.notes)
            text += f": from {units} no corrected p-value can be below {least:.2g}"
        return text + "."
    sure = [as_number(row["difference"]) for row in testable if as_number(row["p_holm"]) <= ALPHA]
    better = sum(value > 0 for value in sure)
    return (
        f" In {primary}, significantly better than a copy of the prediction's mask: {better} of "
        f"{len(rows)} methods; worse: {len(sure) - better}; inconclusive: {len(rows) - len(sure)}."
    )
