"""What can be taken from an image and given another image's: bands, colour, scales, units.

A feature says which part of an image it is; :func:`swapped` puts the donor's part in its place and
leaves the rest. Images are [n, c, h, w] in [0, 1], donors of the same shape; results are clipped to
[0, 1], since no camera gives others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, ward
from scipy.spatial.distance import squareform
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.study.permutation.config import EVERYTHING

Kind = Literal["channels", "luminance", "chroma", "phase", "amplitude", "units"]


@dataclass(frozen=True)
class Feature:
    """A named part of the input (or, for `units`, of the layer).

    Luminance is the mean of the channels, chroma what is left. `members` are channels or units;
    `band` the ends of an octave in cycles per pixel, the lower one excluded (from below zero on, it
    holds the mean too).
    """

    name: str
    kind: Kind
    members: tuple[int, ...] = ()
    band: tuple[float, float] = (-1.0, 1.0)

    @property
    def family(self) -> str:
        """The heading that the feature stands under in reports."""
        return {
            "channels": "channels",
            "luminance": "colour",
            "chroma": "colour",
            "phase": "frequency",
            "amplitude": "frequency",
            "units": "units of the layer",
        }[self.kind]


def channel_features(
    channels: int, names: Sequence[str], groups: Mapping[str, Sequence[int]]
) -> list[Feature]:
    """Each channel, the named groups, and all channels together.

    Raises InputError for names or groups that do not fit the images.
    """
    if names and len(names) != channels:
        raise InputError(
            f"channel_names: {len(names)} names, but images have {channels} channels; name each"
        )
    names = list(names) or [f"channel {number}" for number in range(channels)]
    features = [Feature(names[c], "channels", (c,)) for c in range(channels) if channels > 1]
    for name, members in groups.items():
        bad = [m for m in members if not 0 <= m < channels]
        if bad or not members:
            raise InputError(
                f"groups.{name}: channels {list(members)}, but images have channels 0 to "
                f"{channels - 1}"
            )
        features.append(Feature(name, "channels", tuple(sorted(set(members)))))
    return [*features, Feature(EVERYTHING, "channels", tuple(range(channels)))]


def frequency_features(octaves: int) -> list[Feature]:
    """Phase, amplitude, and the amplitude in each octave down from the finest."""
    features = [Feature("phase", "phase"), Feature("amplitude", "amplitude")]
    high = 0.75  # beyond the corner of the spectrum, sqrt(1/2)
    for number in range(octaves):
        low = 2.0 ** -(number + 2) if number < octaves - 1 else -1.0
        period = 2 ** (number + 2)
        name = (
            f"amplitude, details below {period} px"
            if number == 0
            else f"amplitude, {period // 2} px and coarser"
            if number == octaves - 1
            else f"amplitude, {period // 2} to {period} px"
        )
        features.append(Feature(name, "amplitude", band=(low, high)))
        high = low
    return features if octaves > 1 else features[:2]


def swapped(images: Tensor, donors: Tensor, feature: Feature) -> Tensor:
    """The images with a feature of the donors'."""
    if feature.kind == "channels":
        return _replaced(images, feature, donors[:, list(feature.members)])
    if feature.kind == "luminance":
        changed = images + donors.mean(1, keepdim=True) - images.mean(1, keepdim=True)
    elif feature.kind == "chroma":
        changed = donors + images.mean(1, keepdim=True) - donors.mean(1, keepdim=True)
    else:
        changed = _spectral(images, donors, feature)
    return changed.clamp(0, 1)


def _replaced(images: Tensor, feature: Feature, part: Tensor) -> Tensor:
    """The images with other members [n, members, h, w]."""
    changed = images.clone()
    changed[:, list(feature.members)] = part
    return changed


def _spectral(images: Tensor, donors: Tensor, feature: Feature) -> Tensor:
    """Amplitude of one and phase of the other, in a band of radial frequencies."""
    own, other = torch.fft.rfft2(images), torch.fft.rfft2(donors)
    if feature.kind == "phase":
        mixed = torch.polar(own.abs(), other.angle())
    else:
        inside = _radius(images) > feature.band[0]
        inside &= _radius(images) <= feature.band[1]
        mixed = torch.where(inside, torch.polar(other.abs(), own.angle()), own)
    return torch.fft.irfft2(mixed, s=images.shape[-2:])


def _radius(images: Tensor) -> Tensor:
    """Radial frequency of each coefficient of `rfft2`, in cycles per pixel."""
    rows = torch.fft.fftfreq(images.shape[-2], device=images.device)[:, None]
    columns = torch.fft.rfftfreq(images.shape[-1], device=images.device)[None]
    return torch.sqrt(rows**2 + columns**2)


@dataclass(frozen=True)
class Channels:
    """Mean [c] and covariance [c, c] of the channels over all pixels of all images."""

    mean: np.ndarray
    covariance: np.ndarray

    def regression(self, members: Sequence[int]) -> tuple[list[int], np.ndarray]:
        """The other channels, and the coefficients [others, members] of the members on them."""
        others = [c for c in range(len(self.mean)) if c not in members]
        inner = self.covariance[np.ix_(others, others)]
        ridge = 1e-8 * max(float(np.trace(inner)), 1e-12) * np.eye(len(others))
        cross = self.covariance[np.ix_(others, list(members))]
        return others, np.asarray(np.linalg.solve(inner + ridge, cross))

    def correlation(self) -> np.ndarray:
        """|r| of each pair of channels [c, c]; 0 for a constant channel."""
        deviation = np.sqrt(np.maximum(np.diag(self.covariance), 0))
        scale = np.outer(deviation, deviation)
        correlation = np.abs(self.covariance) / np.where(scale > 0, scale, np.inf)
        np.fill_diagonal(correlation, 1.0)
        return np.minimum(correlation, 1.0)


def conditional(images: Tensor, donors: Tensor, feature: Feature, channels: Channels) -> Tensor:
    """The members as predicted from the image's other channels, plus the donor's residual.

    x' = fit(others of x) + (donor's members - fit(others of donor)), with one linear fit for all
    pixels: only what the other channels cannot predict is taken from the donor, so correlated bands
    stay correlated.

    Source: after Strobl et al. 2008 and Hooker, Mentch & Zhou 2021, "Unrestricted permutation
    forces extrapolation", with residuals of a linear regression.
    """
    others, weights = channels.regression(feature.members)
    fit = torch.from_numpy(weights).to(images)
    change = torch.einsum("nohw,om->nmhw", images[:, others] - donors[:, others], fit)
    return _replaced(images, feature, (donors[:, list(feature.members)] + change).clamp(0, 1))


def filled(images: Tensor, feature: Feature, channels: Channels) -> Tensor:
    """The members at their mean over the data set."""
    mean = torch.from_numpy(channels.mean[list(feature.members)]).to(images)
    return _replaced(images, feature, mean[None, :, None, None])


def shuffled_blocks(
    images: Tensor, feature: Feature, side: int, seeds: Sequence[Sequence[int]]
) -> Tensor:
    """The members with their whole blocks of `side` px moved about within the image.

    Pixels beyond the last whole block stay. A side of 1 moves single pixels, which destroys texture
    and is for comparison alone. Each image has a seed of its own.
    """
    changed = images.clone()
    members = list(feature.members)
    rows, columns = images.shape[2] // side, images.shape[3] // side
    if rows * columns < 2:
        return changed
    for i, seed in enumerate(seeds):
        order = torch.from_numpy(np.random.default_rng(list(seed)).permutation(rows * columns))
        part = images[i, members, : rows * side, : columns * side]
        blocks = part.unflatten(1, (rows, side)).unflatten(3, (columns, side))
        flat = blocks.permute(0, 1, 3, 2, 4).flatten(1, 2)[:, order.to(images.device)]
        moved = flat.unflatten(1, (rows, columns)).permute(0, 1, 3, 2, 4)
        changed[i, members, : rows * side, : columns * side] = moved.flatten(1, 2).flatten(2, 3)
    return changed


def tree(correlation: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """Groups of like channels: those that Ward's clustering on 1 - |r| forms, and their heights.

    From the first to be formed to the last but one (the last is all channels). Source: Ward 1963.
    """
    count = len(correlation)
    if count < 3:
        return []
    members: list[tuple[int, ...]] = [(c,) for c in range(count)]
    branches = []
    for left, right, height, _ in _links(correlation)[:-1]:
        members.append(tuple(sorted(members[int(left)] + members[int(right)])))
        branches.append((members[-1], float(height)))
    return branches


def unit_groups(correlation: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """At most `count` groups of units that respond alike, by Ward's clustering on 1 - |r|."""
    if len(correlation) < 2:
        return [tuple(range(len(correlation)))]
    label = fcluster(_links(correlation), min(count, len(correlation)), criterion="maxclust")
    groups = [tuple(np.flatnonzero(label == g).tolist()) for g in np.unique(label)]
    return sorted(groups, key=lambda group: group[0])


def _links(correlation: np.ndarray) -> np.ndarray:
    distance = 1 - correlation
    return np.asarray(ward(squareform((distance + distance.T) / 2, checks=False)))


def apart(one: Feature, other: Feature) -> bool:
    """Whether two features share nothing, so that both can be exchanged at once."""
    if one.kind != other.kind:
        return {one.kind, other.kind} == {"luminance", "chroma"}
    if one.kind == "channels":
        return not set(one.members) & set(other.members)
    if one.kind == "amplitude":
        return one.band[0] >= other.band[1] or other.band[0] >= one.band[1]
    return False
