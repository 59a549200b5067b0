"""A small network that says how much noise each pixel of an image may bear, and its training.

Its formula is that of U-Noise (:mod:`conceptseg.explain.explainers.u_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.errors import InputError, nearest
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.noise import generator
from conceptseg.network.blame import Backward
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed

KIND = "u_noise"
CURE = "fit one to this network with conceptseg.notebook.fit_noise"
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits of noisy and of clean images [n, k, h, w], a class of each [n] -> a loss of each [n]."""


@dataclass(frozen=True)
class Noise:
    """How noise is fitted: the deviation at a pixel is low + (high - low) B, on the images' scale.

    `price` is what a mean log B of -1 costs. `smooth` is the width in pixels of a bilateral filter
    of B, and `edge` how much colours must differ for pixels not to be averaged; 0: none.
    """

    low: float = 0.0
    high: float = 1.0
    price: float = 0.1
    smooth: float = 0.0
    edge: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise InputError(f"noise: low {self.low:g} has to lie in [0, high), high {self.high:g}")
        if self.price < 0 or self.smooth < 0 or self.edge <= 0:
            raise InputError("noise: price and smooth are at least 0, edge is above it")


def noise_of(given: Mapping[str, float]) -> Noise:
    """How noise is fitted, by the settings given. Raises InputError for those that do not exist."""
    for key in given:
        if key not in (known := Noise.__dataclass_fields__):
            raise InputError(f"fit_noise() takes no {key!r}; {nearest(key, known)}")
    return Noise(**given)


class NoiseNet(nn.Module):
    """A U-Net of two levels: images [n, c, h, w] in [0, 1] -> numbers [n, k, h, w], any h and w.

    About 30 thousand weights. No number of one image hangs on another.
    """

    def __init__(self, channels: int, classes: int, width: int = 16):
        super().__init__()
        self.first = _convolved(channels, width)
        self.second = _convolved(width, 2 * width)
        self.back = _convolved(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(2 * images - 1)
        second = self.second(functional.avg_pool2d(first, 2, ceil_mode=True))
        wide = functional.interpolate(second, size=first.shape[2:], mode="bilinear")
        return torch.as_tensor(self.head(self.back(torch.cat((first, wide), 1))))


def _convolved(inputs: int, outputs: int) -> nn.Sequential:
    norm = nn.GroupNorm(1, outputs)
    second = nn.Conv2d(outputs, outputs, 3, 1, 1)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), norm, nn.ReLU(), second, nn.ReLU())


def read_channels(model: SegmentationModel, images: Tensor) -> Tensor:
    """The images' channels that the network takes, in its order."""
    picked = model.preprocessing.channels
    return images if picked is None else images[:, list(dict.fromkeys(picked))]


def log_levels(net: nn.Module, seen: Tensor, noise: Noise) -> Tensor:
    """log B [n, k, h, w] of images as the network takes them, B in (0, 1)."""
    found = functional.logsigmoid(net(seen))
    if not noise.smooth:
        return found
    return bilateral(found.exp(), seen, noise.smooth, noise.edge).clamp(min=1e-12).log()


def bilateral(maps: Tensor, guide: Tensor, width: float, edge: float) -> Tensor:
    """Maps [n, k, h, w], each pixel the mean of those around it that a guide [n, c, h, w] is alike:
    weights exp(-d^2 / 2 width^2 - |guide difference|^2 / 2 edge^2), within 2 widths; what lies
    beyond the frame has none."""
    reach = max(1, round(2 * width))
    total, weights = torch.zeros_like(maps), torch.zeros_like(maps[:, :1])
    h, w = maps.shape[2:]
    around = functional.pad(torch.cat((maps, guide, torch.ones_like(weights)), 1), (reach,) * 4)
    k = maps.shape[1]
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            away = ((dy - reach) ** 2 + (dx - reach) ** 2) / (2 * width**2)
            part = around[:, :, dy : dy + h, dx : dx + w]
            apart = (part[:, k:-1] - guide).square().sum(1, keepdim=True) / (2 * edge**2)
            weight = (-away - apart).exp() * part[:, -1:]
            total, weights = total + weight * part[:, :k], weights + weight
    return total / weights


def kept_loss(logits: Tensor, clean: Tensor, classes: Tensor) -> Tensor:
    """Mean over pixels of the cross-entropy of one class against all others with the clean
    prediction of it, [n]."""
    rows = torch.arange(len(classes), device=logits.device)
    others = logits.scatter(1, classes[:, None, None, None].expand(-1, 1, *logits.shape[2:]), -1e9)
    margin = logits[rows, classes] - others.logsumexp(1)
    held = (clean.argmax(1) == classes[:, None, None]).to(margin)
    return functional.binary_cross_entropy_with_logits(margin, held, reduction="none").mean((1, 2))


def train(
    net: nn.Module,
    model: SegmentationModel,
    images: Tensor,
    columns: Sequence[Sequence[tuple[int, int]]],
    noise: Noise,
    *,
    steps: int,
    batch: int = 8,
    rate: float = 3e-3,
    seed: int = 0,
    loss: Loss = kept_loss,
) -> list[float]:
    """Fit `net` so that noise of its levels leaves the frozen network's prediction as it is.

    `columns` lists for each image [n, c, h, w] the maps of `net` that it may train, each with the
    class that it is of; an image without any takes no part. Adam, in steps of `batch` images, the
    rate falling to nothing along a cosine. Returns the cost of each step.
    """
    known = [i for i, own in enumerate(columns) if own]
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    costs = []
    with undisturbed(model), torch.inference_mode(False), torch.enable_grad():
        for step in range(steps):
            source = generator(seed, "train", step)
            rows = [known[int(i)] for i in torch.randint(len(known), (batch,), generator=source)]
            draws = [int(torch.randint(len(columns[i]), (1,), generator=source)) for i in rows]
            maps, classes = zip(
                *(columns[i][draw] for i, draw in zip(rows, draws, strict=True)), strict=True
            )
            x = images[rows].clone()
            of = torch.tensor(classes, device=x.device)
            with torch.no_grad():
                clean = model(x)
            levels = log_levels(net, read_channels(model, x), noise)[range(len(rows)), maps]
            deviation = noise.low + (noise.high - noise.low) * levels.exp()
            drawn = torch.randn(x.shape, generator=source).to(x)
            found = model(x + drawn * deviation[:, None])
            cost = (loss(found, clean, of) - noise.price * levels.mean((1, 2))).mean()
            optimiser.zero_grad()
            with Backward(model.name):
                cost.backward(inputs=list(net.parameters()))
            optimiser.step()
            fall.step()
            costs.append(float(cost.detach()))
    return costs


def fit(
    model: SegmentationModel,
    images: Tensor,
    classes: Sequence[int],
    noise: Noise,
    *,
    steps: int,
    batch: int = 8,
    seed: int = 0,
) -> tuple[Fitted, list[float]]:
    """A noise network for some classes of a frozen network, and its costs.

    Each image trains the maps of the classes that are predicted in it. Raises InputError where
    none of the classes is predicted in any.
    """
    with undisturbed(model), torch.no_grad():
        predicted = [model(one[None])[0].argmax(0).unique().tolist() for one in images]
    columns = [[(m, c) for m, c in enumerate(classes) if c in there] for there in predicted]
    lacking = [c for m, c in enumerate(classes) if not any((m, c) in own for own in columns)]
    if lacking:
        names = ", ".join(model.classes[c] for c in lacking)
        raise InputError(f"classes: none of the {len(images)} images is predicted to hold {names}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = NoiseNet(read_channels(model, images[:1]).shape[1], len(classes)).to(images)
    costs = train(net, model, images, columns, noise, steps=steps, batch=batch, seed=seed)
    facts: dict[str, Any] = {
        "classes": list(classes),
        "noise": asdict(noise),
        "images": len(images),
    }
    return Fitted(KIND, model.fingerprint(), net.state_dict(), facts), costs


def restored(fitted: Fitted, like: Tensor) -> tuple[NoiseNet, list[int], Noise]:
    """The noise network of a file, its classes, and how it was fitted; on the device of `like`."""
    try:
        first = fitted.tensors["first.0.weight"]
        classes = [int(c) for c in fitted.facts["classes"]]
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and replaced
            net = NoiseNet(first.shape[1], len(classes), first.shape[0])
        net.load_state_dict(dict(fitted.tensors))
        noise = Noise(**fitted.facts["noise"])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        text = str(error).split("\n")[0]
        raise InputError(f"weights: hold no noise network ({text}); {CURE}") from None
    return net.to(like).eval(), classes, noise
