"""Other ways in which images are often prepared for a network."""

from collections.abc import Iterator
from math import isclose
from typing import Any

from torch import Tensor

from conceptseg.config import Preprocessing

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_RANGES = {
    "images from 0 to 1": (0.0, 1.0),
    "images from 0 to 255": (0.0, 255.0),
    "images from -1 to 1": (-1.0, 1.0),
}


MEAN_COLOUR = "images less their mean colour"
Changes = dict[str, Any]
Reading = tuple[str, Changes]
"""What a way to prepare images is called, and the keys of `Preprocessing` that it changes."""


def readings(own: Preprocessing, images: Tensor) -> Iterator[Reading]:
    """Other preprocessing that networks are often trained with."""
    count = len(own.channels or range(images.shape[1]))
    if count == 3:
        yield reversed_channels(own)
    plain = own.mean is None and own.std is None
    if not plain:
        yield "images that are not normalised", {"mean": None, "std": None}
    for words, other in _RANGES.items():
        if other != own.range:
            yield words, {"range": other}
    if own.normalise != "none":
        yield "images not normalised by themselves", {"normalise": "none"}
        return
    if plain:
        yield "images normalised each by itself", {"normalise": "image"}
        if own.channels is None:
            yield _less_mean_colour(own.range, images)
    imagenet = {"range": (0.0, 1.0), **IMAGENET}
    if count == 3 and not _alike(own, own.model_copy(update=imagenet)):
        yield "images normalised as for ImageNet", imagenet


def scalings(own: Preprocessing, images: Tensor) -> Iterator[Reading]:
    """Other ranges, means and deviations, several of them changed at once too; each once.

    Those of :func:`readings` but for the order of the channels, each range without any
    normalisation and less the mean colour, and the numbers divided by 255 once more.
    """
    listed = [one for one in readings(own, images) if "channels" not in one[1]]
    if own.normalise == "none":
        for words, limits in _RANGES.items():
            changes = {"range": limits, "mean": None, "std": None}
            listed.append((f"{words}, not normalised", changes))
        if own.channels is None:
            for limits in (own.range, (0.0, 255.0), (0.0, 1.0)):
                words, changes = _less_mean_colour(limits, images)
                listed.append((words, changes | {"range": limits, "std": None}))
            listed.append(_less_mean_colour(own.range, images))
        smaller = tuple(255 * one for one in own.std or (1.0,))
        listed.append(("images divided by 255 once more", {"std": smaller}))
    known = [own]
    for words, changes in listed:
        other = own.model_copy(update=changes)
        if not any(_alike(other, one) for one in known):
            known.append(other)
            yield words, changes


def reversed_channels(own: Preprocessing) -> Reading:
    """Blue, green, red for red, green, blue, or the other way round."""
    order = own.channels or (0, 1, 2)
    return "images with channels reversed", {"channels": tuple(reversed(order))}


def _less_mean_colour(limits: tuple[float, float], images: Tensor) -> Reading:
    low, high = limits
    colour = low + (high - low) * images.float().mean((0, 2, 3))
    mean = tuple(round(float(value), 3) for value in colour)
    return MEAN_COLOUR, {"mean": mean}


def _alike(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether both give the same numbers for black and white."""
    if one.normalise != other.normalise or one.channels != other.channels:
        return False
    ends = [_ends(one), _ends(other)]
    width = max(map(len, ends))
    first, second = (list(end) * width if len(end) == 1 else end for end in ends)
    return len(first) == len(second) and all(
        isclose(a, b, rel_tol=1e-3, abs_tol=1e-6)
        for pair in zip(first, second, strict=True)
        for a, b in zip(*pair, strict=True)
    )


def _ends(one: Preprocessing) -> list[tuple[float, float]]:
    """Of each channel, what black and white become."""
    mean, std = one.mean or (0.0,), one.std or (1.0,)
    width = max(len(mean), len(std))
    mean, std = (values * width if len(values) == 1 else values for values in (mean, std))
    low, high = one.range
    return [((low - m) / s, (high - m) / s) for m, s in zip(mean, std, strict=True)]


def as_yaml(value: Any) -> str:
    """A key's value as a study's file has it."""
    if value is None:
        return "null"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def as_plain(changes: Changes) -> dict[str, Any]:
    """Keys of `Preprocessing` as a study's file has them: those that are set, lists for tuples."""
    given = {key: value for key, value in changes.items() if value is not None}
    return {key: list(one) if isinstance(one, tuple) else one for key, one in given.items()}
