"""Grad-PAM: one map per output pixel, of which a region's map is made."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import GradientCam
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget
from conceptseg.network.blame import Backward
from conceptseg.network.record import Tail


@technique(family="CAM", source="Wan et al. 2020, arXiv:2006.06868")
class GradPam(GradientCam):
    """Sum over a region's pixels of each pixel's own rectified map of activation times gradient.

    With t_p the share of output pixel p in the target T = sum_p t_p, and a layer's activation A
    [u, y, x], the pixel's map is L_p = relu(sum_k dt_p / dA_k * A_k), element by element, and the
    region's L = |M| / m sum over m of the region's |M| pixels of L_p (`agg: map`): pixels whose
    evidence is of opposite sign do not cancel. With `agg: grad` the gradients are summed before the
    rectifier, which is Seg-HiRes-Grad-CAM of the region; so is the signed map (`relu` off) of all
    pixels. Unbounded; in units of T; >= 0 unless `relu` is off.

    The `pixels` are drawn without replacement, each pixel of the region alike: one order of the
    image's positions is drawn from `seed` and the first that lie in the region are taken, so the
    map of few pixels is an unbiased estimate of that of all, and differs with the seed. One forward
    pass, and one backward pass of the part after the layer for every pixel drawn (one in all with
    `agg: grad`).

    Departures: the paper shows the map of one pixel at a time, of the logit of the class that is
    predicted there, at the network's last convolution. Its authors' code draws at most 10 pixels of
    a class, no two from the same 300 px cell, and shows their maps side by side; that they are
    added up is our reading of "region". Nothing is normalised, `layer: auto` is where the decision
    passes, and the default target is the mean margin. For a single pixel as published:
    `Target(c, Pixel(y, x), score="logit")`.

    Source: Wan, Ho et al., "SegNBDT: Visual Decision Rules for Segmentation", arXiv:2006.06868.
    """

    agg: Literal["map", "grad"] = Field(
        "map", description="What is summed over the pixels: rectified maps, or their gradients."
    )
    pixels: int = Field(
        10, ge=1, description="Pixels of the region that are drawn for `map`; all if it has fewer."
    )
    seed: int = Field(0, ge=0, description="Of the order in which pixels are drawn.")

    def reduced(self, scene: Scene) -> "GradPam":
        """Two pixels, which are pulled at once as many are."""
        return self.model_copy(update={"pixels": min(self.pixels, 2)})

    def passes(self, scene: Scene) -> float:
        return 1.0 + 2 * (self.pixels if self.agg == "map" else 1)

    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        if self.agg == "grad":
            return super().combine(scene, score)
        tail = scene.tail(self.layer, graph=True)
        activation = tail.activation.detach()
        slope = _slope(tail.logits, score)
        drawn = self.draw(score.mask)
        total = activation.new_zeros(activation.shape[0], *activation.shape[2:])
        step = max(1, scene.batch_size // len(scene))
        for positions in drawn.split(step) if len(drawn) else ():  # no image has the region
            for gradient in _pull(tail, _seeds(slope, positions)):
                found = self.weigh(activation, gradient)
                total = total + (found.relu() if self.relu else found)
        share = score.pixels / (drawn >= 0).sum(0).clamp(min=1)
        return total * share.to(total.dtype)[:, None, None]

    def weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(1)

    def draw(self, mask: Tensor) -> Tensor:
        """Masks [n, h, w] -> positions y w + x of m pixels of each image, [m, n]; -1 for none."""
        inside = mask.flatten(1)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(inside.shape[1], generator=generator).to(mask.device)
        ranks = inside[:, order].cumsum(1)
        image, at = (inside[:, order] & (ranks <= self.pixels)).nonzero(as_tuple=True)
        most = int(ranks[:, -1].max().clamp(max=self.pixels))
        drawn = torch.full((most, len(mask)), -1, device=mask.device)
        drawn[ranks[image, at] - 1, image] = order[at]
        return drawn


def _slope(logits: Tensor, score: FixedTarget) -> Tensor:
    """dT / d logits, [n, k, h, w]: at each pixel it depends on that pixel's logits alone."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(score(leaf).sum(), leaf)[0]


def _seeds(slope: Tensor, positions: Tensor) -> Tensor:
    """dT / d logits at one pixel of each image, zero elsewhere: [m, n, k, h, w] for m pixels."""
    seeds = slope.new_zeros(len(positions), *slope.shape).flatten(3)
    row, image = (positions >= 0).nonzero(as_tuple=True)
    at = positions[row, image]
    seeds[row, image, :, at] = slope.flatten(2)[image, :, at]
    return seeds.unflatten(3, slope.shape[2:])


def _pull(tail: Tail, seeds: Tensor) -> Tensor:
    """Gradients [m, n, u, y, x] at the layer of sum(logits * seed), for m seeds at once."""
    tail.passes["tail backward"] += len(seeds) * seeds.shape[1]
    ends = (tail.logits, tail.activation)
    if len(seeds) > 1:
        try:
            return torch.autograd.grad(*ends, seeds, retain_graph=True, is_grads_batched=True)[0]
        except Exception:
            # A network may hold functions of its own whose backward takes no batch of gradients;
            # one that fails by itself says so below.
            pass
    with Backward(tail.model.name):
        return torch.stack([torch.autograd.grad(*ends, s, retain_graph=True)[0] for s in seeds])
