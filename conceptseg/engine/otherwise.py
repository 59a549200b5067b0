"""Other ways in which images are often prepared for a network."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from conceptseg.config import Preprocessing

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_RANGES = {
    "images from 0 to 1": (0.0, 1.0),
    "images from 0 to 255": (0.0, 255.0),
    "images from -1 to 1": (-1.0, 1.0),
}


def readings(own: Preprocessing, images: Tensor) -> Iterator[tuple[str, dict[str, Any]]]:
    """Other preprocessing that networks are often trained with, and what it is called."""
    if images.shape[1] == 3:
        order = own.channels or (0, 1, 2)
        yield "images with channels reversed", {"channels": tuple(reversed(order))}
    low, high = own.range
    plain = own.mean is None and own.std is None
    if not plain:
        yield "images that are not normalised", {"mean": None, "std": None}
    for words, other in _RANGES.items():
        if other != own.range:
            yield words, {"range": other}
    if own.normalise != "none":
        yield "images not normalised by themselves", {"normalise": "none"}
    elif plain:
        yield "images normalised each by itself", {"normalise": "image"}
        if own.channels is None:
            colour = low + (high - low) * images.float().mean((0, 2, 3))
            mean = tuple(round(float(value), 3) for value in colour)
            yield "images less their mean colour", {"mean": mean}
            if len(mean) == 3:
                scaled = {key: tuple(high * one for one in v) for key, v in IMAGENET.items()}
                yield "images normalised as for ImageNet", scaled


def as_yaml(value: Any) -> str:
    """A key's value as a study's file has it."""
    if value is None:
        return "null"
    return str(list(value)) if isinstance(value, tuple) else str(value)
