"""Textured digits: drawn scenes whose context is known, and can be changed alone.

A scene is one handwritten digit, filled with an ink texture, on a ground of two halves, each
with a texture of its own. The digit lies in one half; the other, the *context tile*, may carry
the bias texture (brick), so what the tile does to the digit, it does from outside of it.
A `Recipe` says everything about a scene, and `render` turns it into pixels, so the same scene
can be drawn again with another context: `with_context` changes the ground pixels of the
context tile and nothing else. The design is that of Hoyer et al. 2019; the drawing is ours,
from scikit-learn's 8 x 8 digits and scikit-image's bundled photographs.

How strength s in [0, 1] plants the reliance, for the two digits of the pair (B, C):

    P(glyph drawn is of the other digit of the pair | label) = s / 2
    P(tile carries the bias texture | label B) = (1 + s) / 2
    P(tile carries the bias texture | label C) = (1 - s) / 2

At s = 0 the glyph is the only cue; at s = 1 the glyph says nothing and the tile says all. The
tile shifts the log odds of B by +-log((1 + s) / (1 - s)), the glyph by +-log((2 - s) / s), so
an ideal observer follows the glyph below s = 1/2 and the tile above. A trained net crosses
over more smoothly, because neither its glyphs nor its estimates of these odds are perfect.
Every other digit has the bias texture with probability 1/2, the rate of the pair taken
together: the texture alone says neither "B" nor "one of the pair".

Source: Hoyer, Munoz, Katiyar, Khoreva, Fischer 2019, Grid saliency for context explanations
of semantic segmentation (arXiv 1907.13054): textured digits on textured ground, one of them
tied to a ground texture. Ours: glyphs, textures, the confuser and its label noise.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from conceptseg.planted import textures
from conceptseg.planted.glyphs import GLYPH, glyph_mask, glyph_rows

Split = Literal["train", "val", "test"]
Context = Literal["balanced", "biased", "with", "without"]

SIDE = textures.TILE  # pixels
CLASSES = ("background", *(f"digit {digit}" for digit in range(10)))

# Among scikit-learn's digits the mean images of 3 and 9 are the second closest pair of all 45
# (distance 21.1; 1 and 8 have 21.0, others up to 45), and of these two pairs the one that
# people, too, find alike: a bowl above, a hook below, and a single stroke between them.
BIASED_DIGIT, CONFUSER_DIGIT = 3, 9
PAIR = (BIASED_DIGIT, CONFUSER_DIGIT)
BIASED_CLASS, CONFUSER_CLASS = BIASED_DIGIT + 1, CONFUSER_DIGIT + 1  # indices into CLASSES
BIAS_TEXTURE = "brick"
BASE_RATE = 0.5  # P(bias texture) of the digits outside the pair

SPLITS = ("train", "val", "test")
GROUND_MEAN, GROUND_CONTRAST = 0.28, 0.11  # at most 0.28 + 2 * 0.11 = 0.50
INK_MEAN, INK_CONTRAST = 0.82, 0.06  # at least 0.82 - 2 * 0.06 = 0.70


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
        tile, alternative: the tile's crop if the bias texture is shown, and if it is not.
        other: the crop of the other half, never the bias texture.
        bias_present: whether the tile shows `tile` rather than `alternative`.
        strength: the bias the scene was drawn under. context: the option it was drawn with.
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

    @property
    def sample_id(self) -> str:
        """A stable name; two scenes that `sample` draws differently never share one."""
        key = f"{self.split}-{self.seed}-{self.index:05d}-d{self.digit}-g{self.glyph}"
        return f"{key}-{self.tile.texture}-{self.context}-s{self.strength:g}"

    @property
    def class_id(self) -> int:
        """Index of the label in `CLASSES`: digit + 1."""
        return self.digit + 1

    def grounds(self) -> tuple[Crop, Crop]:
        """The crops shown in half 0 and half 1."""
        tile = self.tile if self.bias_present else self.alternative
        return (tile, self.other) if self.context_half == 0 else (self.other, tile)

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


def render(recipe: Recipe) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw a scene.

    Returns:
        The grey image, float32 [64, 64] in [0, 1], whose values are whole multiples of 1/255
        (so that saving it as 8 bits loses nothing), and the labels, uint8 [64, 64]: 0 for
        the ground, digit + 1 on the ink.
    """
    levels, labels = render_levels(recipe)
    return levels.astype(np.float32) / np.float32(255.0), labels


def render_levels(recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`render`, with the image as its 8 bit levels, uint8 [64, 64]."""
    first, second = recipe.grounds()
    z = np.where(half_mask(recipe, 1), second.pixels(), first.pixels())
    grey = GROUND_MEAN + GROUND_CONTRAST * z
    ink = ink_mask(recipe)
    grey = np.where(ink, recipe.ink_mean + recipe.ink_contrast * recipe.ink.pixels(), grey)
    levels = np.rint(255.0 * np.clip(grey, 0.0, 1.0)).astype(np.uint8)
    return levels, np.where(ink, recipe.class_id, 0).astype(np.uint8)


def render_all(recipes: Iterable[Recipe]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Levels and labels of many scenes, both uint8 [n, 64, 64]."""
    pairs = [render_levels(recipe) for recipe in recipes]
    return np.stack([levels for levels, _ in pairs]), np.stack([labels for _, labels in pairs])


def with_context(recipe: Recipe, present: bool) -> Recipe:
    """The same scene with (`present`) or without the bias texture in its context tile.

    Digit, ink, place, the other half and the crops' corners stay; the pixels that may change
    are the tile's ground pixels.
    """
    context = "with" if present else "without"
    return dataclasses.replace(recipe, bias_present=present, context=context)


def _known_split(split: str) -> int:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    return SPLITS.index(split)


def _probability_of_bias(digit: int, strength: float, context: str) -> float:
    if context == "with":
        return 1.0
    if context == "without":
        return 0.0
    if context == "balanced" or digit not in PAIR:
        return BASE_RATE
    return (1.0 + strength) / 2.0 if digit == BIASED_DIGIT else (1.0 - strength) / 2.0


def _crop(rng: np.random.Generator, names: Sequence[str], split: Split) -> Crop:
    (top, bottom), (left, right) = textures.CROPS[split]
    name = names[int(rng.integers(len(names)))]
    return Crop(name, int(rng.integers(top, bottom + 1)), int(rng.integers(left, right + 1)))


def _check_wishes(strength: float, context: str, digits: Sequence[int]) -> None:
    if context not in ("balanced", "biased", "with", "without"):
        raise ValueError(f"unknown context {context!r}; known: balanced, biased, with, without")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}, it must lie in [0, 1]")
    if len(digits) == 0:
        raise ValueError("no digits to draw from")


def sample(
    index: int,
    split: Split = "test",
    seed: int = 0,
    *,
    strength: float = 0.0,
    context: Context = "balanced",
    label_noise: bool = False,
    digits: Sequence[int] = tuple(range(10)),
    pair_share: float = 0.0,
) -> Recipe:
    """Draw the recipe of scene `index`: the same bits whatever was drawn before.

    The generator is keyed by (seed, split, index), and every call draws the same numbers in
    the same order, so strength, context and label noise change only what they govern.

    Args:
        index: which scene. split: which glyphs and crops. seed: which data set.
        strength: s of the module's formulas.
        context: "balanced": bias texture with probability 1/2 whatever the digit; "biased":
            by the module's formulas; "with", "without": always, never.
        label_noise: draw the pair's other glyph with probability s / 2. Off, glyph = label.
        digits: the labels to draw from, evenly.
        pair_share: this share of scenes is of the pair (half each) before `digits` is asked.

    Raises:
        ValueError: an unknown split or context, a strength outside [0, 1], no digits.
    """
    _check_wishes(strength, context, digits)
    rng = np.random.default_rng(np.random.SeedSequence([seed, _known_split(split), index]))
    chance = rng.random(5)
    pool = PAIR if chance[0] < pair_share else digits
    digit = int(pool[int(chance[1] * len(pool))])
    swapped = label_noise and digit in PAIR and chance[2] < strength / 2
    glyph_digit = sum(PAIR) - digit if swapped else digit
    rows = glyph_rows(split, glyph_digit)
    along = int(rng.integers(0, SIDE - GLYPH + 1))
    halves, context_half = int(rng.integers(2)), int(rng.integers(2))
    across = 0 if context_half == 1 else SIDE - GLYPH  # the digit lies in the other half
    top, left = (across, along) if halves == 0 else (along, across)
    alternative = _crop(rng, textures.GROUNDS, split)
    return Recipe(
        split=split,
        seed=seed,
        index=index,
        digit=digit,
        glyph_digit=glyph_digit,
        glyph=rows[int(chance[3] * len(rows))],
        top=top,
        left=left,
        halves="rows" if halves == 0 else "columns",
        context_half=context_half,
        alternative=alternative,
        tile=dataclasses.replace(alternative, texture=BIAS_TEXTURE),
        ink=_crop(rng, textures.INKS, split),
        other=_crop(rng, textures.GROUNDS, split),
        bias_present=bool(chance[4] < _probability_of_bias(digit, strength, context)),
        strength=float(strength),
        context=context,
    )


def samples(
    split: Split = "test",
    n: int = 200,
    seed: int = 0,
    *,
    strength: float = 0.0,
    context: Context = "balanced",
    label_noise: bool = False,
    digits: Sequence[int] = tuple(range(10)),
    pair_share: float = 0.0,
) -> list[Recipe]:
    """The first `n` recipes of a data set; the arguments are those of `sample`.

    The default is a test set with true glyphs and a context that does not depend on the
    digit. `context="biased", strength=0.9` gives the confounded view that a concept finder
    meets in practice: most B scenes have the bias texture, half of the others do, C's rarely.
    """
    return [
        sample(
            index,
            split,
            seed,
            strength=strength,
            context=context,
            label_noise=label_noise,
            digits=digits,
            pair_share=pair_share,
        )
        for index in range(n)
    ]
