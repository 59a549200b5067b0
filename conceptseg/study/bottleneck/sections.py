"""The sections of a bottleneck report, each from the result alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from conceptseg.report import alt, charts
from conceptseg.report.blocks import (
    Block,
    Card,
    Cards,
    FigureBlock,
    Gallery,
    Notice,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.report.panels import key_of
from conceptseg.result.columns import Column, as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.bottleneck import tables
from conceptseg.study.bottleneck.charts import coloured_map, predicted_against_true
from conceptseg.study.bottleneck.shift import KINDS, SPOILT_LIKE

PANELS = "image, labels, prediction"
WORST = 12
SLICES_SHOWN = 25
TRUE, PREDICTED = Column("true"), Column("predicted")


def cuts_groups(notes: Mapping[str, Any]) -> bool:
    """Whether folds kept images whole alone, which are more than the manifest's groups."""
    return int(notes["fold_groups"]) > int(notes["manifest_groups"])


def kept_whole(notes: Mapping[str, Any]) -> str:
    """What folds did not cut: the manifest's groups, or images where those are too few."""
    return "image" if cuts_groups(notes) else "group"


def unseen(notes: Mapping[str, Any]) -> str:
    """What models that predict an image did not see, said of them."""
    if cuts_groups(notes):
        return "did not see it, but may have seen others of its group"
    return "saw nothing of its group"


def standing(result: Result) -> Section:
    notes, table = result.notes, result.tables["standing"]
    explained = charts.forest(
        table.show("told_from", tables.R2),
        "told_from",
        tables.R2,
        axis="R2, out of fold",
        reference=0.0,
        heading="Explained variance",
        caption="Share of the images' differences in quality that is predicted, by "
        f"{notes['repeats']} times {notes['folds']}-fold nested cross-validation that cuts no "
        f"{kept_whole(notes)}. Intervals hold in 90 to 94 % of data sets; there is none where "
        "fewer than a dozen images decide R2. The mean quality as prediction has an R2 of 0; below "
        "0 is worse than that.",
        id="r2",
    )
    calibration = charts.trade_off(
        result.tables["calibration"],
        lambda row: "images in bins",
        Column("predicted", tables.PREDICTED_MEAN.name),
        Column("true", tables.TRUE_MEAN.name),
        diagonal="perfect",
        heading="Calibration",
        caption="Bins of equally many images: whether a predicted quality means what it says.",
        id="calibration",
    )
    text = (
        "Ridge regression of each class's own overlap, over the images that hold the class. Not "
        "corrected for the number of classes."
    )
    classes = result.tables["classes"]
    return Section(
        "standing",
        "How well quality is predicted",
        "",
        [
            explained,
            TableBlock(table, "All measures", id="standing-table"),
            _against_true(result),
            calibration,
            TableBlock(classes, "Class by class", text) if classes.rows else None,
        ],
    )


def _against_true(result: Result) -> FigureBlock:
    table, quality = result.tables["images"], result.notes["quality"]
    predicted, true = table.numbers(PREDICTED), table.numbers(TRUE)
    low, high = table.numbers("low"), table.numbers("high")
    names = charts.texts(table, "sample")
    inside = (true >= low - 1e-9) & (true <= high + 1e-9)
    where = np.where(inside, "inside their interval", "outside of it").tolist()
    points = np.stack([predicted, true], 1)
    return FigureBlock(
        predicted_against_true(predicted, low, high, true, inside, names, quality),
        "Predicted and true quality",
        alt.scatter(points, names, where, f"predicted {quality}", f"true {quality}"),
        f"Each image, predicted by models that {unseen(result.notes)}, with its "
        f"{result.notes['coverage']:.0%} interval. On the dotted line prediction and truth agree.",
        table.show("sample", PREDICTED, "low", "high", TRUE),
        "scatter",
        [_picture(row) for row in table.rows],
    )


def flags(result: Result) -> Section:
    notes, curve = result.notes, result.tables["curve"]
    curves = charts.curves(
        curve,
        Column("reviewed", "share of images reviewed, most doubtful first"),
        [name for name in curve.columns if name != "reviewed"],
        axis="share of failures found",
        heading="Failures found for a budget of review",
        caption=f"{notes['failed']} of {notes['images']} images fail ({notes['quality']} of at "
        f"most {notes['limit']:.2f}). Chance is the diagonal.",
        id="flag-curve",
    )
    table = TableBlock(
        result.tables["flags"],
        f"Reviewing {notes['budget']:.0%} of the images",
        "Tested against confidence that was fitted like the layer. Confidence as it is: the "
        "network's mean largest probability, nothing fitted.",
        id="flag-table",
    )
    worst = result.tables["images"].where(lambda row: row["picture"]).first(WORST)
    card = Card(
        "Lowest prediction first",
        pictures=[one for one in map(_picture, worst.rows) if one],
        text=f"Each: {PANELS}.",
    )
    cards = Cards([card], "The most doubtful images", key=key_of(result)) if worst.rows else None
    return Section("flags", "Finding failures without ground truth", "", [curves, table, cards])


def intervals(result: Result) -> Section:
    notes, shift = result.notes, result.tables["shift"]
    covered = charts.forest(
        result.tables["coverage"],
        "slice",
        tables.COVERED,
        axis="share of images whose quality lies in the interval",
        reference=notes["coverage"],
        heading="Coverage",
        caption=f"Made to cover {notes['coverage']:.0%} (dotted). Each image's interval was "
        f"calibrated on other {kept_whole(notes)}s, within its slice of predicted area where that "
        "is large enough.",
        id="coverage-chart",
    )
    new = "new images" if cuts_groups(notes) else "images of new groups"
    text = (
        f"The gate rejects at most {notes['gate']:.0%} of {new} like the {notes['fold_groups']} "
        "that it was fitted on; with fewer of them, it rejects more. Spoilt images should be "
        "rejected where the prediction no longer follows the truth; those that are accepted should "
        "still be covered. Images as they are are scored by the other folds. Spoilt ones are "
        "scored by the saved predictor, which was fitted on the same images unspoilt and so knows "
        "them better than it would new ones."
    )
    tried = (
        TableBlock(shift, "The gate, tried on spoilt images", text, id="shift")
        if shift.rows
        else None
    )
    return Section(
        "intervals", "How sure each prediction is", "", [covered, tried, _gallery(result)]
    )


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of spoilt images those of the kind, of a slice its own, else those of lowest prediction."""
    spoilt = result.tables["spoilt"].rows if "spoilt" in result.tables else ()
    shown = result.tables["images"].where(lambda row: row["picture"]).rows
    by_sample = {row["sample"]: row for row in shown}
    slices = [row for key in ("slices", "searched") for row in result.tables[key].rows]
    examples = {row["slice"]: row.get("examples", ()) for row in slices}

    def chosen(finding: Finding) -> Sequence[Picture]:
        if kind := finding.details.get("kind"):
            return [_spoilt(row) for row in spoilt if row["kind"] == kind]
        rows = shown[:6]
        if name := finding.details.get("slice"):
            rows = [by_sample[one] for one in examples.get(name, ()) if one in by_sample]
        return [one for one in map(_picture, rows) if one]

    return chosen


def _spoilt(row: Mapping[str, Any]) -> Picture:
    return Picture(row["picture"], f"{row['sample']} {_made(row['kind'])} ({PANELS})")


def _made(kind: str) -> str:
    return kind if kind == KINDS[0] else f"made {SPOILT_LIKE[kind]}"


def _gallery(result: Result) -> Gallery | None:
    """The same images as they are and spoilt, with what the network makes of them."""
    table = result.tables.get("spoilt")
    if table is None or not table.rows:
        return None
    kinds = list(table.by("kind"))
    lines: list[tuple[str, list[Picture | None]]] = [
        (sample, [_spoilt(row) for row in own.rows]) for sample, own in table.by("sample").items()
    ]
    caption = f"Each: {PANELS}."
    return Gallery(list(map(_made, kinds)), lines, "Spoilt images", caption, key=key_of(result))


def where(result: Result) -> Section:
    maps = TableBlock(
        result.tables["maps"],
        "How far to believe the maps",
        "Trustworthiness: neighbours on the map are neighbours in the layer; continuity: the "
        "reverse; 1 is perfect. Neighbours kept: of the 15 nearest. Seed stability: of the 15 "
        "nearest, the share that two seeds have in common.",
    )
    blocks = [_map(result), _cluster_map(result), maps, *_slices(result)]
    return Section("where", "Where the failures lie", "", blocks)


def _map(result: Result) -> FigureBlock | None:
    table = result.tables["mapped"]
    if not table.rows:
        return None
    points = {
        name: np.stack([table.numbers(f"{name}_x"), table.numbers(f"{name}_y")], 1)
        for name in ("PCA", "UMAP", "t-SNE")
        if f"{name}_x" in table.columns
    }
    true, predicted = table.numbers(TRUE), table.numbers(PREDICTED)
    residual = true - predicted
    reach = max(float(np.abs(residual).max()), 1e-6)
    colours = {
        "true quality": (true, "cividis", 0.0, 1.0),
        "predicted quality": (predicted, "cividis", 0.0, 1.0),
        "true - predicted": (residual, "balance", -reach, reach),
    }
    samples = charts.texts(table, "sample")
    text = alt.scatter(points["PCA"], samples, ["image"] * len(samples), "", "")
    text += "".join(
        f" Colour, {name}: {alt.reach(values, samples)}." for name, (values, *_) in colours.items()
    )
    return FigureBlock(
        coloured_map(points, colours, charts.texts(table, _words)),
        "Map of the images",
        text,
        f"{len(table.rows)} images by what the layer holds of them. The buttons choose the map and "
        f"the colour. Drag around points to see the images, each as {PANELS}. Distances between "
        "islands mean nothing; the table below says what each map keeps.",
        table,
        "map",
        [_picture(row) for row in table.rows],
    )


def _cluster_map(result: Result) -> FigureBlock | None:
    table = result.tables["mapped"]
    name = "UMAP" if "UMAP_x" in table.columns else "PCA"
    x, y = Column(f"{name}_x"), Column(f"{name}_y")
    block = charts.scatter(
        table.show("sample", "cluster", x, y),
        x,
        y,
        lambda row: f"cluster {row['cluster']}",
        "sample",
        order=[f"cluster {one}" for one in sorted({row["cluster"] for row in table.rows})],
        axes=False,
        picture=_picture,
        heading="Clusters",
        caption=f"The same images on the {name} map, by cluster of the layer (k-means).",
        id="map-clusters",
    )
    if block is not None and not isinstance(block.figure, Mapping):
        block.figure.update_layout(dragmode="lasso")
    return block


def _slices(result: Result) -> list[Block | None]:
    table, enrichment = result.tables["slices"], result.tables["enrichment"]
    forest = charts.forest(
        table.sorted(tables.DIFFERENCE).first(SLICES_SHOWN),
        lambda row: row["slice"].replace(" = ", "="),
        tables.DIFFERENCE,
        axis="mean quality against all other images",
        reference=0.0,
        filled=lambda row: as_number(row[tables.P_FAMILY.key]) <= ALPHA,
        heading="Which kinds of images fail",
        caption="Clusters of the layer, made without knowing quality, values of the manifest's "
        f"metadata and pairs of them; the {SLICES_SHOWN} that fail most. Filled: significant, "
        "corrected for all slices by the largest statistic of each draw. A slice that rests on too "
        "few groups is not tested.",
        id="slices",
    )
    text = "Fisher's exact test; p corrected over all clusters and values."
    return [
        forest,
        TableBlock(table, "All slices", folded=True) if table.rows else None,
        TableBlock(enrichment, "What the clusters hold", text) if enrichment.rows else None,
    ]


def empty(result: Result) -> Section:
    text = (
        "Where a class is absent no overlap is defined, and a regressor that merely recognises "
        "empty images would look excellent. Presence is therefore a task of its own: how often the "
        "class is missed altogether, how often it is seen where there is none, and how well its "
        "presence is predicted."
    )
    return Section(
        "empty", "Images without a class", text, [TableBlock(result.tables["presence"], "")]
    )


def use(result: Result) -> Section:
    text = (
        f"The predictor (it reads {result.notes['deploy']}) is kept in this result's arrays.npz as "
        "plain numbers. `conceptseg predict-quality RUN --config NEW.yaml` scores the images of "
        "another file by it: quality, interval, and whether the image is of a known kind."
    )
    return Section("use", "Scoring new images", "", [Notice(text)])


def _words(row: Mapping[str, Any]) -> str:
    return f"{row['sample']}: true {row['true']:.2f}, predicted {row['predicted']:.2f}"


def _picture(row: Mapping[str, Any]) -> Picture | None:
    if not row["picture"]:
        return None
    return Picture(row["picture"], f"{_words(row)} ({PANELS})", _words(row))
