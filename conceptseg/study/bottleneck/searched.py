"""The section on kinds of images that were searched for among joined conditions."""

from conceptseg.report import charts
from conceptseg.report.blocks import Section, TableBlock
from conceptseg.result.columns import as_number
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.bottleneck import tables


def searched(result: Result) -> Section | None:
    """The slices that were found on one half of the images, as the other half has them."""
    table = result.tables["searched"]
    if not table.rows:
        return None
    forest = charts.forest(
        table.sorted(tables.DIFFERENCE),
        lambda row: row["slice"].replace(" = ", "="),
        tables.DIFFERENCE,
        axis="mean quality against all other images of the half",
        reference=0.0,
        filled=lambda row: as_number(row[tables.P_FAMILY.key]) <= ALPHA,
        heading="Slices of joined conditions",
        caption="Searched for on one half of the images (or groups), the worst for their number "
        "first; shown and tested on the other half, corrected for all that were judged by the "
        "largest statistic of each draw.",
        id="searched",
    )
    text = (
        "Conditions are clusters of the layer, values of the metadata, concepts' masks, and how "
        "much of an image is predicted as a studied class, or is border."
    )
    return Section(
        "kinds", "Which kinds of images fail", text, [forest, TableBlock(table, folded=True)]
    )
