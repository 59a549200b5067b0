"""The sections of a saliency report, each from the result alone."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from conceptseg.catalogue import choice_versions
from conceptseg.report import charts
from conceptseg.report.blocks import (
    Block,
    FigureBlock,
    Section,
    TableBlock,
)
from conceptseg.result.columns import Column, as_number
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA, FEWEST
from conceptseg.study.saliency.standing import KNOWN, MASK_COPY
from conceptseg.study.saliency.tables import (
    BLANK,
    DETECTABLE,
    DIFFERENCE,
    MEAN,
    P_ADJUSTED,
    PASSES,
    RANK,
    REMARKS,
)

Row = Mapping[str, Any]
TITLES = {"cbd": "Context bias detection (CBD)", "cbl": "Context bias localisation (CBL)"}
CBD = Column("cbd", "CBD", interval=True)
CBL = Column("cbl", "CBL", interval=True)
DICE = Column("dice_explained", "Dice Explained")
RATIO = Column("saliency_ratio", "Saliency Ratio (area kept / area predicted)")
CURVES_SHOWN = 8


def standing(result: Result) -> Section:
    """Mean ranks, then every metric's means."""
    ranking = charts.forest(
        result.tables["methods"].show("method", "family", RANK, BLANK, REMARKS),
        "method",
        RANK,
        filled=lambda row: row["family"] != "baseline",
        marks=("method", "trivial map"),
        heading="Mean rank",
        caption="Rank among all maps of a case (1 is best), averaged over the metrics of "
        "faithfulness and compactness, with 95 % intervals over cases. Filled: methods; hollow: "
        "trivial maps.",
        id="ranks",
    )
    metrics = TableBlock(result.tables["metrics"], "What the metrics measure", folded=True)
    blocks = [ranking, _remarks(result), _all_metrics(result), metrics]
    return Section("standing", "How the methods stand", "", blocks)


def _remarks(result: Result) -> TableBlock | None:
    """What speaks against maps, whatever their rank."""
    table = result.tables["remarks"]
    title = "What speaks against the maps"
    text = (
        "Metrics do not see this: a map of dots on a grid, or of terms that cancel, may rank well."
    )
    return TableBlock(table, title, text) if table.rows else None


def _all_metrics(result: Result) -> FigureBlock | None:
    """Every metric's standing [methods, metrics], from 0 (worst) to 1 (best)."""
    methods = method_names(result)
    better = {row["metric"]: row["better"] for row in result.tables["metrics"].rows}
    means = charts.grid(result.tables["means"], ("metric", list(better)), ("method", methods), MEAN)
    scaled = {
        metric: _scaled(values if better[metric] == "higher" else -values)
        for metric, values in zip(better, means, strict=True)
        if better[metric] != "neither" and np.isfinite(values).any()
    }
    listed = [
        {"metric": metric, "better": better[metric], **dict(zip(methods, values, strict=True))}
        for metric, values in zip(better, means.tolist(), strict=True)
    ]
    return charts.heatmap(
        np.array(list(scaled.values())).reshape(len(scaled), len(methods)).T,
        methods,
        [metric.replace("_", " ") for metric in scaled],
        value="standing within the metric",
        centre=None,
        ends=(0.0, 1.0),
        heading="Every metric",
        caption="All metrics that say which map is better, scaled within each column so that the "
        "best map is 1 and the worst 0. The table gives the means.",
        id="all-metrics",
        below=Table(listed),
    )


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values [methods], brought linearly to 0 (the least) .. 1; all 1 where they are equal."""
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else np.ones_like(values)


def method_names(result: Result) -> list[str]:
    """All methods, best mean rank first."""
    return [row["method"] for row in result.tables["methods"].rows]


def trade(result: Result) -> Section | None:
    """How much of the prediction a map keeps, against how large it is, at common thresholds."""
    dice, ratio = (_curves(result, one.key) for one in (DICE, RATIO))
    at = sorted(set(dice) & set(ratio))
    if not at:
        return None
    place = {method: m for m, method in enumerate(result.notes["methods"])}
    rows = [
        {"method": name, "threshold": t, RATIO.key: ratio[t][m], DICE.key: dice[t][m]}
        for name, m in ((name, place[name]) for name in method_names(result))
        for t in at
    ]
    families = result.tables["methods"].rows
    real = [row["method"] for row in families if row["family"] != "baseline"]
    shown = [*real[:CURVES_SHOWN], *([MASK_COPY] if MASK_COPY in place else [])]
    block = charts.trade_off(
        Table(rows).where(lambda row: row["method"] in shown),
        "method",
        RATIO,
        DICE,
        heading="Dice Explained against Saliency Ratio",
        caption="Each line runs over thresholds: only pixels above the threshold are kept, the "
        "rest is filled. Further left and up is better: much of the prediction from little of the "
        f"image. The {len(shown)} maps shown are the best-ranked methods and the mask copy; the "
        "table lists all.",
        id="trade-off",
        below=Table(rows),
    )
    return Section("trade", "How much a small map explains", "", [block])


def _curves(result: Result, kind: str) -> dict[float, np.ndarray]:
    """Means [methods] of a metric's first version at each threshold; nothing without one."""
    names = choice_versions(result.notes["metrics"], kind)
    curve = result.arrays.get(safe_key(f"curve-{names[0]}")) if names else None
    if curve is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no case at all: nan
        means = np.nanmean(curve, axis=0)
    return dict(zip(result.notes["at"][names[0]], means.T, strict=True))


def against(result: Result) -> Section:
    """Each method against the prediction's own mask, in the primary metric; all in a table."""
    every, primary = result.tables["against"], result.notes["primary"]
    forest = charts.forest(
        every.where(lambda row: (row["metric"], row["reference"]) == (primary, MASK_COPY))
        .sorted(lambda row: -as_number(row["difference"]))
        .show("method", DIFFERENCE, "p", P_ADJUSTED, DETECTABLE, "cases"),
        "method",
        DIFFERENCE,
        axis=f"better than the mask copy in {primary}",
        reference=0.0,
        filled=lambda row: as_number(row["p_holm"]) <= ALPHA,
        heading=f"In {primary}",
        caption="Paired over cases, with 95 % intervals; right of zero is better than showing the "
        "predicted mask itself. Filled: significant after correction over all maps. Where p is "
        "empty, so few images or groups could not have passed.",
        id="mask-copy",
    )
    blocks: list[Block | None] = [forest]
    if every.rows:
        title = "Every metric and both references"
        blocks.append(TableBlock(every, title, folded=True, limit=500))
    return Section(
        "against",
        "Against trivial maps",
        "Many maps merely trace the prediction. A method that is no better than a copy of the "
        "prediction's mask has not been shown, by this metric, to add anything to the prediction. "
        "Absence of evidence is not evidence of absence: see the smallest detectable difference.",
        blocks,
    )


def sanity(result: Result) -> Section | None:
    """Metrics that explain again: shuffled weights, noise, two objects of one class."""
    kinds = ("randomisation", "stability", "region_locality")
    names = [name for kind in kinds for name in choice_versions(result.notes["metrics"], kind)]
    blocks = [block for name in names if (block := _forest(result, "sanity", name))]
    title = "Do the maps depend on the network, and hold still?"
    intro = (
        "Each of these costs a method's passes again, so they are computed on a few cases only: "
        f"{result.notes['sanity']} of {result.notes['cases']}. A method is said to keep its map "
        f"under shuffled weights only on {FEWEST} images (or groups) or more; on fewer, that it is "
        "not said means nothing. Each method's interval is taken by itself."
    )
    return Section("sanity", title, intro, blocks) if blocks else None


def context(result: Result) -> Section | None:
    """Whether the maps mark context: outside of the region, and where it is known to matter."""
    blocks: list[Block | None] = [_known_context(result)]
    for kind in ("cbd", "cbl", "context_share"):
        for name in choice_versions(result.notes["metrics"], kind):
            above = _above_chance(result, name) if kind == "cbl" else {}
            blocks.append(_forest(result, "context", name, above))
    intro = (
        "How much of each map lies outside the explained region and, where the data set says "
        "which surroundings matter (a planted tile), whether they are marked."
    )
    title = "Do the maps see context?"
    return Section("context", title, intro, blocks) if any(blocks) else None


def _known_context(result: Result) -> Block | None:
    """CBD and CBL of every map in one table, with what CBL is by chance."""
    labels = {c: choice_versions(result.notes["metrics"], c.key)[:1] for c in (CBD, CBL)}
    above = _above_chance(result, *labels[CBL]) if all(labels.values()) else {}
    if not above:
        return None
    means = {(row["metric"], row["method"]): row for row in result.tables["means"].rows}
    rows = []
    for method in method_names(result):
        row: dict[str, Any] = {"method": method}
        for column, (label,) in labels.items():
            mean = means[label, method]
            row |= dict(zip(column.keys, (mean[key] for key in MEAN.keys), strict=True))
            row["cases"] = mean["cases"]
        tested = above.get(method, {})
        rows.append({**row, **{key: tested.get(key) for key in ("difference", "p_holm")}})
    columns = (
        "method",
        CBD,
        CBL,
        Column("cases", "cases with mass outside"),
        Column("difference", "CBL above chance"),
        P_ADJUSTED,
    )
    caption = (
        "CBD is how much of the surroundings a map marks, CBL how much of what it marks there lies "
        "on the context that matters. By chance CBL is the share of the surroundings that this "
        f"context covers, {result.notes['chance']:.2f} in the mean. A map with CBD near 0 marks no "
        "context at all, whatever its CBL."
    )
    ordered = Table(rows).sorted(lambda row: -np.nan_to_num(as_number(row["cbl"]), nan=-1.0))
    return TableBlock(ordered.show(*columns), "Known context: CBD and CBL", caption, limit=40)


def _above_chance(result: Result, label: str) -> dict[str, Row]:
    """Rows of the comparison of CBL with chance, by method; empty where no context is known."""
    rows = result.tables["against"].rows
    return {
        row["method"]: row for row in rows if (row["metric"], row["reference"]) == (label, KNOWN)
    }


def _forest(
    result: Result, key: str, metric: str, above: Mapping[str, Row] | None = None
) -> FigureBlock | None:
    """One metric's means, best first; `above` marks those that are significantly above chance."""
    kind = next(row for row in result.tables["metrics"].rows if row["metric"] == metric)
    sign = -1 if kind["better"] == "higher" else 1
    caption = f"{kind['what']} Mean over cases with 95 % intervals."
    if above:
        caption += " Dotted: chance. Filled: significantly more than chance, corrected over maps."

    def passed(row: Row) -> bool:
        tested = (above or {}).get(row["method"], {})
        significant = as_number(tested.get("p_holm")) <= ALPHA
        return significant and as_number(tested["difference"]) > 0

    return charts.forest(
        result.tables["means"]
        .where(lambda row: row["metric"] == metric and row["cases"])
        .sorted(lambda row: sign * as_number(row["mean"]))
        .show("method", MEAN, "cases"),
        "method",
        MEAN,
        axis=TITLES.get(metric, metric.replace("_", " ")),
        reference=result.notes["chance"] if above else None,
        filled=passed if above else None,
        marks=("more than chance", "not more"),
        heading=TITLES.get(metric, metric.replace("_", " ").capitalize()),
        caption=caption,
        id=safe_key(f"{key}-{metric}"),
    )


def cost(result: Result) -> Section:
    """Passes and seconds of one map."""
    seconds = result.timings["seconds_per_map"]
    table = result.tables["methods"]
    rows = [{**row, "seconds": seconds[row["method"]]} for row in table.rows]
    block = TableBlock(
        Table(rows).show("method", Column("seconds", "seconds (median)"), *PASSES, BLANK),
        "Cost of one map",
        "Passes of one image through the whole network, or through the part after the layer.",
    )
    return Section("cost", "What a map costs", "", [block])


def numbers(result: Result) -> Section:
    tables = result.tables
    blocks = [
        TableBlock(tables["methods"], "The methods", folded=True),
        TableBlock(tables["means"], "Means", limit=1000, folded=True),
        TableBlock(tables["cases"], "The cases", folded=True),
        TableBlock(tables["values"], "Every map", limit=200, folded=True),
    ]
    return Section("numbers", "All numbers", "", blocks)
