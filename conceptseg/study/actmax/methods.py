"""How a picture is parametrised, varied and optimised: MACO's way, lucid's, and that of [58].

All methods maximise, over the parameters theta of a picture x(theta),

    O(A(tau(x(theta)))) - l1 sum |x - 1/2| - tv TV(x),

with tau a random view drawn anew at each step. Views are drawn from the seed and the step alone,
so all pictures of a step share one, and no picture depends on which others are made beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.study.actmax.config import Actmax
from conceptseg.study.shared.spectrum import Template, inverse_frequency, squashed

TRIES = 4


@dataclass(frozen=True)
class Method:
    """`free` parameters: phases alone (amplitudes are the data's) or whole coefficients.

    `rate` is the step of the optimiser, `jitter_px`, `scale` (a factor between 1 - scale and
    1 + scale) and `rotate` (degrees) bound the random views, `noise` is added to them.
    `fade`: the step falls to zero along half a cosine, since a phase that is turned by a constant
    step never rests. `steps` of the ascent: those published, but for MACO's, which are more.
    """

    free: Literal["phase", "coefficients"]
    optimiser: Literal["nadam", "adam"]
    rate: float
    jitter_px: int
    scale: float
    rotate: float
    noise: float
    l1: float
    tv: float
    steps: int
    fade: bool = False


OPTIMISERS = {"nadam": torch.optim.NAdam, "adam": torch.optim.Adam}
METHODS: dict[str, Method] = {
    # Fel et al. 2023; random views of the whole picture in place of six small crops.
    "maco": Method("phase", "nadam", 0.4, 8, 0.1, 10.0, 0.05, 0.0, 0.0, 256, fade=True),
    # Olah et al. 2017, as in lucent: 512 steps of Adam 0.05, jitter, scaling, rotation.
    "fourier": Method("coefficients", "adam", 0.05, 8, 0.1, 10.0, 0.0, 0.0, 0.0, 512),
    # Natekar et al. 2020: 500 steps, jitter 8, rotation by at most 4 degrees, L1 around grey; in
    # their published code total variation, blur and scaling are switched off.
    "natekar": Method("coefficients", "adam", 0.05, 8, 0.0, 4.0, 0.0, 1e-5, 0.0, 500),
}


def start(method: Method, template: Template, keys: list[list[int]]) -> Tensor:
    """First parameters [n, c, h, w // 2 + 1] or, of coefficients, [..., 2]; a key for each row."""
    shape, rngs = template.amplitude.shape, map(np.random.default_rng, keys)
    if method.free == "phase":
        rows = [rng.uniform(-np.pi, np.pi, shape) for rng in rngs]
    else:
        rows = [rng.normal(0, 0.01, (*shape, 2)) for rng in rngs]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def best_start(
    method: Method,
    template: Template,
    keys: list[list[int]],
    peak: Callable[[Tensor], Tensor],
    device: str,
) -> Tensor:
    """Of `TRIES` draws of noise for each row the one with the highest `peak` [n].

    A rectified unit that a picture does not excite anywhere has no gradient to follow.
    """
    draws = [
        start(method, template, [[*key, turn] for key in keys]).to(device) for turn in range(TRIES)
    ]
    best = torch.stack([peak(draw) for draw in draws]).argmax(0)
    return torch.stack([draws[int(turn)][row] for row, turn in enumerate(best.tolist())])


def picture(method: Method, template: Template, parameters: Tensor) -> Tensor:
    """Pictures [n, c, h, w] in (0, 1)."""
    if method.free == "phase":
        return squashed(template.image(parameters))
    h, w = template.size
    decay = torch.as_tensor(inverse_frequency(h, w), dtype=parameters.dtype)
    scaled = torch.view_as_complex(parameters.contiguous()) * decay.to(parameters.device)
    z = torch.fft.irfft2(scaled, s=(h, w), norm="ortho") / 4
    # Colours go together as in the data, at unit scale: the sigmoid's argument is what lucid has.
    mix = template.colours / np.abs(np.linalg.norm(template.colours, axis=1)).max()
    mixed = torch.einsum("dc,nchw->ndhw", torch.as_tensor(mix, dtype=z.dtype, device=z.device), z)
    return torch.sigmoid(mixed)


def view(method: Method, pictures: Tensor, seed: int, step: int) -> Tensor:
    """Pictures [n, c, h, w] shifted, scaled and turned by one random draw, and noise.

    What comes in from outside is mirrored. All are sampled once, bilinearly.
    """
    rng = np.random.default_rng([seed, 31, step])
    h, w = pictures.shape[-2:]
    factor = 1 + method.scale * rng.uniform(-1, 1)
    angle = np.deg2rad(method.rotate) * rng.uniform(-1, 1)
    shift = rng.integers(-method.jitter_px, method.jitter_px + 1, size=2)
    if method.scale or method.rotate:
        cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
        # Coordinates run from -1 to 1 along either side, so a turn mixes them by their ratio.
        theta = np.array(
            [[cos, -sin * h / w, 2 * shift[1] / w], [sin * w / h, cos, 2 * shift[0] / h]]
        )
        affine = torch.as_tensor(theta, dtype=pictures.dtype, device=pictures.device)
        grid = F.affine_grid(affine[None], [1, 1, h, w], align_corners=False)
        pictures = F.grid_sample(
            pictures,
            grid.expand(len(pictures), -1, -1, -1),
            padding_mode="reflection",
            align_corners=False,
        )
    elif method.jitter_px:
        pictures = pictures.roll((int(shift[0]), int(shift[1])), (-2, -1))
    if method.noise:
        drawn = rng.normal(size=pictures.shape[1:]) + rng.uniform(-0.5, 0.5, pictures.shape[1:])
        noise = torch.as_tensor(method.noise * drawn, dtype=pictures.dtype, device=pictures.device)
        pictures = pictures + noise
    return pictures


def penalty(method: Method, pictures: Tensor) -> Tensor:
    """What is taken off the objective, summed over pictures."""
    total = pictures.new_zeros(())
    if method.l1:
        total = total + method.l1 * (pictures - 0.5).abs().sum()
    if method.tv:
        across, down = pictures.diff(dim=-1).abs().sum(), pictures.diff(dim=-2).abs().sum()
        total = total + method.tv * (across + down)
    return total


def method_of(study: Actmax) -> Method:
    """The published method, with what the study's file changes of it."""
    names = ("steps", "rate", "jitter_px", "scale", "rotate", "tv", "l1")
    given = {name: getattr(study, name) for name in names}
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(METHODS[study.method], **changed)
