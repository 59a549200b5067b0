"""Several layers of a network that are read, and edited, as one map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.errors import InputError

AND = " + "
"""What stands between the names of layers that are read as one."""


@dataclass(frozen=True)
class Levels:
    """The ordered layers that a study looks at; mostly one, whose map is then what is read.

    Maps of several are brought to the finest of their grids (each cell of a coarser one covers the
    cells whose centres lie in it), multiplied by `factors`, of which none means 1 each, and put one
    behind the other: [n, sum of u, y, x]. A change of that map changes all layers at once; a cell
    of a coarser grid becomes the mean of the cells that it covers.
    """

    names: tuple[str, ...]
    factors: tuple[float, ...] = ()

    @classmethod
    def of(cls, layers: str | Levels) -> Levels:
        """Levels as they are, or the one of a name."""
        return layers if isinstance(layers, Levels) else cls((layers,))

    def __str__(self) -> str:
        return AND.join(self.names)

    @property
    def plain(self) -> Levels:
        """The same layers with the values that they put out."""
        return Levels(self.names)

    def joined(self, maps: Mapping[str, Tensor]) -> Tensor:
        """One map [n, sum of u, y, x] of the layers' own maps [n, u, y, x]."""
        own = [maps[name] for name in self.names]
        if len(own) == 1:
            return own[0]
        grid = [max(one.shape[side] for one in own) for side in (2, 3)]
        spread = [_spread(one, grid) for one in own]
        if self.factors:
            spread = [one * factor for one, factor in zip(spread, self.factors, strict=True)]
        return torch.cat(spread, 1)

    def parted(self, joint: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """The layers' own maps [n, u, y, x] again, of the shapes that they had."""
        if len(self.names) == 1:
            return {self.names[0]: joint}
        parts: Sequence[Tensor] = joint.split([shapes[name][1] for name in self.names], 1)
        if self.factors:
            parts = [part / factor for part, factor in zip(parts, self.factors, strict=True)]
        return {n: _gathered(m, shapes[n][2:]) for n, m in zip(self.names, parts, strict=True)}

    def unit_names(self, channels: Sequence[int]) -> tuple[int | str, ...]:
        """What each unit of the joint map is called: its number, of several layers `layer:unit`."""
        if len(self.names) == 1:
            return tuple(range(channels[0]))
        both = zip(self.names, channels, strict=True)
        return tuple(f"{name}:{unit}" for name, count in both for unit in range(count))


def balanced(names: Sequence[str], variances: Sequence[float]) -> Levels:
    """Layers with factors that give each an equal part of their joint map's variance.

    `variances` are those over positions and images, summed over a layer's units. The joint map's
    is then their mean, so that a layer beside its own copy is worth what it is alone. One layer
    keeps its values. Raises InputError for one of several that is the same everywhere.
    """
    if len(names) == 1:
        return Levels(tuple(names))
    for name, variance in zip(names, variances, strict=True):
        if not variance > 0:
            raise InputError(
                f"layers: {name!r} is the same at all positions of all images that were looked at, "
                "and says nothing; leave it out"
            )
    mean = sum(variances) / len(variances)
    return Levels(tuple(names), tuple((mean / (len(names) * v)) ** 0.5 for v in variances))


def _spread(found: Tensor, grid: Sequence[int]) -> Tensor:
    """A map [n, u, y, x] on a grid at least as fine: each cell takes the one its centre lies in."""
    if list(found.shape[2:]) == list(grid):
        return found
    rows, columns = (_owners(n, g, found) for n, g in zip(found.shape[2:], grid, strict=True))
    return found.index_select(2, rows).index_select(3, columns)


def _gathered(found: Tensor, grid: Sequence[int]) -> Tensor:
    """The map on a coarser grid of which :func:`_spread` makes it: means of the cells covered."""
    for side, size in zip((2, 3), grid, strict=True):
        if found.shape[side] != size:
            owners = _owners(size, found.shape[side], found)
            shape = [size if axis == side else n for axis, n in enumerate(found.shape)]
            total = found.new_zeros(shape).index_add(side, owners, found)
            count = functional.one_hot(owners, size).sum(0).to(found)
            found = total / count.view([size if axis == side else 1 for axis in range(4)])
    return found


def _owners(coarse: int, fine: int, like: Tensor) -> Tensor:
    """Of each of `fine` cells in a row, the one of `coarse` that its centre lies in."""
    centres = torch.arange(fine, device=like.device) * 2 + 1
    return torch.div(centres * coarse, 2 * fine, rounding_mode="floor")
