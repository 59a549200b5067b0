"""The report of a brightness study, from its result alone."""

from conceptseg.report import charts, cover
from conceptseg.report.blocks import Report, Section
from conceptseg.result.saved import Result
from conceptseg.study.shared import local_maps
from tests.study.brightness.conclude import GAP


def compose(result: Result) -> Report:
    rows, words = result.tables["gaps"], "Right of the line: brighter than the rest of the image."
    gaps = charts.forest(rows, "class", GAP, reference=0.0, heading="Brightness", caption=words)
    return cover.report(
        result,
        title="Are classes brighter than what lies around them?",
        method="Brightness of classes of",
        lead=f"{len(rows.rows)} classes were measured.",
        sections=(Section("gaps", "Classes", "", [gaps]), local_maps.section(result, "")),
        limits=("Brightness is the mean over colours.",),
    )
