"""The planted benchmark: textured digits, drawn when asked for; the data set that needs no file.

Two kinds of scenes. `textured` (for the trained networks): a digit on two halves of texture, where
brick in one half goes with one digit as strongly as `strength` says; `pair`, `kind`, `texture` and
`tiles` plant another reliance (:class:`~conceptseg.planted.plant.Plant`). `exact` (for the
constructed network): stripes on exact patterns, so that what the network does is known in closed
form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, StrictInt, model_validator

from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample, Source
from conceptseg.data.readers._spec import parse
from conceptseg.errors import InputError
from conceptseg.planted import exact, generator
from conceptseg.planted.plant import DEFAULT, Kind, Plant, plant_of
from conceptseg.planted.recipe import Recipe, context_mask
from conceptseg.strict import Strict

PLANT_KEYS = ("pair", "kind", "texture", "tiles")
BIAS_KEYS = ("context", "strength", "label_noise", "pair_share")


class PlantedSpec(Strict):
    """The keys of a planted manifest; the defaults are the embedded data set."""

    name: str = Field("planted", description="Name in reports.")
    scenes: Literal["textured", "exact"] = Field("textured", description="Kind of scenes.")
    split: Literal["train", "val", "test"] = Field(
        "test", description="Which glyphs and crops of texture the scenes are drawn from."
    )
    n: int = Field(200, strict=True, ge=1, le=100_000, description="Number of scenes.")
    seed: int = Field(0, strict=True, ge=0, description="Seed of the scenes.")
    pair: tuple[StrictInt, StrictInt] = Field(
        DEFAULT.pair, description="The digit that leans on a context, and its twin without it."
    )
    kind: Kind = Field(
        DEFAULT.kind,
        description="That context: a textured tile, a 6 x 6 px mark near the border, or the place "
        "of the digit in the image (touching the upper border, or else the lower).",
    )
    texture: str = Field(
        DEFAULT.texture, description="Of a tile: its texture, any of the benchmark's."
    )
    tiles: StrictInt = Field(
        DEFAULT.tiles, description="Of a tile: how many halves of the ground carry it, 1 or 2."
    )
    context: Literal["balanced", "biased", "with", "without"] = Field(
        "biased",
        description="When that context is there: at random, as the bias says, always, never.",
    )
    strength: float = Field(0.9, ge=0.0, le=1.0, description="Strength of the bias.")
    label_noise: bool = Field(
        False, description="Draw the other glyph of the pair as often as in biased training data."
    )
    digits: tuple[int, ...] = Field(
        tuple(range(10)), min_length=1, description="Digits to draw from, evenly."
    )
    pair_share: float = Field(
        0.4, ge=0.0, le=1.0, description="Share of scenes that show the biased digit or its twin."
    )

    @model_validator(mode="before")
    @classmethod
    def _exact_scenes(cls, keys: Any) -> Any:
        """Exact scenes have no bias to choose: their keys are refused, not ignored."""
        if isinstance(keys, Mapping) and keys.get("scenes") == "exact":
            idle = sorted({*PLANT_KEYS, *BIAS_KEYS} & set(keys))
            if idle:
                raise ValueError(f"scenes: exact has no key {idle[0]!r}; leave it out")
            return {"digits": generator.PAIR, **keys}
        return keys

    @model_validator(mode="after")
    def _digits(self) -> PlantedSpec:
        allowed = generator.PAIR if self.scenes == "exact" else range(10)
        wrong = [digit for digit in self.digits if digit not in allowed]
        if wrong:
            raise ValueError(f"digits: {wrong[0]} is not among {list(allowed)}")
        return self

    @model_validator(mode="after")
    def _plant(self) -> PlantedSpec:
        self.plant()  # raises what is wrong with its keys, beginning with the key
        return self

    def plant(self) -> Plant:
        given = {key: getattr(self, key) for key in PLANT_KEYS if key in self.model_fields_set}
        if "pair" in given:
            given["biased"], given["confuser"] = given.pop("pair")
        return plant_of(given)

    def recipes(self) -> list[Recipe]:
        if self.scenes == "exact":
            return exact.exact_samples(self.split, self.n, self.seed, self.digits)
        return generator.samples(
            self.split,
            self.n,
            self.seed,
            strength=self.strength,
            context=self.context,
            label_noise=self.label_noise,
            digits=self.digits,
            pair_share=self.pair_share,
            plant=self.plant(),
        )


@dataclass(frozen=True)
class PlantedSource(Source):
    """Draws scenes from their recipes, which are the samples' payloads."""

    scenes: str

    def image(self, sample: Sample) -> np.ndarray:
        return generator.render(sample.payload)[0][None]

    def labels(self, sample: Sample) -> np.ndarray:
        return generator.render(sample.payload)[1].astype(np.int64)

    def labelled(self, sample: Sample) -> bool:
        return True

    def context(self, sample: Sample) -> np.ndarray | None:
        """The context tile, both tiles' ground, or the mark, in scenes that carry it.

        None where they do not, and where the context is a place.
        """
        recipe: Recipe = sample.payload
        return context_mask(recipe) if recipe.bias_present else None

    def size(self, sample: Sample) -> tuple[int, int]:
        return generator.SIDE, generator.SIDE

    def stamp(self, sample: Sample) -> str:
        recipe: Recipe = sample.payload
        # Of the default plant the representation alone, as it was when there was no other.
        return (
            repr(recipe) if recipe.plant == DEFAULT else repr((recipe, recipe.plant, recipe.mark))
        )

    def settings(self) -> dict[str, Any]:
        return {"planted": self.scenes}


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe; none give the embedded one."""
    if root_override is not None:
        raise InputError(f"{path}: planted images are drawn, not read; leave out --data-root")
    keys = parse(PlantedSpec, spec, str(path))
    samples = tuple(_sample(recipe) for recipe in keys.recipes())
    return Manifest(
        name=keys.name,
        block=LabelBlock(generator.CLASSES, background=generator.CLASSES[0]),
        channels=1,
        samples=samples,
        source=PlantedSource(keys.scenes),
        where=str(path),
    )


def _sample(recipe: Recipe) -> Sample:
    metadata = {
        key: str(value) if isinstance(value, (bool, str)) else float(value)
        for key, value in recipe.metadata().items()
    }
    return Sample(recipe.sample_id, split=recipe.split, metadata=metadata, payload=recipe)
