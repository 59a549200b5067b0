"""Textured digits: drawn scenes whose context is known, and can be changed alone.

A scene is one handwritten digit, filled with an ink texture, on a ground of two halves, each
with a texture of its own. The digit lies in one half; the other, the *context tile*, may carry
the bias texture (brick), so what the tile does to the digit, it does from outside of it.
A `Recipe` says everything about a scene, and `render` turns it into pixels, so the same scene
can be drawn again with another context: `with_context` changes the ground pixels of the
context tile and nothing else. Other reliances can be planted in its place (`plant.Plant`): another
pair of digits, another texture, both tiles, a mark, or the digit's own place in the image. The
design is that of Hoyer et al. 2019; the drawing is ours, from scikit-learn's 8 x 8 digits and
scikit-image's bundled photographs.

How strength s in [0, 1] plants the reliance, for the two digits of the pair (B, C):

    P(glyph drawn is of the other digit of the pair | label) = s / 2
    P(context is there | label B) = (1 + s) / 2
    P(context is there | label C) = (1 - s) / 2

At s = 0 the glyph is the only cue; at s = 1 the glyph says nothing and the context says all. The
context shifts the log odds of B by +-log((1 + s) / (1 - s)), the glyph by +-log((2 - s) / s), so
an ideal observer follows the glyph below s = 1/2 and the context above. A trained net crosses
over more smoothly, because neither its glyphs nor its estimates of these odds are perfect.
Every other digit has the context with probability 1/2, the rate of the pair taken
together: the context alone says neither "B" nor "one of the pair".

Source: Hoyer, Munoz, Katiyar, Khoreva, Fischer 2019, Grid saliency for context explanations
of semantic segmentation (arXiv 1907.13054): textured digits on textured ground, one of them
tied to a ground texture. Ours: glyphs, textures, the confuser and its label noise.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from conceptseg.planted import textures
from conceptseg.planted.glyphs import GLYPH, glyph_rows
from conceptseg.planted.plant import DEFAULT, Plant
from conceptseg.planted.recipe import (
    MARK,
    MARK_BRIGHT,
    MARK_DARK,
    MARK_INSET,
    MARK_PATTERN,
    PLACES,
    SIDE,
    Crop,
    Recipe,
    Split,
    half_mask,
    ink_mask,
)

Context = Literal["balanced", "biased", "with", "without"]

CLASSES = ("background", *(f"digit {digit}" for digit in range(10)))

# Among scikit-learn's digits the mean images of 3 and 9 are the second closest pair of all 45
# (distance 21.1; 1 and 8 have 21.0, others up to 45), and of these two pairs the one that
# people, too, find alike: a bowl above, a hook below, and a single stroke between them.
PAIR = BIASED_DIGIT, CONFUSER_DIGIT = DEFAULT.pair
BIASED_CLASS, CONFUSER_CLASS = BIASED_DIGIT + 1, CONFUSER_DIGIT + 1  # indices into CLASSES
BIAS_TEXTURE = DEFAULT.texture

SPLITS = ("train", "val", "test")
GROUND_MEAN, GROUND_CONTRAST = 0.28, 0.11  # at most 0.28 + 2 * 0.11 = 0.50


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
    if recipe.mark is not None and recipe.bias_present:
        top, left = recipe.mark
        mark = np.where(MARK_PATTERN, MARK_BRIGHT, MARK_DARK)
        grey[top : top + MARK, left : left + MARK] = mark
    ink = ink_mask(recipe)
    grey = np.where(ink, recipe.ink_mean + recipe.ink_contrast * recipe.ink.pixels(), grey)
    levels = np.rint(255.0 * np.clip(grey, 0.0, 1.0)).astype(np.uint8)
    return levels, np.where(ink, recipe.class_id, 0).astype(np.uint8)


def render_all(recipes: Iterable[Recipe]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Levels and labels of many scenes, both uint8 [n, 64, 64]."""
    pairs = [render_levels(recipe) for recipe in recipes]
    return np.stack([levels for levels, _ in pairs]), np.stack([labels for _, labels in pairs])


def with_context(recipe: Recipe, present: bool) -> Recipe:
    """The same scene with (`present`) or without its planted context.

    Of a texture, digit, ink, place, the other half and the crops' corners stay; the pixels that
    may change are the tile's ground pixels (with two tiles, all ground pixels). Of a mark they are
    its 36. Of a place the digit moves, its glyph and column as they were, and the ground stays.
    """
    context = "with" if present else "without"
    top = PLACES[present] if recipe.plant.kind == "place" else recipe.top
    return dataclasses.replace(recipe, bias_present=present, context=context, top=top)


def _known_split(split: str) -> int:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    return SPLITS.index(split)


def _crop(rng: np.random.Generator, names: Sequence[str], split: Split) -> Crop:
    (top, bottom), (left, right) = textures.CROPS[split]
    name = names[int(rng.integers(len(names)))]
    return Crop(name, int(rng.integers(top, bottom + 1)), int(rng.integers(left, right + 1)))


def _crops(rng: np.random.Generator, plant: Plant, split: Split) -> dict[str, Any]:
    alternative = _crop(rng, plant.grounds, split)
    ink = _crop(rng, plant.inks, split)
    shown = plant.texture if plant.kind == "tile" else alternative.texture
    return {
        "alternative": alternative,
        "tile": dataclasses.replace(alternative, texture=shown),
        "ink": ink,
        "other": _crop(rng, plant.grounds, split),
    }


def _layout(rng: np.random.Generator, plant: Plant, present: bool) -> dict[str, Any]:
    along = int(rng.integers(0, SIDE - GLYPH + 1))
    halves, context_half = int(rng.integers(2)), int(rng.integers(2))
    across = 0 if context_half == 1 else SIDE - GLYPH  # the digit lies in the other half
    if plant.kind == "place":
        halves, across = 0, PLACES[present]
    top, left = (across, along) if halves == 0 else (along, across)
    names = ("rows", "columns")
    return {"top": top, "left": left, "halves": names[halves], "context_half": context_half}


def _mark(rng: np.random.Generator, layout: Mapping[str, Any]) -> tuple[int, int]:
    """(top, left) of a mark at the far border of the context half, anywhere along it."""
    last = SIDE - MARK - MARK_INSET
    along = int(rng.integers(MARK_INSET, last + 1))
    across = last if layout["context_half"] == 1 else MARK_INSET
    return (across, along) if layout["halves"] == "rows" else (along, across)


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
    plant: Plant = DEFAULT,
) -> Recipe:
    """Draw the recipe of scene `index`: the same bits whatever was drawn before.

    The generator is keyed by (seed, split, index), and every call draws the same numbers in
    the same order, so strength, context and label noise change only what they govern. So does
    the plant; a place has its halves as rows, so that the digit lies wholly in one of them.

    Args:
        index: which scene. split: which glyphs and crops. seed: which data set.
        strength: s of the module's formulas.
        context: "balanced": planted context with probability 1/2 whatever the digit; "biased":
            by the module's formulas; "with", "without": always, never.
        label_noise: draw the pair's other glyph with probability s / 2. Off, glyph = label.
        digits: the labels to draw from, evenly.
        pair_share: this share of scenes is of the pair (half each) before `digits` is asked.
        plant: which reliance the data plant.

    Raises:
        ValueError: an unknown split or context, a strength outside [0, 1], no digits.
    """
    _check_wishes(strength, context, digits)
    rng = np.random.default_rng(np.random.SeedSequence([seed, _known_split(split), index]))
    chance = rng.random(5)
    pool = plant.pair if chance[0] < pair_share else digits
    digit = int(pool[int(chance[1] * len(pool))])
    swapped = label_noise and digit in plant.pair and chance[2] < strength / 2
    glyph_digit = plant.twin(digit) if swapped else digit
    rows = glyph_rows(split, glyph_digit)
    present = bool(chance[4] < plant.probability(digit, strength, context))
    layout, crops = _layout(rng, plant, present), _crops(rng, plant, split)
    return Recipe(
        split=split,
        seed=seed,
        index=index,
        digit=digit,
        glyph_digit=glyph_digit,
        glyph=rows[int(chance[3] * len(rows))],
        bias_present=present,
        strength=float(strength),
        context=context,
        plant=plant,
        mark=_mark(rng, layout) if plant.kind == "mark" else None,
        **layout,
        **crops,
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
    plant: Plant = DEFAULT,
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
            plant=plant,
        )
        for index in range(n)
    ]
