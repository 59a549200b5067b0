"""The section on what is risked by answering for the surest images only."""

from conceptseg.report import charts
from conceptseg.report.blocks import Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.saved import Result


def answered(result: Result) -> Section:
    """Risk over coverage for each score, and the areas below."""
    table = result.tables["risk"]
    curves = charts.curves(
        table,
        Column("answered", "share of images that are answered for, surest first"),
        [name for name in table.columns if name != "answered"],
        axis=f"mean risk: 1 less {result.notes['quality']}",
        heading="Risk by coverage",
        caption="At the right end all images are answered for, so all curves meet; the lower a "
        "curve on its way there, the better its score knows which images to leave out.",
        id="risk",
    )
    areas = TableBlock(
        result.tables["selective"],
        "Area under risk and coverage",
        "The mean, over all images, of the risk of answering for those at least as sure. Intervals "
        "of differences are paired by image, and not corrected.",
    )
    text = "Who may refuse to answer for some images risks less on the others."
    return Section("answered", "Answering for the surest only", text, [curves, areas])
