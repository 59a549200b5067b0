"""Scenes and ground truth of the constructed net: what it must do is known in closed form.

An exact scene is a `Recipe` like any other, with four simplifications that leave no rounding
to chance: the bias texture is vertical stripes of period 4 px; the other grounds (flat, rows,
diagonals, blocks) have none of that wave in any aligned 4 x 4 cell; the ink is of one grey;
and the digit lies wholly in the half that is not the context tile.

The grey of the ink is the *object evidence* for B: grey level 153 + j, with j in 0..102, means

    o = (j + 1/2) / 103,        o > 1/2 for B scenes (51 levels), o < 1/2 for C scenes (51),

and each run of 51 scenes of one class shows every level once.

With the context evidence g (mean of the stripe channel over the image, scaled so that one
full tile gives 1; so g is 1 with the texture and 0 without), the constructed net of context
weight w has, at each ink pixel,

    logit_B = (1 - w) o + w g,      logit_C = 1/2,

background 4 on the ground and -4 on ink, every other digit -4 throughout. Hence:

    margin change (logit_B - logit_C, texture put in)  =  w, in every scene
    B is right with the texture, always; without it if and only if (1 - w) o > 1/2
    effect(w) = mean IoU_B(with) - mean IoU_B(without) = share of B levels with (1-w) o < 1/2,

which is w / (1 - w) up to the 51 steps for w <= 1/2, and 1 above: graded below one half,
saturated beyond. C mirrors it: put in, the texture costs C scenes the same share. An image's
IoU is 1 or 0, since all its ink has one class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.planted import generator, textures
from conceptseg.planted.generator import BIASED_DIGIT, PAIR, SIDE, Crop, Recipe, Split
from conceptseg.planted.glyphs import GLYPH, glyph_rows

EXACT_TEXTURE = "stripes"
FIRST_LEVEL = 153  # grey level of j = 0
LEVELS = 103  # j runs over 0..102; 51 is nobody's, for there o would be exactly 1/2
PER_CLASS = 51


@dataclass(frozen=True)
class Truth:
    """The closed form at context weight `w`: see the module for the formulas.

    `margin_change` is that of logit_B - logit_C on ink; `effect` that of IoU_B over B scenes
    (every level once), `confuser_effect` that of IoU_C over C scenes.
    """

    w: float
    margin_change: float
    effect: float
    confuser_effect: float


def evidence(recipe: Recipe) -> float:
    """Object evidence o of an exact scene, in (0, 1), from the grey of its ink."""
    return (round(255 * recipe.ink_mean) - FIRST_LEVEL + 0.5) / LEVELS


def constructed_margin(recipe: Recipe, w: float) -> float:
    """logit_B - logit_C of the constructed net at the ink of an exact scene."""
    return (1.0 - w) * evidence(recipe) + w * float(recipe.bias_present) - 0.5


def constructed_truth(w: float) -> Truth:
    """Closed form of the constructed net's reliance.

    Raises:
        ValueError: w outside [0, 1].
    """
    check_weight(w)
    levels = (np.arange(LEVELS - PER_CLASS, LEVELS) + 0.5) / LEVELS
    effect = float(np.mean((1.0 - w) * levels < 0.5))
    return Truth(w=w, margin_change=w, effect=effect, confuser_effect=-effect)


def check_weight(w: float) -> None:
    """Raise ValueError unless w is in [0, 1]."""
    if not 0.0 <= w <= 1.0:
        raise ValueError(f"context weight w is {w}, it must lie in [0, 1]")


def _ink_level(digit: int, turn: int) -> int:
    # 20 shares no factor with 51, so 51 turns in a row meet each level once, well mixed.
    rank = turn * 20 % PER_CLASS
    return FIRST_LEVEL + rank + (LEVELS - PER_CLASS if digit == BIASED_DIGIT else 0)


def exact_sample(
    index: int, split: Split = "test", seed: int = 0, digits: Sequence[int] = PAIR
) -> Recipe:
    """Exact scene `index`: labels cycle through `digits`, the texture is there half the time.

    Raises:
        ValueError: a digit outside the pair, for the constructed net knows no other.
    """
    if len(digits) == 0 or any(digit not in PAIR for digit in digits):
        raise ValueError(f"exact scenes show digits {PAIR} only, not {tuple(digits)}")
    base = generator.sample(index, split, seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 100, index]))
    digit = digits[index % len(digits)]
    rows = glyph_rows(split, digit)
    alternative, other = (
        Crop(textures.CONSTRUCTED_GROUNDS[rng.integers(4)], crop.row, crop.column)
        for crop in (base.alternative, base.other)
    )
    along = int(rng.integers(SIDE - GLYPH + 1))
    across = SIDE // 2 if base.context_half == 0 else 0
    top, left = (across, along) if base.halves == "rows" else (along, across)
    return Recipe(
        split=split,
        seed=seed,
        index=index,
        digit=digit,
        glyph_digit=digit,
        glyph=rows[rng.integers(len(rows))],
        top=top,
        left=left,
        ink=Crop("flat", 0, 0),
        ink_mean=_ink_level(digit, index // len(digits)) / 255.0,
        ink_contrast=0.0,
        halves=base.halves,
        context_half=base.context_half,
        tile=Crop(EXACT_TEXTURE, alternative.row, alternative.column),
        alternative=alternative,
        other=other,
        bias_present=base.bias_present,
        strength=0.0,
        context="balanced",
    )


def exact_samples(
    split: Split = "test", n: int = 102, seed: int = 0, digits: Sequence[int] = PAIR
) -> list[Recipe]:
    """The first `n` exact scenes; a multiple of 51 per digit makes effects exactly the truth's."""
    return [exact_sample(index, split, seed, digits) for index in range(n)]
