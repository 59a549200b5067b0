"""Measured reliance: the same digits drawn with and without the bias texture.

For images of class B, with p+ and p- the predictions on the scene with and without the
texture and y the (shared) labels,

    effect = mean over images of IoU_B(p+, y) - IoU_B(p-, y),

where IoU_B is of one image: pixels that are B in both, over pixels that are B in either. y
always holds some B, so the IoU is defined; it is 0 when B is not found. Only the tile's
ground pixels differ between the two scenes, so the effect is causal and paired. The interval
is a percentile bootstrap over the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import nn

from conceptseg.planted import generator
from conceptseg.planted.generator import BIASED_CLASS, BIASED_DIGIT, CLASSES, Recipe
from conceptseg.stats.intervals import bootstrap_interval


@dataclass(frozen=True)
class Reliance:
    """`effect` in [-1, 1] with its interval; the mean IoU of B with and without the texture."""

    effect: float
    low: float
    high: float
    iou_with: float
    iou_without: float
    n: int
    level: float = 0.95


@torch.no_grad()
def predict(
    net: nn.Module, levels: UInt8[np.ndarray, "n h w"], batch: int = 100
) -> UInt8[np.ndarray, "n h w"]:
    """The class of largest logit at each pixel of 8 bit images; the lower class id on a tie."""
    parts = []
    for start in range(0, len(levels), batch):
        images = torch.from_numpy(levels[start : start + batch]).unsqueeze(1).float() / 255.0
        parts.append(net(images).argmax(dim=1).to(torch.uint8).numpy())
    return np.concatenate(parts)


def image_iou(
    prediction: UInt8[np.ndarray, "n h w"], labels: UInt8[np.ndarray, "n h w"], class_id: int
) -> Float[np.ndarray, " n"]:
    """IoU of one class in each image, [n]; nan where neither holds the class."""
    found: Bool[np.ndarray, "n h w"] = prediction == class_id
    wanted = labels == class_id
    both = (found & wanted).sum(axis=(1, 2))
    either = (found | wanted).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def class_iou(
    prediction: UInt8[np.ndarray, "n h w"], labels: UInt8[np.ndarray, "n h w"]
) -> Float[np.ndarray, " k"]:
    """IoU of each class over all pixels of all images, [11]; nan for a class never seen."""
    k = len(CLASSES)
    cells = labels.astype(np.int64) * k + prediction
    confusion = np.bincount(cells.ravel(), minlength=k * k).reshape(k, k)
    both = np.diag(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def reliance_of(net: nn.Module, recipes: Sequence[Recipe], class_id: int) -> Reliance:
    """The effect of the bias texture on class `class_id` over `recipes`, which must hold it.

    Raises:
        ValueError: no recipes, or one whose label is not `class_id`.
    """
    if not recipes or any(recipe.class_id != class_id for recipe in recipes):
        raise ValueError(f"need recipes, all of class {CLASSES[class_id]!r}")
    ious: dict[bool, NDArray[np.floating]] = {}
    for present in (True, False):
        levels, labels = generator.render_all(
            generator.with_context(recipe, present) for recipe in recipes
        )
        ious[present] = image_iou(predict(net, levels), labels, class_id)
    change = ious[True] - ious[False]
    scenes = [f"{number:06d}" for number in range(len(recipes))]  # sorted as they stand
    low, high = bootstrap_interval(change, scenes, seed=0)
    return Reliance(
        effect=float(change.mean()),
        low=low,
        high=high,
        iou_with=float(ious[True].mean()),
        iou_without=float(ious[False].mean()),
        n=len(recipes),
    )


def measured_reliance(
    net: nn.Module, n: int = 400, split: generator.Split = "test", seed: int = 0
) -> Reliance:
    """`reliance_of` a trained net on `n` true glyphs of the biased digit."""
    recipes = generator.samples(split, n, seed, digits=(BIASED_DIGIT,))
    return reliance_of(net, recipes, BIASED_CLASS)


def measured_iou(
    net: nn.Module, n: int = 1000, split: generator.Split = "test", seed: int = 0
) -> dict[str, float]:
    """IoU of each class over `n` scenes with true glyphs and balanced context, by name."""
    levels, labels = generator.render_all(generator.samples(split, n, seed))
    values = class_iou(predict(net, levels), labels)
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def digits_mean(ious: dict[str, float]) -> float:
    """Mean IoU of the ten digits (background left out)."""
    return float(np.mean([ious[name] for name in CLASSES[1:]]))
