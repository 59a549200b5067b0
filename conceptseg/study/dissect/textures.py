"""Textures as concepts: clusters of local wave energies, learnt from the data set itself."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WAVELENGTHS_PX = (4.0, 8.0)
DIRECTIONS = ("vertical", "diagonal down", "horizontal", "diagonal up")
"""How the stripes run to which a filter answers, for waves along 0, 45, 90 and 135 degrees."""
SMOOTHING_PX = 9
LONGEST_PX = 192
"""Larger images are made smaller first: a texture is what is seen at a glance."""


@dataclass(frozen=True)
class Codebook:
    """`centres` [k, d] in standardised descriptors, `mean` [d], `spread` [d], names of textures."""

    centres: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, rows: np.ndarray, count: int, seed: int) -> "Codebook":
        """Clusters of descriptors [m, d], weakest texture first; fewer if rows repeat."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        mean, spread = rows.mean(0), np.maximum(rows.std(0), 1e-6)
        scaled = (rows - mean) / spread
        count = min(count, len(np.unique(scaled.round(6), axis=0)))
        with threadpool_limits(1):  # sums in one order give the same clusters on every machine
            clusters = KMeans(count, n_init=3, random_state=seed).fit(scaled)
        centres = clusters.cluster_centers_
        centres = centres[np.argsort(centres.mean(1), kind="stable")]
        names = tuple(f"texture {i + 1} ({_words(centre)})" for i, centre in enumerate(centres))
        return cls(centres.astype(np.float32), mean, spread, names)

    def nearest(self, maps: Tensor) -> Tensor:
        """The texture at each place of maps of descriptors [n, d, y, x], int64 [n, y, x]."""
        mean = torch.from_numpy(self.mean).to(maps)[:, None, None]
        spread = torch.from_numpy(self.spread).to(maps)[:, None, None]
        rows = ((maps - mean) / spread).movedim(1, -1)
        centres = torch.from_numpy(self.centres).to(maps)
        far = centres.square().sum(1) - 2 * rows @ centres.T
        return far.argmin(-1)


def descriptors(images: Tensor) -> Tensor:
    """Local energies of images [n, c, h, w]: float32 [n, 9, y, x], y and x at most 192.

    log(1e-3 + e) of the energy e of eight waves (wavelengths 4 and 8 px, four directions; the root
    of the squared answers to a cosine and a sine under a Gaussian window), averaged over 9 x 9 px,
    and of the standard deviation there. The mean of the channels is looked at.
    """
    grey = images.float().mean(1, keepdim=True)
    longest = max(grey.shape[-2:])
    if longest > LONGEST_PX:
        size = [max(1, round(side * LONGEST_PX / longest)) for side in grey.shape[-2:]]
        grey = F.interpolate(grey, size, mode="area")
    filters = torch.from_numpy(_waves()).to(grey)
    margin = filters.shape[-1] // 2
    answers = F.conv2d(F.pad(grey, [margin] * 4, mode="replicate"), filters)
    energy = (answers[:, 0::2].square() + answers[:, 1::2].square()).sqrt()
    mean, square = _smooth(grey), _smooth(grey.square())
    spread = (square - mean.square()).clamp(min=0).sqrt()
    return torch.log(1e-3 + torch.cat([_smooth(energy), spread], 1))


def _smooth(maps: Tensor) -> Tensor:
    for axis in (0, 1):  # one axis after the other is the same mean, and much faster
        side, margin = [1, 1], [0, 0]
        side[axis], margin[axis] = SMOOTHING_PX, SMOOTHING_PX // 2
        maps = F.avg_pool2d(maps, side, stride=1, padding=margin, count_include_pad=False)
    return maps


@lru_cache(maxsize=1)
def _waves() -> np.ndarray:
    """Pairs of cosine and sine under a Gaussian, without a mean, float32 [16, 1, 13, 13]."""
    y, x = np.mgrid[-6:7, -6:7].astype(np.float64)
    kernels = []
    for wavelength in WAVELENGTHS_PX:
        window = np.exp(-(x**2 + y**2) / (2 * (wavelength / 2) ** 2))
        window /= window.sum()
        for number in range(len(DIRECTIONS)):
            angle = np.pi * number / len(DIRECTIONS)
            phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength
            for wave in (np.cos(phase), np.sin(phase)):
                kernels.append(window * (wave - (window * wave).sum()))
    return np.stack(kernels)[:, None].astype(np.float32)


def _words(centre: np.ndarray) -> str:
    """What a cluster's centre looks like: how strong, and where one wave stands out, which."""
    strength = float(centre.mean())
    words = ["flat"] if strength < -0.6 else ["faint"] if strength < 0.3 else ["strong"]
    energies = centre[:-1].reshape(len(WAVELENGTHS_PX), len(DIRECTIONS))
    direction = energies.mean(0) - energies.mean()
    if direction.max() > 0.3:
        words.append(DIRECTIONS[int(direction.argmax())])
    size = energies.mean(1) - energies.mean()
    if size.max() > 0.15:
        words.append(("fine", "coarse")[int(size.argmax())])
    return ", ".join(words)
