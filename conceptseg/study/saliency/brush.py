"""Further sweep: the maps of an image's cells, of which the report adds those that are painted."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import parse
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.brush import Brush
from conceptseg.explain.methods import failing
from conceptseg.explain.scene import Scene
from conceptseg.report.blocks import Brush as BrushBlock
from conceptseg.report.blocks import Picture, Section
from conceptseg.report.brushed import REPORT_PX, Painting
from conceptseg.result.saved import Result
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.saliency.choose import CASES
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.shared.sweep import One, Sweep

CELLS = (8, 8)
"""Cells of an image, down and across, at most."""
BRUSHES = Key("brushes", SampleTable)


@dataclass(frozen=True)
class Brushes(Sweep):
    """In 8 bits the map of each cell of the first cases, by a method that is linear in what it
    explains."""

    study: Saliency

    name = "brush"
    cost = "a backward pass for each of 64 cells of each case that can be painted on"
    rows = BRUSHES

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for sample_id, _ in known[CASES][: self.study.brushed]}

    def forwards(self, context: Context) -> float:
        return 2.0 * self.study.brushed * CELLS[0] * CELLS[1]

    def look(self, context: Context, one: One, known: Known) -> Tables:
        study, cases = self.study, list(enumerate(known[CASES][: self.study.brushed]))
        method, why, numbers = parse("explainers", study.brush_method), list[str](), list[int]()
        grid = (min(CELLS[0], one.size[0]), min(CELLS[1], one.size[1]))
        nothing, image = np.zeros(one.size, bool), one.image[0].float().cpu().numpy()
        empty = np.zeros((grid[0] * grid[1], *one.size), np.float32)
        coded = [Painting(image, nothing, empty, grid, "", "", most_px=REPORT_PX).coded]
        for number, class_id in [(n, c) for n, (name, c) in cases if name == one.id]:
            scene = Scene(context.model, one.image, batch_size=context.run.batch_size)
            try:
                brush = Brush(scene, class_id, method, study.target.score)
                maps = brush.maps(brush.cells(*CELLS)).cpu().numpy()
            except Exception as error:
                if "brush_method" in study.model_fields_set and isinstance(error, InputError):
                    raise InputError(f"brush_method: {error}") from None
                if (reason := failing(error)) is None:
                    raise
                why.append(reason)
                continue
            made = Painting(image, nothing, maps, grid, "", method.name(), most_px=REPORT_PX)
            coded.append(made.coded)
            numbers.append(number)
        codes, step = (np.stack(part)[1:] for part in zip(*coded, strict=True))
        grids = np.array([grid] * len(numbers), np.int64).reshape(-1, 2)
        rows = {"number": np.array(numbers, np.int64), "codes": codes, "step": step, "grid": grids}
        return {**rows, "failed": np.array(why, np.str_)}

    def gathered(self, table: SampleTable, known: Known) -> Known:
        failed = [
            {"kind": "brush", "sample": name, "reason": why}
            for name, own in sorted(table.tables.items())
            for why in own["failed"].tolist()
        ]
        return BRUSHES(table) | left_out("brush")(tuple(failed))


def arrays(table: SampleTable) -> dict[str, np.ndarray]:
    """`brush-codes-N` int8 [q, y, x] and `brush-step-N` [q] of case N, and its `brush-grid-N`."""
    return {
        f"brush-{key}-{number}": own[key][row]
        for own in table.tables.values()
        for row, number in enumerate(own["number"].tolist())
        for key in ("codes", "step", "grid")
    }


def section(result: Result) -> Section | None:
    """The cases that can be painted on."""
    blocks = []
    for n, row in enumerate(result.tables["gallery"].rows):
        if (codes := result.arrays.get(f"brush-codes-{n}")) is None:
            continue
        down, across = (int(one) for one in result.arrays[f"brush-grid-{n}"])
        name = f"{row['class']} in {row['sample']}"
        blocks.append(
            BrushBlock(
                Picture(row["picture"], f"{name}, region outlined"),
                (down, across),
                codes,
                result.arrays[f"brush-step-{n}"],
                row["class"],
                heading=name,
                id=f"brush-{n}",
            )
        )
    if not blocks:
        return None
    return Section(
        "brush",
        "What speaks for the class where you paint?",
        "Paint cells of the image: the map beside it is that of what is painted, less what is "
        f"left out, by {result.notes['brush']}. Red speaks for the class there, blue against it. "
        "Such maps add up, so each is the sum of its cells' maps, which lie here in 8 bits.",
        blocks,
    )
