"""Contact sheets of scenes, for a look with the eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conceptseg.planted.generator import SIDE, Recipe, render_levels, with_context

GAP = 4  # pixels of white between scenes


def sheet(recipes: Sequence[Recipe], columns: int = 12) -> NDArray[np.uint8]:
    """Grey levels of a sheet: each scene as drawn, and right below it with the other context."""
    if not recipes:
        raise ValueError("no scenes to draw")
    columns = min(columns, len(recipes))
    rows = -(-len(recipes) // columns)
    step_down, step_right = 2 * SIDE + 3 * GAP, SIDE + GAP
    page = np.full((rows * step_down, columns * step_right), 255, np.uint8)
    for place, recipe in enumerate(recipes):
        top, left = place // columns * step_down, place % columns * step_right
        swapped = with_context(recipe, not recipe.bias_present)
        below = top + SIDE + GAP // 2
        page[top : top + SIDE, left : left + SIDE] = render_levels(recipe)[0]
        page[below : below + SIDE, left : left + SIDE] = render_levels(swapped)[0]
    return page


def save_sheet(recipes: Sequence[Recipe], path: Path, zoom: int = 2) -> None:
    """Write `sheet` as a PNG file, each pixel drawn `zoom` x `zoom`."""
    from PIL import Image

    page = sheet(recipes)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page.repeat(zoom, axis=0).repeat(zoom, axis=1)).save(path)
