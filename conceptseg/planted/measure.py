"""Measured reliance: the same digits drawn with and without the planted context.

For images of class B, with p+ and p- the predictions on the scene with and without the
context (a texture, a mark; of a place: at both places) and y+, y- the labels,

    effect = mean over images of IoU_B(p+, y+) - IoU_B(p-, y-),

where IoU_B is of one image: pixels that are B in both, over pixels that are B in either. y
always holds some B, so the IoU is defined; it is 0 when B is not found. Only the context's
pixels differ between the two scenes (y+ = y- but for a place), so the effect is causal and paired.
The interval is a percentile bootstrap over the images.

Every class has its own effect: a class other than the planted pair may lean on a context as well,
by accident of training, and the confuser leans on its absence, with an effect below 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import nn

from conceptseg.planted import generator
from conceptseg.planted.generator import CLASSES, Recipe
from conceptseg.planted.plant import DEFAULT, Plant
from conceptseg.stats.intervals import bootstrap_interval


@dataclass(frozen=True)
class Reliance:
    """`effect` in [-1, 1] with its interval; the mean IoU of B with and without the context."""

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
        parts.append(net(images).max(dim=1).indices.to(torch.uint8).numpy())
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


def _changes(
    net: nn.Module, recipes: Sequence[Recipe], class_ids: Sequence[int]
) -> Float[np.ndarray, "k 2 n"]:
    """IoU of each class in each scene, [k, 2, n]: without (0) and with (1) the context."""
    ious = np.empty((len(class_ids), 2, len(recipes)))
    for present in (False, True):
        levels, labels = generator.render_all(
            generator.with_context(recipe, present) for recipe in recipes
        )
        prediction = predict(net, levels)
        for row, class_id in enumerate(class_ids):
            ious[row, int(present)] = image_iou(prediction, labels, class_id)
    return ious


def _reliance(ious: Float[np.ndarray, "2 n"], groups: Sequence[str]) -> Reliance:
    low, high = bootstrap_interval(ious[1] - ious[0], groups, seed=0)
    return Reliance(
        effect=float((ious[1] - ious[0]).mean()),
        low=low,
        high=high,
        iou_with=float(ious[1].mean()),
        iou_without=float(ious[0].mean()),
        n=ious.shape[1],
    )


def _numbers(numbers: Iterable[int]) -> list[str]:
    return [f"{number:06d}" for number in numbers]  # as text they sort as they stand


def reliance_of(net: nn.Module, recipes: Sequence[Recipe], class_id: int) -> Reliance:
    """The effect of the context on class `class_id` over `recipes`, which must hold it.

    Raises:
        ValueError: no recipes, or one whose label is not `class_id`.
    """
    if not recipes or any(recipe.class_id != class_id for recipe in recipes):
        raise ValueError(f"need recipes, all of class {CLASSES[class_id]!r}")
    return _reliance(_changes(net, recipes, (class_id,))[0], _numbers(range(len(recipes))))


def reliances_of(net: nn.Module, recipes: Mapping[int, Sequence[Recipe]]) -> dict[str, Reliance]:
    """The effect on every class by its name, of scenes by their digit.

    Each digit is judged on its own scenes, as by `reliance_of`; the background on those of all
    digits, whose interval draws scenes of one index together: they share ground and context.

    Raises:
        ValueError: no recipes of a digit, or one of another digit.
    """
    found, background, groups = {}, [], []
    for digit, scenes in recipes.items():
        if not scenes or any(scene.digit != digit for scene in scenes):
            raise ValueError(f"need recipes of digit {digit}, and no others")
        own, ground = _changes(net, scenes, (digit + 1, 0))
        found[CLASSES[digit + 1]] = _reliance(own, _numbers(range(len(scenes))))
        background.append(ground)
        groups += _numbers(scene.index for scene in scenes)
    return {CLASSES[0]: _reliance(np.concatenate(background, axis=1), groups), **found}


def measured_reliance(
    net: nn.Module,
    n: int = 400,
    split: generator.Split = "test",
    seed: int = 0,
    plant: Plant = DEFAULT,
) -> Reliance:
    """`reliance_of` a trained net on `n` true glyphs of the biased digit."""
    recipes = generator.samples(split, n, seed, digits=(plant.biased,), plant=plant)
    return reliance_of(net, recipes, plant.biased + 1)


def measured_reliances(
    net: nn.Module,
    n: int = 400,
    split: generator.Split = "test",
    seed: int = 0,
    plant: Plant = DEFAULT,
) -> dict[str, Reliance]:
    """`reliances_of` all eleven classes, on `n` true glyphs of each of the ten digits.

    That of the biased digit is `measured_reliance`.
    """
    return reliances_of(
        net,
        {
            digit: generator.samples(split, n, seed, digits=(digit,), plant=plant)
            for digit in range(10)
        },
    )


def measured_iou(
    net: nn.Module,
    n: int = 1000,
    split: generator.Split = "test",
    seed: int = 0,
    plant: Plant = DEFAULT,
) -> dict[str, float]:
    """IoU of each class over `n` scenes with true glyphs and balanced context, by name."""
    levels, labels = generator.render_all(generator.samples(split, n, seed, plant=plant))
    values = class_iou(predict(net, levels), labels)
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def digits_mean(ious: dict[str, float]) -> float:
    """Mean IoU of the ten digits (background left out)."""
    return float(np.mean([ious[name] for name in CLASSES[1:]]))
