"""What attacks on maps reached: the result's table and pictures, and the report's section."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.report.blocks import Block, ColourBar, Gallery, Picture, Section, TableBlock
from conceptseg.report.thumbnails import overlay, shared_limit
from conceptseg.result.columns import Column, labels_of
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.saliency.attack import Attacked
from conceptseg.study.saliency.judge import Judged

REACHED = (
    Column("before", "likeness to the goal, clean image"),
    Column("noise", "under plain noise of the same size"),
    Column("after", "under attack"),
    Column("size", "size of the noise"),
)
SHOWN = 4
"""Methods whose attacked maps the report shows: those that were led furthest astray."""


def table(attacked: Attacked) -> Table:
    """One row per method, that which was led furthest astray first; nan where none was."""
    means = finite_mean(attacked.reached, 0)
    rows: list[dict[str, Any]] = [
        {
            "method": method,
            **dict(zip([column.key for column in REACHED], means[m].tolist(), strict=True)),
            "cases": int(np.isfinite(attacked.reached[:, m, 2]).sum()),
            "maps": [[_key(n, m, kind) for kind in (0, 1)] if _drawn(attacked, n, m) else []
                     for n in range(len(attacked.clean))],
        }
        for m, method in enumerate(attacked.methods)
    ]  # fmt: skip
    rows.sort(key=lambda row: (row["cases"] == 0, row["before"] - row["after"]))
    return Table(rows, caption="Attacks on maps", labels=labels_of(REACHED))


def pictures(attacked: Attacked, judged: Judged, side: int) -> dict[str, bytes]:
    """Maps before and after, in one scale for both."""
    found = {}
    for n, (image, region) in enumerate(zip(judged.images, judged.regions, strict=True)):
        for m in range(len(attacked.methods)):
            if not _drawn(attacked, n, m):
                continue
            pair = [attacked.clean[n][m], attacked.attacked[n][m]]
            for kind, one in enumerate(pair):
                limit = shared_limit([one])
                found[_key(n, m, kind)] = overlay(image, one, -limit, limit, mask=region, side=side)
    return found


def section(result: Result) -> Section | None:
    """How far each map can be bent towards one that says something else."""
    if "attack" not in result.tables:
        return None
    rows = result.tables["attack"].rows
    heads = [f"{r['class']} in {r['sample']}" for r in result.tables["gallery"].rows]
    shown = [row for row in rows if any(row["maps"])][:SHOWN]
    blocks: list[Block] = [
        TableBlock(
            Table(rows, labels=labels_of(REACHED)).show("method", *REACHED, "cases"),
            "Correlation with the goal",
            "Means over the cases in which noise kept the prediction. A map that cannot be bent "
            "stays at its first number; a lower bound, since more steps find more. Where all plain "
            "noise of the size that was asked for changes the prediction, half of it is taken, at "
            "most four times.",
        )
    ]
    if shown:
        lines = [(head, _line(n, head, shown)) for n, head in enumerate(heads)]
        names = [text for row in shown for text in (row["method"], "attacked")]
        bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the map's largest")
        blocks.append(Gallery(names, lines, bar=bar))
    return Section(
        "attack",
        "Maps under attack",
        "Noise that nobody sees was sought that turns each map towards itself upside down, while "
        f"the prediction holds: {result.notes['attack']} at most. The network and the method are "
        "taken as they are.",
        blocks,
    )


def _line(n: int, head: str, shown: Sequence[Any]) -> list[Picture | None]:
    words = ("clean", "under attack")
    line: list[Picture | None] = []
    for row in shown:
        keys = row["maps"][n] or [None, None]
        for key, word in zip(keys, words, strict=True):
            line.append(None if key is None else Picture(key, f"{row['method']} {word}, {head}"))
    return line


def _drawn(attacked: Attacked, n: int, m: int) -> bool:
    return bool(np.isfinite(attacked.attacked[n][m]).all())


def _key(n: int, m: int, kind: int) -> str:
    return f"attack-{n}-{m}-{kind}"
