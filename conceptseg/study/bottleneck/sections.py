"""The sections of a quality report, each from the result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import (
    Block,
    Card,
    Cards,
    FigureBlock,
    Notice,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.bottleneck.charts import coloured_map, predicted_against_true
from conceptseg.study.shared import local_maps

Row = dict[str, Any]
PANELS = "image, labels, prediction"
WORST = 12


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
    rows = [dict(row) for row in result.tables["standing"].rows]
    names = [row["told_from"] for row in rows]
    figure = figures.intervals(
        names,
        _column(rows, "r2"),
        _column(rows, "r2_low"),
        _column(rows, "r2_high"),
        value_name="R2, out of fold",
        reference=0.0,
    )
    notes = result.notes
    caption = (
        f"Share of the images' differences in quality that is predicted, by {notes['repeats']} "
        f"times {notes['folds']}-fold nested cross-validation that cuts no {kept_whole(notes)}, "
        "with 95 % intervals. 0 is what the mean tells; below it is worse than that."
    )
    columns = ("told_from", "r2", "r2_low", "r2_high")
    forest = FigureBlock(
        figure, "Explained variance", caption, caption,
        Table(rows, columns, result.tables["standing"].labels), "r2",
    )  # fmt: skip
    blocks: list[Block] = [
        forest,
        TableBlock(result.tables["standing"], "All measures", id="standing-table"),
        _against_true(result),
        _calibration(result),
    ]
    if result.tables["classes"].rows:
        text = (
            "Ridge regression of each class's own overlap, over the images that hold the class. "
            "Not corrected for the number of classes."
        )
        blocks.append(TableBlock(result.tables["classes"], "Class by class", text))
    return Section("standing", "How well quality is predicted", "", blocks)


def _against_true(result: Result) -> FigureBlock:
    rows = [dict(row) for row in result.tables["images"].rows]
    figure = predicted_against_true(
        _column(rows, "predicted"),
        _column(rows, "low"),
        _column(rows, "high"),
        _column(rows, "true"),
        [row["sample"] for row in rows],
        result.notes["quality"],
    )
    caption = (
        f"Each image, predicted by models that {unseen(result.notes)}, with its "
        f"{result.notes['coverage']:.0%} interval. On the dotted line prediction and truth agree."
    )
    columns = ("sample", "predicted", "low", "high", "true")
    return FigureBlock(
        figure, "Predicted and true quality", caption, caption, Table(rows, columns), "scatter",
        [_picture(row) for row in rows],
    )  # fmt: skip


def _calibration(result: Result) -> FigureBlock:
    rows = [dict(row) for row in result.tables["calibration"].rows]
    figure = figures.trade_off(
        {
            "images in bins": (_column(rows, "predicted"), _column(rows, "true")),
            "perfect": (np.array([0.0, 1.0]), np.array([0.0, 1.0])),
        },
        x_name="mean predicted quality",
        y_name="mean true quality",
    )
    caption = "Bins of equally many images: whether a predicted quality means what it says."
    table = result.tables["calibration"]
    return FigureBlock(figure, "Calibration", caption, caption, table, "calibration")


def flags(result: Result) -> Section:
    notes = result.notes
    rows = [dict(row) for row in result.tables["curve"].rows]
    x = _column(rows, "reviewed")
    names = [name for name in result.tables["curve"].columns if name != "reviewed"]
    figure = figures.curves(
        x,
        {name: _column(rows, name) for name in names},
        x_name="share of images reviewed, most doubtful first",
        y_name="share of failures found",
    )
    caption = (
        f"{notes['failed']} of {notes['images']} images fail ({notes['quality']} of at most "
        f"{notes['limit']:.2f}). Chance is the diagonal."
    )
    curve = FigureBlock(
        figure, "Failures found for a budget of review", caption, caption,
        result.tables["curve"], "flag-curve",
    )  # fmt: skip
    table = TableBlock(
        result.tables["flags"],
        f"Reviewing {notes['budget']:.0%} of the images",
        "Tested against confidence that was fitted like the layer. Confidence as it is: the "
        "network's mean largest probability, nothing fitted.",
        id="flag-table",
    )
    worst = [dict(row) for row in result.tables["images"].rows if row["picture"]][:WORST]
    blocks: list[Block] = [curve, table]
    pictures = [picture for picture in map(_picture, worst) if picture is not None]
    if pictures:
        card = Card("Lowest prediction first", pictures=pictures, text=f"Each: {PANELS}.")
        blocks.append(Cards([card], "The most doubtful images"))
    return Section("flags", "Finding failures without ground truth", "", blocks)


def intervals(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["coverage"].rows]
    wanted = result.notes["coverage"]
    figure = figures.intervals(
        [row["slice"] for row in rows],
        _column(rows, "covered"),
        _column(rows, "low"),
        _column(rows, "high"),
        value_name="share of images whose quality lies in the interval",
        reference=wanted,
    )
    caption = (
        f"Made to cover {wanted:.0%} (dotted). Each image's interval was calibrated on other "
        f"{kept_whole(result.notes)}s, within its slice of predicted area where that is large "
        "enough."
    )
    blocks: list[Block] = [
        FigureBlock(
            figure, "Coverage", caption, caption, result.tables["coverage"], "coverage-chart"
        )
    ]
    if result.tables["shift"].rows:
        new = "new images" if cuts_groups(result.notes) else "images of new groups"
        text = (
            f"The gate turns away {result.notes['gate']:.0%}, at most, of {new} like the "
            f"{result.notes['fold_groups']} that it was made with; the fewer those, the more. "
            "Spoilt images should be turned away where the prediction no longer "
            "follows the truth; those that are let in should still be covered. Images as they are "
            "are scored by the other folds. Spoilt ones are scored by the saved predictor, which "
            "was fitted on the same images unspoilt and so knows them better than it would new "
            "ones."
        )
        blocks.append(TableBlock(result.tables["shift"], "The gate, tried on spoilt images", text))
    return Section("intervals", "How sure each prediction is", "", blocks)


def where(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["mapped"].rows]
    blocks: list[Block] = []
    if rows:
        points = {
            name: np.stack([_column(rows, f"{name}_x"), _column(rows, f"{name}_y")], 1)
            for name in ("PCA", "UMAP", "t-SNE")
            if f"{name}_x" in rows[0]
        }
        true, predicted = _column(rows, "true"), _column(rows, "predicted")
        residual = true - predicted
        reach = max(float(np.abs(residual).max()), 1e-6)
        figure = coloured_map(
            points,
            {
                "true quality": (true, "cividis", 0.0, 1.0),
                "predicted quality": (predicted, "cividis", 0.0, 1.0),
                "true - predicted": (residual, "balance", -reach, reach),
            },
            [f"{r['sample']}: true {r['true']:.2f}, predicted {r['predicted']:.2f}" for r in rows],
        )
        caption = (
            f"{len(rows)} images by what the layer holds of them. The buttons choose the map and "
            "the colour. Drag around points to see the images, each as "
            f"{PANELS}. Distances between islands mean nothing; the table below says what each "
            "map keeps."
        )
        blocks.append(
            FigureBlock(
                figure, "Map of the images", "Scatter plot. " + caption, caption,
                result.tables["mapped"], "map", [_picture(row) for row in rows],
            )
        )  # fmt: skip
        blocks.append(_cluster_map(rows, points))
    blocks.append(
        TableBlock(
            result.tables["maps"],
            "How far to believe the maps",
            "Trustworthiness: neighbours on the map are neighbours in the layer; continuity: the "
            "reverse; 1 is perfect. Neighbours kept: of the 15 nearest. Seed stability: of the 15 "
            "nearest, the share that two seeds have in common.",
        )
    )
    blocks += _slices(result)
    return Section("where", "Where the failures lie", "", blocks)


def _cluster_map(rows: list[Row], points: dict[str, np.ndarray]) -> FigureBlock:
    name = "UMAP" if "UMAP" in points else "PCA"
    clusters = sorted({row["cluster"] for row in rows})
    figure = figures.scatter_map(
        points[name],
        [f"cluster {row['cluster']}" for row in rows],
        [row["sample"] for row in rows],
        order=[f"cluster {c}" for c in clusters],
    )
    figure.update_layout(dragmode="lasso")
    caption = f"The same images on the {name} map, by cluster of the layer (k-means)."
    return FigureBlock(
        figure, "Clusters", caption, caption,
        Table(rows, ("sample", "cluster", f"{name}_x", f"{name}_y")),
        "map-clusters", [_picture(row) for row in rows],
    )  # fmt: skip


def _slices(result: Result) -> list[Block]:
    rows = [dict(row) for row in result.tables["slices"].rows]
    blocks: list[Block] = []
    if rows:
        shown = sorted(rows, key=lambda row: row["difference"])[:25]
        figure = figures.intervals(
            [row["slice"].replace(" = ", "=") for row in shown],
            _column(shown, "difference"),
            _column(shown, "difference_low"),
            _column(shown, "difference_high"),
            value_name="mean quality against all other images",
            reference=0.0,
            significant=_column(shown, "p_family") <= 0.05,
        )
        caption = (
            "Clusters of the layer, found without knowing quality, values of the manifest's "
            "metadata and pairs of them; the 25 that fail most. Filled: significant, corrected for "
            "all slices by the largest statistic of each draw. A slice told by too few groups is "
            "not tested."
        )
        table = Table(shown, result.tables["slices"].columns, result.tables["slices"].labels)
        blocks.append(
            FigureBlock(figure, "Which kinds of images fail", caption, caption, table, "slices")
        )
        blocks.append(TableBlock(result.tables["slices"], "All slices", folded=True))
    if result.tables["enrichment"].rows:
        text = "Fisher's exact test; p corrected over all clusters and values."
        blocks.append(TableBlock(result.tables["enrichment"], "What the clusters hold", text))
    return blocks


def empty(result: Result) -> Section:
    text = (
        "Where a class is absent no overlap is defined, and a regressor that merely tells empty "
        "images from others would look excellent. So presence is a task of its own: what is "
        "missed altogether, what is seen where there is none, and how well presence is told."
    )
    blocks = [TableBlock(result.tables["presence"], "")]
    return Section("empty", "Images without a class", text, blocks)


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Of the most doubtful images: where the network looks when it predicts the class. All maps "
        "of one method share a scale.",
    )


def use(result: Result) -> Section:
    notes = result.notes
    text = (
        f"The predictor (it reads {notes['deploy']}) is kept in this result's arrays.npz as plain "
        "numbers. `conceptseg predict-quality RUN --config NEW.yaml` scores the images of another "
        "file by it: quality, interval, and whether the image is of a known kind."
    )
    return Section("use", "Scoring new images", "", [Notice(text)])


def numbers(result: Result) -> Section:
    return Section(
        "numbers",
        "All numbers",
        "",
        [TableBlock(result.tables["images"], "Every image", limit=1000, folded=True)],
    )


def _picture(row: Row) -> Picture | None:
    if not row["picture"]:
        return None
    told = f"{row['sample']}: true {row['true']:.2f}, predicted {row['predicted']:.2f}"
    return Picture(row["picture"], f"{told} ({PANELS})", told)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([float("nan") if r[name] is None else float(r[name]) for r in rows], float)
