"""A scene's recipe: everything that decides its pixels and labels, and where things lie in it."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from conceptseg.planted import textures
from conceptseg.planted.glyphs import GLYPH, glyph_mask
from conceptseg.planted.plant import DEFAULT, Plant

Split = Literal["train", "val", "test"]

SIDE = textures.TILE  # pixels
INK_MEAN, INK_CONTRAST = 0.82, 0.06  # at least 0.82 - 2 * 0.06 = 0.70

# The mark: a bright frame and dot on dark, told from the ground (0.06 to 0.50) and the ink (0.70
# to 0.94) by its grey, and by a shape that no texture has.
MARK, MARK_INSET = 6, 2  # its side, and its distance from the border, in pixels
MARK_DARK, MARK_BRIGHT = 0.05, 0.62
MARK_PATTERN = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 1, 1, 0, 1],
        [1, 0, 1, 1, 0, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ],
    bool,
)
MARK_PATTERN.setflags(write=False)
PLACES = (SIDE - GLYPH, 0)  # top of the glyph's box without and with the planted place


@dataclass(frozen=True)
class Crop:
    """A 64 x 64 px window of a texture: its name and the window's top-left corner."""

    texture: str
    row: int
    column: int

    def pixels(self) -> NDArray[np.float32]:
        """The window's standardised values, [64, 64]."""
        whole = textures.texture(self.texture)
        return whole[self.row : self.row + SIDE, self.column : self.column + SIDE]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pixels and labels of one scene.

    Args:
        split, seed, index: the key the scene was drawn from; with `context` its identity.
        digit: the label. glyph_digit: the digit whose glyph is drawn (label noise when not
            the same). glyph: row of scikit-learn's digits.
        top, left: corner of the glyph's 32 x 32 px box.
        ink: texture of the ink. ink_mean, ink_contrast: its grey values.
        halves: "rows" for an upper and a lower half, "columns" for a left and a right one.
        context_half: 0 (upper, left) or 1 (lower, right): the context tile.
        tile, alternative: the tile's crop if the bias texture is shown, and if it is not; the
            same where no texture is planted.
        other: the crop of the other half, never of the bias texture; with two tiles its corner
            is also that of the bias texture there.
        bias_present: whether the planted context is there: the tile shows `tile` rather than
            `alternative`; the mark is drawn; the digit lies at the planted place.
        strength: the bias the scene was drawn under. context: the option it was drawn with.
        plant: what is planted. mark: (top, left) of the mark, if one is.
    """

    split: Split
    seed: int
    index: int
    digit: int
    glyph_digit: int
    glyph: int
    top: int
    left: int
    ink: Crop
    halves: Literal["rows", "columns"]
    context_half: int
    tile: Crop
    alternative: Crop
    other: Crop
    bias_present: bool
    strength: float
    context: str
    ink_mean: float = INK_MEAN
    ink_contrast: float = INK_CONTRAST
    # Not in the representation, by which results of scenes with the default plant are known.
    plant: Plant = field(default=DEFAULT, repr=False)
    mark: tuple[int, int] | None = field(default=None, repr=False)

    @property
    def sample_id(self) -> str:
        """A stable name; two scenes that `sample` draws differently never share one."""
        key = f"{self.split}-{self.seed}-{self.index:05d}-d{self.digit}-g{self.glyph}"
        planted = self.tile.texture if self.plant == DEFAULT else self.plant.name
        return f"{key}-{planted}-{self.context}-s{self.strength:g}"

    @property
    def class_id(self) -> int:
        """Index of the label in `CLASSES`: digit + 1."""
        return self.digit + 1

    def grounds(self) -> tuple[Crop, Crop]:
        """The crops shown in half 0 and half 1."""
        tile, other = (self.tile if self.bias_present else self.alternative), self.other
        if self.bias_present and self.plant.tiles == 2:
            other = Crop(self.plant.texture, other.row, other.column)
        return (tile, other) if self.context_half == 0 else (other, tile)

    def metadata(self) -> dict[str, str | int | float | bool]:
        """One flat row of what is known about the scene, for a table of samples."""
        first, second = self.grounds()
        return {
            "digit": self.digit,
            "glyph_digit": self.glyph_digit,
            "glyph": self.glyph,
            "bias_present": self.bias_present,
            "halves": self.halves,
            "context_half": self.context_half,
            "texture_0": first.texture,
            "texture_1": second.texture,
            "ink": self.ink.texture,
            "strength": self.strength,
            "context": self.context,
        }


def half_mask(recipe: Recipe, half: int) -> NDArray[np.bool_]:
    """The pixels of half 0 (upper, left) or half 1 (lower, right), boolean [64, 64]."""
    second = np.zeros((SIDE, SIDE), bool)
    if recipe.halves == "rows":
        second[SIDE // 2 :] = True
    else:
        second[:, SIDE // 2 :] = True
    return second if half == 1 else ~second


def ink_mask(recipe: Recipe) -> NDArray[np.bool_]:
    """The pixels of the digit, boolean [64, 64]."""
    mask = np.zeros((SIDE, SIDE), bool)
    box = slice(recipe.top, recipe.top + GLYPH), slice(recipe.left, recipe.left + GLYPH)
    mask[box] = glyph_mask(recipe.glyph)
    return mask


def mark_mask(recipe: Recipe) -> NDArray[np.bool_]:
    """The 6 x 6 px of the mark, there or not, boolean [64, 64]; none where none is planted."""
    mask = np.zeros((SIDE, SIDE), bool)
    if recipe.mark is not None:
        top, left = recipe.mark
        mask[top : top + MARK, left : left + MARK] = True
    return mask


def context_mask(recipe: Recipe) -> NDArray[np.bool_] | None:
    """Where the planted context is, or would be, boolean [64, 64]; None of a place.

    One tile: its half, in which the digit never lies. Two: the whole ground. A mark: its square.
    """
    if recipe.plant.kind == "place":
        return None
    if recipe.plant.kind == "mark":
        return mark_mask(recipe)
    return ~ink_mask(recipe) if recipe.plant.tiles == 2 else half_mask(recipe, recipe.context_half)
