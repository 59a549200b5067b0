"""The networks that LRP must take as they are, with weights at which every layer is alive."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from conceptseg.network.model import SegmentationModel


def alive(net: nn.Module, images: Tensor, zero_biases: bool = False) -> nn.Module:
    """The network with BatchNorm statistics of the images, and perhaps no bias anywhere.

    A network as it is initialised lets activations die out: relevance would meet the stabiliser
    rather than the rule. Without biases, means are left at 0: they are biases too.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    biases = [m.bias for m in net.modules() if getattr(m, "bias", None) is not None]
    if zero_biases:
        for bias in biases:
            bias.data.zero_()
    handles = [norm.register_forward_pre_hook(_settle(zero_biases)) for norm in norms]
    with torch.no_grad():
        net.eval()(images)
    for handle in handles:
        handle.remove()
    return net


def _settle(without_mean: bool) -> Callable[..., None]:
    """Gives a norm the statistics of what it is about to read."""

    def read(module: nn.Module, args: tuple[Tensor]) -> None:
        x = args[0]
        axes = [0, *range(2, x.dim())]
        mean = torch.zeros_like(x.mean(axes)) if without_mean else x.mean(axes)
        shape = [1, -1] + [1] * (x.dim() - 2)
        variance = (x - mean.view(shape)).square().mean(axes)
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance.clamp(min=1e-8))

    return read


def torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision.models import segmentation

        kinds = {"weights": None, "weights_backbone": None, "num_classes": 4}
        return getattr(segmentation, name)(**kinds)

    return build


def smp(name: str, encoder: str = "resnet18") -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import segmentation_models_pytorch as package

        return getattr(package, name)(encoder, encoder_weights=None, classes=4)

    return build


def planted() -> nn.Module:
    from conceptseg.planted.nets import PlantedUNet

    return PlantedUNet((8, 8, 16, 16))


def cgnet() -> nn.Module:
    from tests.network.nets.cgnet import CGNet

    return CGNet(4, 2, 4)


def espnetv2() -> nn.Module:
    from tests.network.nets.espnetv2 import ESPNetv2

    return ESPNetv2(4)


def segformer() -> nn.Module:
    import transformers

    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            num_labels=4,
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 16, 24, 32],
            num_attention_heads=[1, 2, 3, 4],
            decoder_hidden_size=16,
        )
    )


RECTIFIED = {
    "fcn_resnet50": torchvision("fcn_resnet50"),
    "deeplabv3_resnet50": torchvision("deeplabv3_resnet50"),
    "smp Unet": smp("Unet"),
    "smp FPN": smp("FPN"),
    "planted": planted,
}
"""Networks whose layers read and feed rectifiers."""

SIGNED = {
    "deeplabv3_mobilenet": torchvision("deeplabv3_mobilenet_v3_large"),
    "lraspp": torchvision("lraspp_mobilenet_v3_large"),
    "smp DeepLabV3Plus": smp("DeepLabV3Plus"),
    "cgnet": cgnet,
    "espnetv2": espnetv2,
}
"""Networks in which sums of both signs go on without a rectifier, and networks with gates."""

CLASSES = {"planted": 11}
CHANNELS = {"planted": 1}


def model(name: str, zero_biases: bool, double: bool = True) -> tuple[SegmentationModel, Tensor]:
    """The network and an image that it takes."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    build = {**RECTIFIED, **SIGNED, "segformer": segformer}[name]
    net = build()
    channels = CHANNELS.get(name, 3)
    images = torch.rand(1, channels, 64, 64)
    torch.random.set_rng_state(state)
    if double:
        net, images = net.double(), images.double()
    net = alive(net, images.expand(2, -1, -1, -1), zero_biases)
    names = [f"class {c}" for c in range(CLASSES.get(name, 4))]
    return SegmentationModel(net, names, channels=channels), images
