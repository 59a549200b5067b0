"""The sections of a saliency report, each from the result alone."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from conceptseg.catalogue import choice_versions
from conceptseg.report import figures
from conceptseg.report.blocks import (
    Block,
    ColourBar,
    FigureBlock,
    Gallery,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.saliency.findings import LEAST_UNITS
from conceptseg.study.saliency.standing import ALPHA, KNOWN, MASK_COPY

Row = dict[str, Any]
NAN = float("nan")
TITLES = {"cbd": "Context bias detection (CBD)", "cbl": "Context bias localisation (CBL)"}
CURVES_SHOWN = 8


def standing(result: Result) -> Section:
    """Mean ranks, then every metric's means."""
    rows = [dict(row) for row in result.tables["methods"].rows]
    caption = (
        "Rank among all maps of a case (1 is best), averaged over the metrics of faithfulness and "
        "compactness, with 95 % intervals over cases. Filled: methods; hollow: trivial maps."
    )
    figure = figures.intervals(
        [row["method"] for row in rows],
        _column(rows, "rank"),
        _column(rows, "rank_low"),
        _column(rows, "rank_high"),
        value_name="mean rank",
        significant=np.array([row["family"] != "baseline" for row in rows]),
        marks=("method", "trivial map"),
    )
    columns = ("method", "family", "rank", "rank_low", "rank_high")
    labels = result.tables["methods"].labels
    ranking = FigureBlock(
        figure, "Mean rank", caption, caption, Table(rows, columns, labels), "ranks"
    )
    grid, judging, table = _grid(result)
    note = "All metrics, scaled within each column so that the best map is 1 and the worst 0."
    heat = figures.heatmap(
        grid.T,
        [row["method"] for row in rows],
        [name.replace("_", " ") for name in judging],
        value_name="standing within the metric",
        centre=None,
        low=0.0,
        high=1.0,
    )
    means = FigureBlock(
        heat, "Every metric", note, note + " The table gives the means.", table, "all-metrics"
    )
    metrics = TableBlock(result.tables["metrics"], "What the metrics measure", folded=True)
    return Section("standing", "How the methods stand", "", [ranking, means, metrics])


def _grid(result: Result) -> tuple[np.ndarray, list[str], Table]:
    """Standing [metrics, methods] from 0 (worst) to 1 (best), their names, and all means."""
    order = [row["method"] for row in result.tables["methods"].rows]
    better = {row["metric"]: row["better"] for row in result.tables["metrics"].rows}
    means = {(r["metric"], r["method"]): _number(r["mean"]) for r in result.tables["means"].rows}
    grid = np.full((len(better), len(order)), NAN)
    rows = []
    for m, (metric, direction) in enumerate(better.items()):
        values = np.array([means[metric, method] for method in order])
        rows.append(
            {"metric": metric, "better": direction, **dict(zip(order, values, strict=True))}
        )
        if not np.isfinite(values).any():
            continue
        signed = values if direction == "higher" else -values
        reach = np.nanmax(signed) - np.nanmin(signed)
        grid[m] = (signed - np.nanmin(signed)) / reach if reach > 0 else 1.0
    judging = [row["metric"] for row in rows if _judges(row, order)]
    places = [list(better).index(metric) for metric in judging]
    return grid[places], judging, Table(rows)


def _judges(row: Row, methods: list[str]) -> bool:
    """Whether a metric says which map is better, and could be taken at all."""
    return row["better"] != "neither" and any(np.isfinite(row[method]) for method in methods)


def trade(result: Result) -> Section | None:
    """How much of the prediction a map keeps, against how large it is, at common thresholds."""
    curves = [_curves(result, kind) for kind in ("dice_explained", "saliency_ratio")]
    at = sorted(set(curves[0]) & set(curves[1]))
    if not at:
        return None
    dice, ratio = (np.stack([one[t] for t in at], 1) for one in curves)
    methods = list(result.notes["methods"])
    best = [row["method"] for row in result.tables["methods"].rows]
    rows = [
        {"method": method, "threshold": t, "saliency_ratio": r, "dice_explained": d}
        for method in best
        for t, r, d in zip(
            at, ratio[methods.index(method)], dice[methods.index(method)], strict=True
        )
    ]
    real = [r["method"] for r in result.tables["methods"].rows if r["family"] != "baseline"]
    shown = [*real[:CURVES_SHOWN], *([MASK_COPY] if MASK_COPY in methods else [])]
    figure = figures.trade_off(
        {m: (ratio[methods.index(m)], dice[methods.index(m)]) for m in shown},
        x_name="Saliency Ratio (area kept / area predicted)",
        y_name="Dice Explained",
    )
    caption = (
        "Each line runs over thresholds: only pixels above the threshold are kept, the rest is "
        "filled. Further left and up is better: much of the prediction from little of the image. "
        f"The {len(shown)} maps shown are the best-ranked methods and the mask copy; the table "
        "has all."
    )
    block = FigureBlock(
        figure, "Dice Explained against Saliency Ratio", caption, caption, Table(rows), "trade-off"
    )
    return Section("trade", "How much a small map explains", "", [block])


def _curves(result: Result, kind: str) -> dict[float, np.ndarray]:
    """Means [methods] of a metric's first version at each threshold; nothing without one."""
    names = choice_versions(result.notes["metrics"], kind)
    curve = result.arrays.get(safe_key(f"curve-{names[0]}")) if names else None
    if curve is None:
        return {}
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no case at all: nan
        means = np.nanmean(curve, axis=0)
    return dict(zip(result.notes["at"][names[0]], means.T, strict=True))


def against(result: Result) -> Section | None:
    """Each method against the prediction's own mask, in the primary metric; all in a table."""
    rows = [dict(row) for row in result.tables["against"].rows]
    primary = result.notes["primary"]
    chosen = [r for r in rows if r["metric"] == primary and r["reference"] == MASK_COPY]
    chosen.sort(key=lambda row: -_number(row["difference"]))
    blocks: list[Block] = []
    if chosen:
        figure = figures.intervals(
            [row["method"] for row in chosen],
            _column(chosen, "difference"),
            _column(chosen, "low"),
            _column(chosen, "high"),
            value_name=f"better than the mask copy in {primary}",
            reference=0.0,
            significant=_column(chosen, "p_holm") <= ALPHA,
        )
        caption = (
            "Paired over cases, with 95 % intervals; right of zero is better than showing the "
            "predicted mask itself. Filled: significant after Holm's correction over methods."
        )
        columns = ("method", "difference", "low", "high", "p", "p_holm", "detectable", "cases")
        table = Table(chosen, columns, result.tables["against"].labels)
        blocks.append(FigureBlock(figure, f"In {primary}", caption, caption, table, "mask-copy"))
    if rows:
        blocks.append(
            TableBlock(
                result.tables["against"], "Every metric and both references", folded=True, limit=500
            )
        )
    return Section(
        "against",
        "Against trivial maps",
        "Many maps merely trace the prediction. A method that does not beat a copy of the "
        "prediction's mask has not been shown, by this metric, to tell more than the prediction "
        "does; that it tells no more is not shown either: see the smallest detectable difference.",
        blocks,
    )


def sanity(result: Result) -> Section | None:
    """Metrics that explain again: shuffled weights, noise, two objects of one class."""
    kinds = ("randomisation", "stability", "region_locality")
    names = [name for kind in kinds for name in choice_versions(result.notes["metrics"], kind)]
    found = [_forest(result, "sanity", name) for name in names]
    blocks = [block for block in found if block is not None]
    title = "Do the maps depend on the network, and hold still?"
    intro = (
        "Each of these costs a method's passes again, so they are taken on a few cases alone: "
        f"{result.notes['sanity']} of {result.notes['cases']}. Only on {LEAST_UNITS} images (or "
        "groups) or more is a method said to keep its map under shuffled weights; on fewer, "
        "silence means nothing."
    )
    return Section("sanity", title, intro, blocks) if blocks else None


def context(result: Result) -> Section | None:
    """Whether the maps mark context: outside of the region, and where it is known to matter."""
    named = partial(choice_versions, result.notes["metrics"])
    blocks = [
        block
        for block in (
            _known_context(result),
            *(_forest(result, "context", name) for name in named("cbd")),
            *(_forest(result, "context", n, _above_chance(result, n)) for n in named("cbl")),
            *(_forest(result, "context", name) for name in named("context_share")),
        )
        if block is not None
    ]
    intro = (
        "How much of each map lies outside the explained region and, where the data set knows "
        "which surroundings matter (a planted tile), whether they are marked."
    )
    return Section("context", "Do the maps see context?", intro, blocks) if blocks else None


def _known_context(result: Result) -> Block | None:
    """CBD and CBL of every map in one table, with what CBL is by chance."""
    means = {(row["metric"], row["method"]): row for row in result.tables["means"].rows}
    kinds = {k: choice_versions(result.notes["metrics"], k)[:1] for k in ("cbd", "cbl")}
    if not all(kinds.values()):
        return None
    labels = {kind: found[0] for kind, found in kinds.items()}
    above = _above_chance(result, labels["cbl"])
    rows = []
    for method in (row["method"] for row in result.tables["methods"].rows):
        if not above:
            continue
        row: Row = {"method": method}
        for metric, label in labels.items():
            found = means[label, method]
            row |= {metric: found["mean"], f"{metric}_low": found["low"]}
            row |= {f"{metric}_high": found["high"]}
        row |= {"cases": means[labels["cbl"], method]["cases"]}
        one = above.get(method, {})
        row |= {name: one.get(name) for name in ("difference", "p_holm")}
        rows.append(row)
    if not rows:
        return None
    rows.sort(key=lambda row: -np.nan_to_num(_number(row["cbl"]), nan=-1.0))
    names = {
        "cbd": "CBD",
        "cbl": "CBL",
        **{f"{m}_{end}": f"{m.upper()}, {end}" for m in ("cbd", "cbl") for end in ("low", "high")},
        "cases": "cases with mass outside",
        "difference": "CBL above chance",
        "p_holm": "p Holm",
    }
    caption = (
        "CBD is how much of the surroundings a map marks, CBL how much of what it marks there lies "
        "on the context that matters. By chance CBL is the share of the surroundings that this "
        f"context covers, {result.notes['chance']:.2f} in the mean. A map with CBD near 0 does not "
        "speak of context at all, whatever its CBL."
    )
    return TableBlock(Table(rows, labels=names), "Known context: CBD and CBL", caption, limit=40)


def _above_chance(result: Result, label: str) -> dict[str, Row]:
    """Rows of the comparison of CBL with chance, by method; empty where no context is known."""
    rows = result.tables["against"].rows
    return {r["method"]: dict(r) for r in rows if (r["metric"], r["reference"]) == (label, KNOWN)}


def _forest(
    result: Result, key: str, metric: str, above: dict[str, Row] | None = None
) -> FigureBlock | None:
    """One metric's means, best first; `above` marks those that are significantly above chance."""
    rows = [dict(r) for r in result.tables["means"].rows if r["metric"] == metric and r["cases"]]
    if not rows:
        return None
    kind = next(row for row in result.tables["metrics"].rows if row["metric"] == metric)
    rows.sort(key=lambda row: _number(row["mean"]) * (-1 if kind["better"] == "higher" else 1))
    caption = f"{kind['what']} Mean over cases with 95 % intervals."
    if above:
        caption += " Dotted: chance. Filled: significantly more than chance (Holm over maps)."
    passed = [_passes(above[row["method"]]) for row in rows if above and row["method"] in above]
    figure = figures.intervals(
        [row["method"] for row in rows],
        _column(rows, "mean"),
        _column(rows, "low"),
        _column(rows, "high"),
        value_name=TITLES.get(metric, metric.replace("_", " ")),
        reference=result.notes["chance"] if above else None,
        significant=np.array(passed) if len(passed) == len(rows) else None,
        marks=("more than chance", "not more"),
    )
    title = TITLES.get(metric, metric.replace("_", " ").capitalize())
    columns = ("method", "mean", "low", "high", "cases")
    return FigureBlock(
        figure, title, caption, caption, Table(rows, columns), safe_key(f"{key}-{metric}")
    )


def _passes(row: Row) -> bool:
    return _number(row["p_holm"]) <= ALPHA and _number(row["difference"]) > 0


def gallery(result: Result) -> Section | None:
    rows = [dict(row) for row in result.tables["gallery"].rows]
    if not rows:
        return None
    methods = list(result.notes["methods"])
    best = [row["method"] for row in result.tables["methods"].rows]
    names = [f"{row['class']} in {row['sample']}" for row in rows]
    plain = [
        Picture(r["picture"], f"{n}, region outlined") for r, n in zip(rows, names, strict=True)
    ]
    shown: list[tuple[str, list[Picture | None]]] = [("image", [*plain])]
    for method in best:
        m = methods.index(method)
        maps = [Picture(r["maps"][m], f"{method}, {n}") for r, n in zip(rows, names, strict=True)]
        shown.append((method, [*maps]))
    bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the method's largest")
    return Section(
        "gallery",
        "The maps side by side",
        "Best mean rank first. All maps of a method share a scale, and all methods its ends: 1 is "
        "the largest attribution (99.5 % quantile) of the method in these cases.",
        [Gallery([f"case {n + 1}: {row['class']}" for n, row in enumerate(rows)], shown, bar=bar)],
    )


def cost(result: Result) -> Section:
    """Passes and seconds of one map."""
    seconds = result.timings["seconds_per_map"]
    rows = [
        {**dict(row), "seconds": seconds[row["method"]]} for row in result.tables["methods"].rows
    ]
    columns = ("method", "seconds", "forwards", "backwards", "tails", "tail_backwards")
    labels = {**result.tables["methods"].labels, "seconds": "seconds (median)"}
    block = TableBlock(
        Table(rows, columns, labels),
        "Cost of one map",
        "Passes of one image through the whole network, or through the part after the layer.",
    )
    return Section("cost", "What a map costs", "", [block])


def numbers(result: Result) -> Section:
    return Section(
        "numbers",
        "All numbers",
        "",
        [
            TableBlock(result.tables["methods"], "The methods", folded=True),
            TableBlock(result.tables["means"], "Means", limit=1000, folded=True),
            TableBlock(result.tables["cases"], "The cases", folded=True),
            TableBlock(result.tables["values"], "Every map", limit=200, folded=True),
        ],
    )


def _number(value: Any) -> float:
    return NAN if value is None else float(value)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([_number(row[name]) for row in rows], dtype=float)
