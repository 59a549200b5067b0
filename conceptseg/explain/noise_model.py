"""A small network that says how much noise each pixel of an image may bear, and its training.

Its formula is that of U-Noise (:mod:`conceptseg.explain.explainers.u_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.errors import InputError, nearest
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.noise import generator
from conceptseg.network.blame import Backward
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed

KIND = "u_noise"
CURE = "fit one to this network with `conceptseg noise`, or conceptseg.notebook.fit_noise"
RATE = 1e-2
"""Adam's. At the published 3e-3 some hundreds of steps hardly move levels from where they begin."""
FIRST = -2.5
"""log-odds of B at which all pixels begin. At even odds the noise is such that many a network
predicts nothing any more, whose slope is next to none: the fit then stays where it is."""
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
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            torch.as_tensor(self.head.bias).fill_(FIRST)

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
    held = (label_map(clean) == classes[:, None, None]).to(margin)
    return functional.binary_cross_entropy_with_logits(margin, held, reduction="none").mean((1, 2))


@dataclass(frozen=True)
class Part:
    """Images [n, c, h, w] of one size that a step is fitted to, and of each the map of the noise
    network, and the class that it is of."""

    images: Tensor
    maps: Sequence[int]
    classes: Sequence[int]


Draw = Callable[[int], Sequence[Part]]
"""A step's number -> its images, in parts of one size each."""


@dataclass(frozen=True)
class Begun:
    """A fit under way: weights, what Adam keeps of each (`0.exp_avg`), and the cost of each step.

    What goes on from it goes on as if it had never stopped.
    """

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    costs: tuple[float, ...]


def begun(net: nn.Module) -> Begun:
    """A fit of no step yet."""
    return Begun(_copied(net.state_dict()), {}, ())


def advance(
    net: nn.Module,
    model: SegmentationModel,
    draw: Draw,
    noise: Noise,
    at: Begun,
    *,
    steps: int,
    until: int,
    rate: float,
    seed: int = 0,
    loss: Loss = kept_loss,
) -> Begun:
    """Fit `net` on to step `until` of `steps`, so that noise of its levels leaves the frozen
    network's prediction as it is.

    Adam; the rate falls to nothing along a cosine.
    """
    net.load_state_dict(dict(at.weights))
    weights = list(net.parameters())
    optimiser, costs = torch.optim.Adam(weights, lr=rate), list(at.costs)
    if at.moments:
        state = {i: _under(f"{i}.", at.moments) for i in range(len(weights))}
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    with undisturbed(model), torch.inference_mode(False), torch.enable_grad():
        for step in range(len(costs), until):
            source, parts = generator(seed, "train", step), draw(step)
            count = sum(len(part.images) for part in parts)
            optimiser.zero_grad()
            costs.append(0.0)
            for part in parts:
                cost = _cost(net, model, part, noise, source, loss) / count
                with Backward(model.name):
                    cost.backward(inputs=weights)
                costs[-1] += float(cost.detach())
            for group in optimiser.param_groups:
                group["lr"] = rate * (1 + cos(pi * step / steps)) / 2
            optimiser.step()
    moments = {
        f"{i}.{name}": torch.as_tensor(value)
        for i, own in optimiser.state_dict()["state"].items()
        for name, value in own.items()
    }
    return Begun(_copied(net.state_dict()), _copied(moments), tuple(costs))


def _cost(
    net: nn.Module,
    model: SegmentationModel,
    part: Part,
    noise: Noise,
    source: torch.Generator,
    loss: Loss,
) -> Tensor:
    """The cost of a part's images, summed."""
    x = part.images.clone()
    of = torch.tensor(part.classes, device=x.device)
    with torch.no_grad():
        clean = model(x)
    levels = log_levels(net, read_channels(model, x), noise)[range(len(x)), part.maps]
    deviation = noise.low + (noise.high - noise.low) * levels.exp()
    drawn = torch.randn(x.shape, generator=source).to(x)
    found = model(x + drawn * deviation[:, None])
    return (loss(found, clean, of) - noise.price * levels.mean((1, 2))).sum()


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}


def _under(head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What stands under names that begin with `head`."""
    return {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}


def train(
    net: nn.Module,
    model: SegmentationModel,
    images: Tensor,
    columns: Sequence[Sequence[tuple[int, int]]],
    noise: Noise,
    *,
    steps: int,
    batch: int = 8,
    rate: float = RATE,
    seed: int = 0,
    loss: Loss = kept_loss,
) -> tuple[float, ...]:
    """Fit `net` to images [n, c, h, w] of one size, `batch` of them a step (:func:`advance`).

    `columns` lists for each image the maps of `net` that it may train, each with the class that it
    is of; an image without any takes no part. Returns the cost of each step.
    """
    known = [i for i, own in enumerate(columns) if own]

    def draw(step: int) -> Sequence[Part]:
        source = generator(seed, "images", step)
        rows = [known[int(i)] for i in torch.randint(len(known), (batch,), generator=source)]
        pairs = [columns[i][int(torch.randint(len(columns[i]), (1,), generator=source))]
                 for i in rows]  # fmt: skip
        return [Part(images[rows], *zip(*pairs, strict=True))]

    options = {"steps": steps, "until": steps, "rate": rate, "seed": seed}
    return advance(net, model, draw, noise, begun(net), loss=loss, **options).costs  # type: ignore[arg-type]


def fit(
    model: SegmentationModel,
    images: Tensor,
    classes: Sequence[int],
    noise: Noise,
    *,
    steps: int,
    batch: int = 8,
    seed: int = 0,
) -> tuple[Fitted, tuple[float, ...]]:
    """A noise network for some classes of a frozen network, and its costs.

    Each image trains the maps of the classes that are predicted in it. Raises InputError where
    none of the classes is predicted in any.
    """
    with undisturbed(model), torch.no_grad():
        predicted = [label_map(model(one[None])[0]).unique().tolist() for one in images]
    columns = [[(m, c) for m, c in enumerate(classes) if c in there] for there in predicted]
    lacking = [c for m, c in enumerate(classes) if not any((m, c) in own for own in columns)]
    if lacking:
        names = ", ".join(model.classes[c] for c in lacking)
        raise InputError(f"classes: none of the {len(images)} images is predicted to hold {names}")
    net = fresh(model, images, len(classes), seed)
    costs = train(net, model, images, columns, noise, steps=steps, batch=batch, seed=seed)
    return fitted(model, net.state_dict(), classes, noise, len(images)), costs


def fresh(model: SegmentationModel, images: Tensor, classes: int, seed: int) -> NoiseNet:
    """A noise network that has seen nothing yet, for images like these [n, c, h, w]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NoiseNet(read_channels(model, images[:1]).shape[1], classes).to(images)


def fitted(
    model: SegmentationModel,
    weights: Mapping[str, Tensor],
    classes: Sequence[int],
    noise: Noise,
    images: int,
) -> Fitted:
    """The weights of a noise network, bound to the network that they were fitted to."""
    facts: dict[str, Any] = {"classes": list(classes), "noise": asdict(noise), "images": images}
    return Fitted(KIND, model.fingerprint(), weights, facts)


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
