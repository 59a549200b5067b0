"""Renderer: an image that the data set drew itself is drawn again from another recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.generate import Code, Generator, Group, Subject
from conceptseg.network.model import SegmentationModel
from conceptseg.planted import textures
from conceptseg.planted.generator import render
from conceptseg.planted.glyphs import GLYPH, glyph_rows
from conceptseg.planted.recipe import SIDE, Recipe


@technique(family="explicit", source="ours: the planted benchmark's own recipes")
class Renderer(Generator):
    """All single edits of a planted scene's recipe: glyph, ink, tile, other half, and place.

    What the scene was drawn from is known, so nothing is guessed: each group has finitely many
    choices, which are all rendered. The glyph is exchanged for others of each digit, the ink's and
    halves' textures for every other of the benchmark, and the digit moved about its half. It is
    the truth that other generators are measured by.

    Source: ours. OCTET (Zemni et al. 2023, arXiv:2211.12380) asks the same of objects that a
    network has to find first.
    """

    glyphs: int = Field(3, ge=1, le=20, description="Glyphs of each digit that are tried.")
    places: int = Field(5, ge=2, le=33, description="Places along its half that are tried.")

    def check(self, model: SegmentationModel, drawn: Any) -> None:
        if not isinstance(drawn, Recipe):
            raise InputError(
                "generator: renderer draws textured scenes of the planted benchmark alone; take "
                "layers"
            )

    def encode(self, subject: Subject, fitted: Mapping[str, Tensor]) -> Code:
        return _Recipes(self, subject)


class _Recipes(Code):
    """One parameter for each group: 0, or the number of a choice over how many there are."""

    def __init__(self, renderer: Renderer, subject: Subject) -> None:
        self.image, recipe = subject.image, subject.drawn
        options = _options(renderer, recipe, next(iter(subject.regions), "digit"))
        self.options = list(options.values())
        self.groups = tuple(Group(*name, (slot,)) for slot, name in enumerate(options))
        self.recipe = recipe
        self.low = self.image.new_zeros(len(options))
        self.high = self.image.new_ones(len(options))

    def choices(self, group: Group) -> Tensor:
        (slot,) = group.slots
        count = len(self.options[slot])
        found = self.image.new_zeros(count, len(self.low))
        found[:, slot] = torch.arange(1, count + 1).to(found) / count
        return found

    def render(self, theta: Tensor) -> Tensor:
        pictures = []
        for row in theta.tolist():
            changed = self._recipe(row)
            if changed == self.recipe:
                pictures.append(self.image[0])
                continue
            pixels = torch.from_numpy(render(changed)[0])[None]
            pictures.append(pixels.to(self.image))
        return torch.stack(pictures)

    def _recipe(self, row: list[float]) -> Recipe:
        made: Recipe = self.recipe
        for slot, value in enumerate(row):
            if number := round(value * len(self.options[slot])):
                made = replace(made, **self.options[slot][number - 1][0])
        return made

    def describe(self, theta: Tensor, group: Group) -> str:
        (slot,) = group.slots
        number = round(float(theta[slot]) * len(self.options[slot]))
        return self.options[slot][number - 1][1] if number else "as it was"


Option = tuple[dict[str, Any], str]


def _options(renderer: Renderer, recipe: Recipe, digit: str) -> dict[tuple[str, str], list[Option]]:
    """What may be changed of a recipe, by region and attribute, each with its words; `digit` is
    what the region of the digit is called."""
    grounds, inks = textures.GROUNDS, textures.INKS
    glyph = [
        ({"glyph": row, "glyph_digit": drawn}, f"the glyph of a {drawn}")
        for drawn in range(10)
        if drawn != recipe.glyph_digit
        for row in glyph_rows(recipe.split, drawn)[: renderer.glyphs]
    ]
    ink = [
        ({"ink": replace(recipe.ink, texture=name)}, f"inked with {name}")
        for name in inks
        if name != recipe.ink.texture
    ]
    shown = recipe.tile if recipe.bias_present else recipe.alternative
    names = (*grounds, recipe.plant.texture)
    tile = [
        ({"tile": replace(shown, texture=name), "bias_present": True}, f"{name} there")
        for name in dict.fromkeys(names)
        if name != shown.texture
    ]
    other = [
        ({"other": replace(recipe.other, texture=name)}, f"{name} there")
        for name in grounds
        if name != recipe.other.texture
    ]
    key = "left" if recipe.halves == "rows" else "top"
    last, here = SIDE - GLYPH, getattr(recipe, key)
    steps = [round(i * last / (renderer.places - 1)) for i in range(renderer.places)]
    place = [
        ({key: at}, f"moved by {at - here:+d} px along its half") for at in steps if at != here
    ]
    return {
        (digit, "glyph"): glyph,
        (digit, "ink"): ink,
        ("tile", "texture"): tile,
        ("other half", "texture"): other,
        (digit, "place"): place,
    }
