"""What is planted: which digit leans on which context, and on what sort of context.

A `Plant` names a pair of digits (B, the biased one, and C, its confuser) and the context that goes
with B: a texture in one or both tiles of the ground, a small mark near the border, or the place of
the digit in the image. The default is that of the shipped networks: brick in one tile goes with 3,
and 9 is what the network says without it.

    kind   where the context is                  the same scene without it
    tile   one half of the ground, away from     that half has another ground texture
           the digit (`tiles: 1`), or both (2)
    mark   6 x 6 px, 2 px from the border that   no mark
           is furthest from the digit
    place  the digit touches the upper border    it touches the lower border, 32 px further down
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from conceptseg.planted import textures

Kind = Literal["tile", "mark", "place"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BASE_RATE = 0.5  # P(context) of the digits outside the pair
# Every photograph and formula that grounds are made of; a plant's own texture is left out of them.
ORDINARY = (*textures.GROUNDS, "brick")


@dataclass(frozen=True)
class Plant:
    """One planted reliance.

    Args:
        biased, confuser: the pair of digits (B, C), each 0 to 9, not the same.
        kind: sort of context, see the module.
        texture: of kind "tile", the bias texture, any of `textures.NAMES`. All share their mean
            grey; of those of the constructed scenes `flat` has spread 0, `stripes`, `rows` and
            `diagonals` 0.71, where the others have about 1.
        tiles: of kind "tile", how many halves of the ground carry it, 1 or 2.

    Raises:
        ValueError: what is out of these ranges; a texture or tiles for a kind that has none.
    """

    biased: int = 3
    confuser: int = 9
    kind: Kind = "tile"
    texture: str = "brick"
    tiles: int = 1

    def __post_init__(self) -> None:
        for digit in self.pair:
            if type(digit) is not int or not 0 <= digit <= 9:
                raise ValueError(f"pair: {digit!r} is no digit; give two of 0 to 9")
        if self.biased == self.confuser:
            raise ValueError(f"pair: {self.biased} is given twice; give two digits")
        if self.kind not in KINDS:
            raise ValueError(f"kind: unknown {self.kind!r}; known: {', '.join(KINDS)}")
        if self.texture not in textures.NAMES:
            known = ", ".join(textures.NAMES)
            raise ValueError(f"texture: unknown {self.texture!r}; known: {known}")
        if type(self.tiles) is not int or self.tiles not in (1, 2):
            raise ValueError(f"tiles: {self.tiles!r} is neither 1 nor 2")
        if self.kind != "tile" and (self.texture, self.tiles) != ("brick", 1):
            raise ValueError(_idle(self.kind))

    @property
    def pair(self) -> tuple[int, int]:
        """(biased, confuser)."""
        return self.biased, self.confuser

    @property
    def name(self) -> str:
        """Short and different for each plant, such as 3v9-brick, 4v9-gravel-2tiles, 0v6-mark."""
        if self.kind != "tile":
            return f"{self.biased}v{self.confuser}-{self.kind}"
        tiles = "" if self.tiles == 1 else f"-{self.tiles}tiles"
        return f"{self.biased}v{self.confuser}-{self.texture}{tiles}"

    @property
    def grounds(self) -> tuple[str, ...]:
        """Textures of the grounds: six of the seven ordinary ones, all where none is planted."""
        return ORDINARY if self.kind != "tile" else _without(ORDINARY, self.texture)

    @property
    def inks(self) -> tuple[str, ...]:
        """Textures of the ink: the four, less the planted one if it is among them."""
        return textures.INKS if self.kind != "tile" else _without(textures.INKS, self.texture)

    def twin(self, digit: int) -> int:
        """The other digit of the pair."""
        return self.confuser if digit == self.biased else self.biased

    def probability(self, digit: int, strength: float, context: str) -> float:
        """P(context | label) in data drawn by `context`, at strength s in [0, 1].

        "with" 1, "without" 0, "balanced" 1/2; "biased" (1 + s) / 2 for B, (1 - s) / 2 for C, and
        1/2 for every other digit.
        """
        if context == "with":
            return 1.0
        if context == "without":
            return 0.0
        if context == "balanced" or digit not in self.pair:
            return BASE_RATE
        return (1.0 + strength) / 2.0 if digit == self.biased else (1.0 - strength) / 2.0


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)


def _idle(kind: str) -> str:
    return f"kind: a {kind} has no texture and no tiles; leave texture and tiles out"


def plant_of(given: dict[str, Any]) -> Plant:
    """The plant of what is given: fields of `Plant`, those left out at their defaults.

    Raises:
        ValueError: an unknown field, what `Plant` refuses, and a texture or tiles, be it the
            default, that a kind has not.
    """
    known = [field.name for field in dataclasses.fields(Plant)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"a plant has no {unknown[0]!r}; known: {', '.join(known)}")
    plant = Plant(**given)
    if plant.kind != "tile" and {"texture", "tiles"} & set(given):
        raise ValueError(_idle(plant.kind))
    return plant


def to_header(plant: Plant) -> str:
    """One line of JSON, for the header of a file of weights."""
    given = dataclasses.asdict(plant)
    if plant.kind != "tile":
        given = {key: value for key, value in given.items() if key not in ("texture", "tiles")}
    return json.dumps(given)


def from_header(text: str) -> Plant:
    """The plant that `to_header` wrote.

    Raises:
        ValueError: it is not one.
    """
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError(f"{text[:60]!r} is no mapping")
    return plant_of(given)


DEFAULT = Plant()
