"""Images as amplitudes and phases of waves, in colours that do not go together.

An image x [c, h, w] of a data set with mean colour m [c] and covariance of colours L L^T is

    x = m + L z,        z = irfft2(a e^{i phi}),

a [c, h, w // 2 + 1] the amplitudes and phi the phases of its decorrelated channels z. With a fixed
to the data set's mean amplitudes only phi is free: a picture with the statistics of second order
of the data, whatever the data are (photographs, CT, many bands). At the up to four frequencies
that are their own mirror image a coefficient must be real; it is a cos(phi), so that the mean
colour, too, is free within what the data show.

Sources: Fel et al. 2023 (MACO, arXiv 2306.06805), section 3; Olah, Mordvintsev & Schubert 2017
(frequencies as parameters, decorrelated colours).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-4
"""Least standard deviation of a colour direction: grey images have colours without variance."""


@dataclass(frozen=True)
class Template:
    """What a data set's images have in common: `mean` [c], `colours` L [c, c], `amplitude`.

    `amplitude` [c, h, w // 2 + 1] is of the decorrelated channels, and of images h x w.
    """

    mean: np.ndarray
    colours: np.ndarray
    amplitude: np.ndarray
    width: int

    @property
    def size(self) -> tuple[int, int]:
        return self.amplitude.shape[1], self.width

    def image(self, phase: Tensor) -> Tensor:
        """Images [n, c, h, w], not clipped, of phases [n, c, h, w // 2 + 1]."""
        amplitude = torch.as_tensor(self.amplitude, dtype=phase.dtype, device=phase.device)
        spectrum = torch.polar(amplitude.expand_as(phase), odd(phase, self.width))
        return self.coloured(torch.fft.irfft2(spectrum, s=self.size))

    def coloured(self, decorrelated: Tensor) -> Tensor:
        """m + L z for z [n, c, h, w]."""
        mean = torch.as_tensor(self.mean, dtype=decorrelated.dtype, device=decorrelated.device)
        mix = torch.as_tensor(self.colours, dtype=decorrelated.dtype, device=decorrelated.device)
        return torch.einsum("dc,nchw->ndhw", mix, decorrelated) + mean[:, None, None]

    def phases(self, images: Tensor) -> Tensor:
        """Phases [n, c, h, w // 2 + 1] of images [n, c, h, w]."""
        z = torch.from_numpy(decorrelated(images.cpu().numpy(), self.mean, self.colours))
        return torch.angle(torch.fft.rfft2(z)).to(images.device, images.dtype)


def odd(phase: Tensor, width: int) -> Tensor:
    """Phases [..., h, w // 2 + 1] with phi(-f) = -phi(f) in the columns that hold both f and -f.

    There the first half of the rows decides, so that amplitudes are kept exactly.
    """
    h = phase.shape[-2]
    rows = torch.arange(h, device=phase.device)
    mirror = (-rows) % h
    own = torch.minimum(rows, mirror)
    sign = torch.where(rows > mirror, -1.0, 1.0).to(phase.dtype)
    first = (phase[..., :1].index_select(-2, own)) * sign[:, None]
    if width % 2:
        return torch.cat([first, phase[..., 1:]], -1)
    last = phase[..., -1:].index_select(-2, own) * sign[:, None]
    return torch.cat([first, phase[..., 1:-1], last], -1)


def colour_mixing(covariance: np.ndarray) -> np.ndarray:
    """The lower triangular L of a covariance [c, c] = L L^T, after a small ridge."""
    floor = RIDGE**2 * np.eye(len(covariance))
    return np.asarray(np.linalg.cholesky(np.asarray(covariance, np.float64) + floor))


def decorrelated(images: np.ndarray, mean: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """L^-1 (x - m) of images [n, c, h, w], float64."""
    n, c, h, w = images.shape
    flat = np.asarray(images, np.float64).transpose(1, 0, 2, 3).reshape(c, -1) - mean[:, None]
    return np.linalg.solve(colours, flat).reshape(c, n, h, w).transpose(1, 0, 2, 3)


def window(image: np.ndarray, h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """A window [c, h, w] of an image at its own scale; a smaller image is continued by mirroring.

    Resizing instead would move every frequency.
    """
    _, own_h, own_w = image.shape
    down, right = max(0, h - own_h), max(0, w - own_w)
    if down or right:
        image = np.pad(image, ((0, 0), (0, down), (0, right)), mode="symmetric")
    top = int(rng.integers(0, image.shape[1] - h + 1))
    left = int(rng.integers(0, image.shape[2] - w + 1))
    return image[:, top : top + h, left : left + w]


def inverse_frequency(h: int, w: int) -> np.ndarray:
    """1 / max(f, 1 / max(h, w)) [h, w // 2 + 1], f in cycles per pixel: how natural images decay.

    Source: Olah et al. 2017, as in the code of lucid.
    """
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    return np.asarray(1.0 / np.maximum(np.hypot(fy, fx), 1.0 / max(h, w)))


def squashed(images: Tensor) -> Tensor:
    """Any value into (0, 1) by a sigmoid whose slope at 1/2 is 1: small contrasts stay as are."""
    return torch.sigmoid(4 * (images - 0.5))
