"""Kernel-weighted contribution: units, weighed by the prediction without and by them alone."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer, resized
from conceptseg.explain.explainers._convolutions import Part, layers_of
from conceptseg.explain.explainers._units import busiest, probability, units_of
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.network.layout import full
from conceptseg.network.record import Tail, encode, find

Removal = Literal["activation", "kernel", "noise"]


@technique(family="CAM", source="Mullan and Sonka 2022; 2023, 10.1117/1.JMI.10.5.054001")
class KernelWeighted(Explainer):
    """Sum over layers and units of the activation times the unit's share in the prediction.

    With P the class's probability in the target's region (0 elsewhere), P_-k what it is without
    unit k of a layer and P_k what it is with that unit of the layer alone,

        Dep_k = sum_pixels (P - min(P_-k, P)),  Ind_k = sum_pixels min(P_k, P),
        w_k = Dep_k Ind_k / sum_pixels P.

    Form 2023: L = sum_l up(sum_k w_lk |A_lk| / max |A_l|) over the convolutions of encoder and
    decoder, not those of the bottleneck; in pixels of probability. Form 2022:
    L = mean_l minmax(up(sum_k v_lk relu(A_lk))) over those of the decoder, v the weights scaled
    to [0, 1] within their layer; in [0, 1]. Never negative: a unit whose removal lowers P nowhere
    weighs 0. No gradients: for each unit that is not dead two passes of the part after the layer.

    A unit is removed by one of three ways, which are not the same: `activation` sets its output
    to 0, bias included; `kernel` sets its weights to 0, so its bias stays; `noise` gives it
    random weights (uniform after Glorot) and leaves the bias. "That unit alone" is far off what
    the network was trained on, and where a normalisation follows, a removed unit becomes a
    constant rather than nothing.

    Departures: of the target the class and the region count, its score never; the papers' whole
    image is `Everything()`. The final division by the maximum (2023) is left out. For the paper's
    nnU-Net the 2023 code silences units after normalisation and rectifier, though it weighs the
    convolution's raw output (for other networks it takes kernels away); here both are the named
    layer's output. The 2022 code computes the range of its noise from the wrong axes of the
    weights: for wide layers several times smaller than Glorot's, which is taken here.

    Source: Mullan and Sonka, "Visual attribution for deep learning segmentation in medical
    imaging", SPIE Medical Imaging 2022, 12032; "Kernel-weighted contribution", Journal of Medical
    Imaging 10(5), 054001, 2023.
    """

    form: Literal["2023", "2022"] = Field(
        "2023", description="Year of publication: how weights and layers are scaled and combined."
    )
    layers: Literal["auto"] | tuple[str, ...] = Field(
        "auto",
        min_length=1,
        description="Layers whose units are weighed; auto: all convolutions outside the bottleneck "
        "but the last (2023), or those after it (2022).",
    )
    removed: Literal["auto", "activation", "kernel", "noise"] = Field(
        "auto",
        description="What happens to a removed unit: output 0, weights 0, or random weights; auto: "
        "activation (2023) or noise (2022).",
    )
    channels: int | None = Field(
        None,
        ge=1,
        description="Of each layer only so many units, those of largest mean square: an "
        "approximation; else all.",
    )
    seed: int = Field(42, ge=0, description="Seed of the random weights of `noise`.")

    @property
    def classes_only(self) -> bool:
        return True

    @property
    def _removed(self) -> Removal:
        default: Removal = "noise" if self.form == "2022" else "activation"
        return default if self.removed == "auto" else self.removed

    def _layers(self, scene: Scene) -> tuple[str, ...]:
        part: Part = "decoder" if self.form == "2022" else "encoder and decoder"
        return layers_of(scene, None if isinstance(self.layers, str) else self.layers, part)

    def check(self, scene: Scene) -> None:
        for layer in self._layers(scene):
            if self._removed != "activation":
                _convolution(scene, layer)

    def reduced(self, scene: Scene) -> Explainer:
        """One unit of the last layer."""
        return self.model_copy(update={"layers": self._layers(scene)[-1:], "channels": 1})

    def passes(self, scene: Scene) -> float:
        return sum(2.0 + 2 * units_of(scene, one, self.channels) for one in self._layers(scene))

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        layers = self._layers(scene)
        scores = [scene.fix(target) for target in targets]
        total = scene.images.new_zeros((len(targets), len(scene), *scene.size))
        for layer in layers:
            # Not the scene's own tails: it would keep those of all layers at once.
            tail = Tail.of(scene.model, scene.images, layer)
            emptied = self.without(scene, layer, tail.activation)
            weights = self.weights_of(scene, tail, emptied, scores)
            total = total + self.on_image(tail.activation, weights, scene.size)
            scene.count(tail.passes)
        return total / len(layers) if self.form == "2022" else total

    def without(self, scene: Scene, layer: str, activation: Tensor) -> Tensor:
        """What each unit of the layer puts out when it is removed, [n, u, y, x]."""
        if self._removed == "activation":
            return torch.zeros_like(activation)
        module, call = _convolution(scene, layer)
        if self._removed == "kernel":
            empty = torch.zeros_like(activation)
            return empty if module.bias is None else empty + module.bias.detach()[:, None, None]
        noise = torch.empty(module.weight.shape)
        nn.init.xavier_uniform_(noise, generator=torch.Generator().manual_seed(self.seed))
        return _with_kernels(scene, layer, module, call, noise)

    def weights_of(
        self, scene: Scene, tail: Tail, emptied: Tensor, scores: Sequence[FixedTarget]
    ) -> Tensor:
        """The units' weights [t, n, u] before any scaling."""
        activation = tail.activation
        # A unit that is what it would be when removed has Dep = 0 exactly.
        live = (activation != emptied).flatten(2).any(2)
        order, counts = busiest(activation, live, self.channels)
        clean = torch.stack([probability(tail.logits, score) for score in scores])
        found = clean.new_zeros((len(scores), *activation.shape[:2]))
        step = max(1, scene.batch_size // len(scene))
        for start in range(0, order.shape[1], step):
            part = order[:, start : start + step]
            lost = _of_class(tail, _one_taken(activation, emptied, part), scores)
            alone = _of_class(tail, _one_taken(emptied, activation, part), scores)
            dependent = (clean[:, :, None] - lost).relu().sum((3, 4))
            independent = torch.minimum(alone, clean[:, :, None]).sum((3, 4))
            whole = clean.sum((2, 3))[..., None]
            products = dependent * independent / whole.where(whole != 0, 1.0)
            products = products.masked_fill(~counts[:, start : start + step], 0.0)
            found.scatter_(2, part.expand(len(scores), -1, -1), products)
        return found

    def on_image(self, activation: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
        """A layer's map [t, n, h, w] from its activation [n, u, y, x] and weights [t, n, u]."""
        weights = weights.to(activation.dtype)
        if self.form == "2023":
            most = activation.abs().amax((1, 2, 3), keepdim=True)
            acts = activation.abs() / most.where(most > 0, 1.0)
            return resized(torch.einsum("tnu,nuyx->tnyx", weights, acts), size)
        weights = _unit_range(weights, (2,))
        maps = torch.einsum("tnu,nuyx->tnyx", weights, activation.relu())
        return _unit_range(resized(maps, size), (2, 3))


def _one_taken(base: Tensor, other: Tensor, units: Tensor) -> Tensor:
    """The map `base` with one unit of `other`, for each of `units` [n, r]: [n r, u, y, x]."""
    n, r = units.shape
    rows = torch.arange(n, device=units.device)[:, None]
    columns = torch.arange(r, device=units.device)
    mixed = base[:, None].repeat(1, r, 1, 1, 1)
    mixed[rows, columns, units] = other[rows, units]
    return mixed.flatten(0, 1)


def _of_class(tail: Tail, variants: Tensor, scores: Sequence[FixedTarget]) -> Tensor:
    """Probabilities [t, n, r, h, w] of t targets' classes for variants [n r, u, y, x]."""
    classes = tail.resume(variants).softmax(1).unflatten(0, (tail.images.shape[0], -1))
    return torch.stack([classes[:, :, score.class_id] for score in scores])


def _convolution(scene: Scene, layer: str) -> tuple[nn.Conv2d | nn.ConvTranspose2d, int]:
    """The module that makes a layer, and in which of its calls; it has a kernel for each unit."""
    module, call = find(scene.model, layer)
    if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        raise InputError(
            f"layer {layer!r} is a {type(module).__name__}, which has no kernel for each unit; "
            "name convolutions or take removed: activation"
        )
    return module, call


def _with_kernels(
    scene: Scene, layer: str, module: nn.Module, call: int, kernels: Tensor
) -> Tensor:
    """What a convolution would put out on the same input with other weights."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    try:
        activation = encode(scene.model, scene.images, layer)
        scene.count({"forward": len(scene)})
    finally:
        handle.remove()
    twin = deepcopy(module)
    twin.weight = nn.Parameter(kernels.to(inputs[call]), requires_grad=False)
    with torch.no_grad():
        return full(twin(inputs[call])).to(activation.dtype)


def _unit_range(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return (values - low) / (high - low).where(high > low, 1.0)
