"""What a network's decision loses when a layer no longer tells positions and images apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map
from conceptseg.network.levels import Levels, balanced

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

ROUNDING = 1e-10
"""Share of a layer's mean square below which its variance is rounding."""
SIDE, LEAST_SIDE = 160, 64
"""Predictions are compared at pixels of a regular grid, about so many each way; and at least."""
ROOM = 2**26
"""Logits that are kept, of all images and classes: a quarter of a GiB. More make the grid wider."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Given = Callable[[int], Mapping[str, "Tensor"]]
"""Which batch -> by layer, what stands in its output's place."""


@dataclass(frozen=True)
class Worth:
    """What is lost, both 0 (nothing) to 1 (all).

    `prediction`: 1 - mean IoU, over the classes that are predicted, of the prediction with that of
    the undisturbed network, over what this is where one class is predicted everywhere: the one
    that costs least. One class everywhere is what is left when nothing is; which one is chance, so
    that all is lost by any. `logits`: the share of the logits' variation over pixels and images
    that is not kept, 1 - R^2, not below 0; what all classes have in common does not count. It tells
    layers apart where one class wins everywhere, whatever is done.
    """

    prediction: float
    logits: float


@dataclass(frozen=True)
class Losses:
    """What each of n images adds to a loss, so that it is known of any draw of them, too.

    Of classes [n, k], pixels: `both` and `either` of the two predictions' regions, `before` of the
    undisturbed one. `moved` [n] is the squared change of logits, of which the classes' mean is
    taken off; `total` [n, k], `squares` [n] and `pixels` [n] are the undisturbed ones' sums; the
    three in `spoilt` those over pixels where the others are not finite, at which all is lost.
    """

    both: Floats
    either: Floats
    before: Floats
    moved: Floats
    total: Floats
    squares: Floats
    pixels: Floats
    spoilt: tuple[Floats, Floats, Floats]

    @property
    def images(self) -> int:
        return len(self.moved)

    @property
    def worth(self) -> Worth:
        prediction, logits = self.drawn(np.ones((1, self.images)))
        return Worth(float(prediction[0]), float(logits[0]))

    def drawn(self, weights: Floats | Ints) -> tuple[Floats, Floats]:
        """Both losses of draws in which each image comes so often, [draws, n] -> [draws] each."""
        either, before, count = weights @ self.either, weights @ self.before, weights @ self.pixels
        known = before > 0
        classes = np.maximum(known.sum(1), 1)
        overlaps = np.divide(weights @ self.both, either, out=np.zeros_like(either), where=known)
        lost = 1 - overlaps.sum(1) / classes
        all_of_it = 1 - before.max(1) / (count * classes)  # one class everywhere
        prediction = np.divide(lost, all_of_it, out=lost.copy(), where=all_of_it > 0)
        mean = weights @ self.total / count[:, None]
        whole = weights @ self.squares - count * np.square(mean).sum(1)
        total, squares, pixels = (weights @ part for part in self.spoilt)
        centred = squares - 2 * (mean * total).sum(1) + pixels * np.square(mean).sum(1)
        moved = weights @ self.moved + centred
        share = np.divide(moved, whole, out=np.zeros_like(moved), where=whole > 0)
        return np.minimum(1.0, prediction), np.minimum(1.0, share)


class Weigher:
    """Some images [n, c, h, w] under one network; counts the images that it sends through it.

    They go through `batch_size` at a time, which changes nothing beyond rounding.
    """

    def __init__(self, model: Network, images: Tensor, batch_size: int):
        self.model = model
        self.parts = images.split(max(1, batch_size))
        self.passed = 0
        self.means: dict[str, Tensor] = {}
        self.variances: dict[str, float] = {}
        self.shapes: dict[str, torch.Size] = {}
        self._clean: Tensor | None = None

    @property
    def images(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def several(self) -> bool:
        """Whether there is another image to take a layer's output from."""
        return self.images > 1

    def record(self, layers: Sequence[str]) -> bool:
        """One pass as the network is; each layer's mean over images and positions [u].

        And its variance over these, summed over units; of rounding alone it is 0. Returns whether
        the logits are numbers.
        """
        from conceptseg.network.record import Recorder

        sums: dict[str, Tensor] = {}
        squares: dict[str, float] = {}
        logits = []
        for part in self.parts:
            with torch.no_grad(), Recorder(self.model, layers) as recorder:
                logits.append(self._thinned(recorder(part)))
            self.passed += len(part)
            for name, one in recorder.activations.items():
                self.shapes[name] = one.shape
                total = one.detach().double().mean((2, 3)).sum(0)
                sums[name] = sums[name] + total if name in sums else total
                square = float(one.detach().double().square().mean((2, 3)).sum())
                squares[name] = squares.get(name, 0.0) + square
        count = self.images
        self.means |= {name: (total / count).float() for name, total in sums.items()}
        for name, total in sums.items():
            whole = squares[name] / count
            varies = whole - float((total / count).square().sum())
            self.variances[name] = varies if varies > ROUNDING * whole else 0.0
        self._clean = torch.cat(logits)
        return bool(self._clean.isfinite().all())

    def without(self, *layers: str) -> Losses | None:
        """What is lost when layers' outputs are their means everywhere; None if they cannot be."""
        means = {layer: self.means[layer][None, :, None, None] for layer in layers}
        return self._edited(layers, lambda part: means)

    def exchanged(self, *layers: str) -> Losses | None:
        """What is lost when each image gets the one's outputs of the layers that comes before it.

        These are made beside it, batch by batch: all of a fine layer would fill the memory.
        """
        from conceptseg.network.record import Recorder

        others = torch.cat(self.parts).roll(1, 0).split(len(self.parts[0]))

        def of_others(part: int) -> Mapping[str, Tensor]:
            with torch.no_grad(), Recorder(self.model, layers, stop=True) as recorder:
                recorder(others[part])
            self.passed += len(others[part])
            return recorder.activations

        return self._edited(layers, of_others)

    def _edited(self, layers: Sequence[str], given: Given) -> Losses | None:
        from conceptseg.network.record import Recorder

        logits = []
        for number, part in enumerate(self.parts):
            outputs = given(number)
            edit = {
                layer: lambda found, one=outputs[layer]: one.to(found).expand_as(found)
                for layer in layers
            }
            try:
                with torch.no_grad(), Recorder(self.model, [], edit=edit) as recorder:
                    logits.append(self._thinned(recorder(part)))
            except InputError:  # a layer that cannot be written back, or a network that minds
                return None
            self.passed += len(part)
        return self._compared(torch.cat(logits))

    def _compared(self, after: Tensor) -> Losses:
        assert self._clean is not None, "record comes first"
        return compared(self._clean, after)

    def _thinned(self, logits: Tensor | None) -> Tensor:
        assert logits is not None, "the pass was not stopped"
        side = min(SIDE, max(LEAST_SIDE, isqrt(ROOM // (self.images * logits.shape[1]))))
        step = max(1, min(logits.shape[2:]) // side)
        return logits.detach()[:, :, step // 2 :: step, step // 2 :: step].float()


def compared(before: Tensor, after: Tensor) -> Losses:
    """What logits [n, k, h, w] lose when they become others. Those that are not finite are lost."""
    classes = before.shape[1]
    rows: list[tuple[Tensor, ...]] = []
    for one, other in zip(before, after, strict=True):
        finite = other.isfinite().all(0)
        now, then = label_map(one), label_map(other)
        there = _counted(now, classes)
        same = _counted(now[finite & (now == then)], classes)
        either_one = there + _counted(then[finite], classes) - same
        z = _apart(one)
        change = _apart(other) - z
        lost = change[:, finite].square().sum()
        sums = (*_sums(z.flatten(1)), *_sums(z[:, ~finite]))
        rows.append((same, either_one, there, lost, *sums))
    columns = zip(*rows, strict=True)
    found: list[Floats] = [torch.stack(column).double().cpu().numpy() for column in columns]
    both, either, held, moved, total, squares, pixels, *spoilt = found
    of_spoilt = (spoilt[0], spoilt[1], spoilt[2])
    return Losses(both, either, held, moved, total, squares, pixels, of_spoilt)


def _sums(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of z [k, pixels]: the sum by class [k], that of squares, and how many pixels there are."""
    return z.sum(1), z.square().sum(), torch.tensor(float(z.shape[1]))


def _apart(logits: Tensor) -> Tensor:
    """Logits [k, h, w] less what all classes have in common; exact enough for squares of any."""
    wide = logits.double()
    return wide - wide.mean(0, keepdim=True)


def _counted(classes: Tensor, most: int) -> Tensor:
    return classes.flatten().bincount(minlength=most)


def levels_of(model: Network, images: Tensor, names: Sequence[str], batch_size: int) -> Levels:
    """Layers, with factors by which none of several dominates (:func:`.levels.balanced`).

    Raises :class:`~conceptseg.errors.InputError` for a layer that is named twice, runs within
    another of them, or is the same everywhere on all of `images`.
    """
    from conceptseg.network.record import Tail

    if len(names) == 1:
        return Levels(tuple(names))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"layers: {twice[0]!r} is named twice")
    Tail.of(model, images[:1], Levels(tuple(names)))
    weigher = Weigher(model, images, batch_size)
    weigher.record(names)
    return balanced(names, [weigher.variances[name] for name in names])
