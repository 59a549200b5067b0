"""Every semantic architecture of the libraries that are installed: loaded, read, explained.

Tiny where that can be configured, with random weights. Of each: `conceptseg check` loads it and
examines it on two made-up images; of what it made ready the layers are listed, the recommended one
is erased (which has to change the logits), and one gradient CAM is made there. What does not pass
stands in :data:`KNOWN` with the reason, and nothing else may fail.
"""

import contextlib
import io
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.catalogue import load
from conceptseg.engine import start
from conceptseg.engine.contract import Context, Study
from conceptseg.explain.target import Target
from conceptseg.network import model as network
from conceptseg.network.record import Tail
from conceptseg.study import __main__ as command

pytestmark = pytest.mark.slow

CLASSES = ("a", "b", "c")
STAGES = ["stage1", "stage2", "stage3", "stage4"]

KNOWN: dict[str, dict[str, str]] = {
    "torchvision": {},
    "smp": {},
    "transformers": {"videomt": "takes pixel_values_videos"},
    "monai": {
        "DiNTS": "missing 1 required positional argument: 'dints_space'",
        # Its input is 256 px and its map the middle 164: nothing is left to widen.
        "HoVerNet": "puts out a map of 164 x 164 for an input of 256 x 256; say by model.place",
        **dict.fromkeys(
            ("UNet 3D", "DynUNet 3D", "SegResNet 3D", "VNet 3D", "SwinUNETR 3D", "DAF3D"),
            "takes volumes: its first convolution, ",
        ),
    },
    "factory": {},
}
"""Of each library: what does not pass, and a part of the message that says why."""

Case = tuple[str, dict[str, Any]]


def torchvision_cases() -> dict[str, Case]:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    cases: dict[str, Case] = {name: (name, {}) for name in names}
    small = {"min_size": 64, "max_size": 128, "box_detections_per_img": 10}
    small |= {"rpn_post_nms_top_n_test": 20}  # of 1000, its heads take 25 GFLOP an image
    detectors = torchvision.models.list_models(module=torchvision.models.detection)
    return cases | {name: (name, small) for name in detectors if name.startswith("maskrcnn")}


ENCODERS = (
    "resnet18", "resnext50_32x4d", "dpn68", "vgg11", "se_resnet50", "densenet121", "inceptionv4",
    "efficientnet-b0", "mobilenet_v2", "xception", "timm-efficientnet-b0",
    "timm-tf_efficientnet_lite0",
    "timm-skresnet18", "mit_b0", "mobileone_s0", "tu-resnet18", "tu-convnext_atto",
    "tu-mobilenetv3_small_050", "tu-regnetx_002", "tu-hrnet_w18_small",
)  # fmt: skip


def smp_cases() -> dict[str, Case]:
    from conceptseg.network.sources.smp import ARCHITECTURES

    cases: dict[str, Case] = {}
    for key, kind in ARCHITECTURES.items():
        vit = {"encoder_name": "tu-vit_tiny_patch16_224", "dynamic_img_size": True}
        cases[key] = (kind.__name__, vit if key == "dpt" else {"encoder_name": "resnet18"})
    return cases | {f"unet {name}": ("Unet", {"encoder_name": name}) for name in ENCODERS}


VIT = {
    "image_size": 64, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 4,
    "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
SWIN = {
    "model_type": "swin", "embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "window_size": 2, "image_size": 64, "out_features": STAGES,
}  # fmt: skip
RESNET = {
    "model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 1, 1, 1], "out_features": STAGES,
}  # fmt: skip
CONVNEXT = {
    "model_type": "convnext", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32],
    "out_features": STAGES,
}  # fmt: skip
DETR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "num_queries": 7,
}  # fmt: skip
FOLDED = {
    "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 16,
    "dim_feedforward": 16, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2,
    "num_queries": 7,
}  # fmt: skip
ONEFORMER = {
    "hidden_dim": 32, "conv_dim": 32, "mask_dim": 32, "encoder_feedforward_dim": 32,
    "dim_feedforward": 32, "encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 2,
    "num_queries": 7, "query_dec_layers": 1, "text_encoder_width": 32,
    "text_encoder_num_layers": 1, "text_encoder_proj_layers": 1, "text_encoder_n_ctx": 4,
}  # fmt: skip
EOMT = {**VIT, "num_queries": 7, "num_blocks": 2, "num_upscale_blocks": 1}
BEIT = {**VIT, "out_indices": [0, 1, 2, 3], "pool_scales": [1, 2]}
WIDE = {"initializer_range": 0.2}  # where features else fade to zeros on their way
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "segformer": {
        "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "decoder_hidden_size": 16,
        "num_attention_heads": [1, 1, 2, 2],
    },
    "beit": BEIT,
    "data2vec-vision": BEIT,
    "dpt": {
        **VIT, **WIDE, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 16, "is_hybrid": False,
    },
    "tipsv2_dpt": {
        "backbone_config": {
            "model_type": "dinov2_with_registers", **VIT, "reshape_hidden_states": False,
            "out_features": STAGES,
        },
        "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16, **WIDE,
    },
    "sapiens2": {
        **VIT, "num_key_value_attention_heads": 2,
        "head_config": {"upsample_out_channels": [16], "conv_out_channels": [16]},
    },
    "mobilenet_v2": {"image_size": 64, "depth_multiplier": 0.25, **WIDE},
    "mobilevit": {
        "image_size": 64, "hidden_sizes": [12, 16, 20], "num_attention_heads": 2,
        "neck_hidden_sizes": [4, 8, 8, 12, 16, 20, 32], "aspp_out_channels": 16, **WIDE,
    },
    "mobilevitv2": {
        "image_size": 64, "width_multiplier": 0.25, "aspp_out_channels": 16, **WIDE,
    },
    "upernet": {"backbone_config": CONVNEXT, "hidden_size": 32, "use_auxiliary_head": False},
    "upernet swin": {"backbone_config": SWIN, "hidden_size": 32, "use_auxiliary_head": True},
    "mask2former": {"backbone_config": SWIN, **FOLDED},
    "maskformer": {
        "fpn_feature_size": 32, "mask_feature_size": 32, "backbone_config": SWIN,
        "decoder_config": {"model_type": "detr", **DETR},
    },
    "maskformer resnet": {
        "fpn_feature_size": 32, "mask_feature_size": 32, "backbone_config": RESNET,
        "decoder_config": {"model_type": "detr", **DETR},
    },
    "oneformer": {"backbone_config": SWIN, **ONEFORMER},
    "eomt": EOMT,
    "eomt_dinov3": EOMT,
    "videomt": EOMT,
    "detr": {
        "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None,
        "backbone_config": RESNET, **DETR, "d_model": 64, "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
    },
}  # fmt: skip
"""Model types (and a word for what is special), and arguments that make them tiny."""


def transformers_cases() -> dict[str, Case]:
    from conceptseg.network.sources.transformers import HEADS

    known = {kind.model_type for head in HEADS for kind in head._model_mapping}
    lacking = known - {key.partition(" ")[0] for key in TRANSFORMERS}
    assert not lacking, f"give arguments for {lacking}"
    every = {key: (key.partition(" ")[0], arguments) for key, arguments in TRANSFORMERS.items()}
    return {
        key: (name, of_version(name, arguments))
        for key, (name, arguments) in every.items()
        if name in known
    }


def of_version(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that only other versions of transformers have: such are refused.

    Names move: DETR's `backbone` became a part of `backbone_config`.
    """
    from transformers import CONFIG_MAPPING

    usual = CONFIG_MAPPING[name]()
    return {key: value for key, value in arguments.items() if hasattr(usual, key)}


LEVELS = {"channels": [4, 8, 16], "strides": [2, 2]}
KERNELS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
MONAI: dict[str, dict[str, Any]] = {
    "AHNet": {"psp_block_num": 0},
    "AttentionUnet": LEVELS,
    "BasicUNet": {"features": [4, 4, 8, 16, 32, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 16, 32, 4]},
    "DynUNet": {**KERNELS, "filters": [4, 8, 16]},
    "FlexibleUNet": {"backbone": "efficientnet-b0"},
    "DAF3D": {},
    "DiNTS": {"num_classes": 3},
    "DynUNet 3D": {**KERNELS, "filters": [4, 8, 16], "spatial_dims": 3},
    "HighResNet": {},
    "HoVerNet": {"mode": "fast", "out_classes": 3},
    "MedNeXt": {"init_filters": 4},
    "Quicknat": {"num_classes": 3, "num_channels": 3, "num_filters": 8},
    "SegResNet": {"init_filters": 8},
    "SegResNetDS": {"init_filters": 8},
    "SegResNetDS2": {"init_filters": 8},
    "SegResNetVAE": {"init_filters": 8, "input_image_size": [64, 64]},
    "SegResNet 3D": {"init_filters": 8, "spatial_dims": 3},
    "SwinUNETR": {"feature_size": 12},
    "SwinUNETR 3D": {"feature_size": 12, "spatial_dims": 3},
    "UNet": LEVELS,
    "UNet 3D": {**LEVELS, "spatial_dims": 3},
    "UNETR": {
        "img_size": [64, 64], "feature_size": 4, "hidden_size": 32, "mlp_dim": 32, "num_heads": 2,
    },
    "VNet": {"in_channels": 1},
    "VNet 3D": {"in_channels": 1, "spatial_dims": 3},
}  # fmt: skip
"""Names (and a word for what is special) and arguments; of volumes, and of objects that no file
can name, as well."""


SIDES = {"PAN": 128, "HoVerNet": 256}
"""Of networks that want larger images than 64 px."""


def monai_cases() -> dict[str, Case]:
    every = {key: (key.partition(" ")[0], arguments) for key, arguments in MONAI.items()}
    lacking = () if find_spec("einops") else ("SwinUNETR", "UNETR")
    return {key: case for key, case in every.items() if case[0] not in lacking}


class OneFrame(nn.Module):
    """VidEoMT for images: each is a film of one frame."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import VideomtConfig, VideomtForUniversalSegmentation

        self.net = VideomtForUniversalSegmentation(VideomtConfig(num_labels=3, **EOMT))

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(pixel_values_videos=x[:, None])


def dints() -> nn.Module:
    """A DiNTS whose topology is drawn, as after its search."""
    from monai.networks.nets import DiNTS, TopologyInstance

    dice = np.random.default_rng(0)
    codes = [np.ones((3, 7)), dice.integers(0, 2, (3, 7))]  # all paths; of each, its operation
    space = TopologyInstance(codes, channel_mul=0.125, num_blocks=3, num_depths=3, spatial_dims=2)
    return DiNTS(space, 3, 3, spatial_dims=2, node_a=torch.ones(4, 3))


def wrapped_cases() -> dict[str, Case]:
    """What its source refuses, by a function of the user's own."""
    makers = {"transformers": OneFrame, "monai": dints}
    found = {key: one.__name__ for key, one in makers.items() if find_spec(key)}
    return {name: (f"{__name__}:{name}", {}) for name in found.values()}


def calibrate(module: nn.Module, images: torch.Tensor) -> None:
    """Batch norms take the images' own statistics: else random features fade to nothing."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = [m for m in module.modules() if isinstance(m, kinds) and m.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            module(images)
    for norm in norms:
        norm.eval()


def attempt(source: str, name: str, arguments: dict[str, Any], folder: Path) -> None:
    """All that is asked of one network; raises what goes wrong."""
    side, channels = SIDES.get(name, 64), arguments.get("in_channels", 3)
    content = {"source": source, "name": name, "arguments": arguments, "values": "logits"}
    content |= {"classes": list(CLASSES)}
    if channels == 1:
        content["preprocessing"] = {"channels": [0]}
    context = checked(content, side, folder)
    model, layer, images = context.model, context.layer, torch.rand(1, 3, side, side)
    assert any(info.name == layer and info.spatial for info in model.layers(images))
    tail = Tail.of(model, images, layer)
    assert tail.logits.shape == (1, 3, side, side) and torch.isfinite(tail.logits).all()
    with torch.no_grad():
        erased = tail.resume(torch.zeros_like(tail.activation))
    assert not torch.equal(erased, tail.logits), f"{layer} has no influence"
    predicted = int(tail.logits.argmax(1)[0].flatten().mode().values)
    maps = load("explainers", "seg_grad_cam")(layer=layer)(model, images, Target(predicted))
    assert maps.shape == (1, side, side) and torch.isfinite(maps).all()


def checked(model: dict[str, Any], side: int, folder: Path) -> Context:
    """`conceptseg check` on two images with masks, and the network as it was loaded for that.

    What it says is wrong is raised.
    """
    study = {
        "data": {"manifest": str(scenes(folder / f"scenes{side}", side))},
        "model": model,
        "run": {"device": "cpu", "batch_size": 2, "shards": 1, "threads": 1},
        "compare": ["seg_grad_cam"],
        "metrics": ["saliency_ratio"],
        "images": 2,
        "sanity_images": 0,
    }
    path = folder / "saliency_sweep.yaml"
    path.write_text(yaml.safe_dump(study))
    ready: list[tuple[Study, Context]] = []
    prepare, loader = start.prepare_each, network.load_model

    def kept(*given: Any) -> Any:
        ready.extend(prepare(*given))
        return ready

    def calibrated(*given: Any) -> network.SegmentationModel:
        torch.manual_seed(0)
        found = loader(*given)
        if model["name"] not in KNOWN[model["source"]]:
            calibrate(found.module, torch.rand(2, found.channels, side, side))
        return found

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "prepare_each", kept)
        patch.setattr(network, "load_model", calibrated)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command.main(["check", "-c", str(path)])
    if code:
        raise RuntimeError(f"check: exit {code}: {err.getvalue().strip()}")
    for what in ("output", "numbers", "place", "passes", "other sizes", "layer", "masks"):
        assert f" {what} " in out.getvalue(), what
    assert "has no influence" not in out.getvalue()
    return ready[0][1]


def scenes(folder: Path, side: int) -> Path:
    """Two images of noise in three tones with their masks, made once; the manifest's file."""
    path = folder / "set.yaml"
    if path.exists():
        return path
    dice = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        labels = np.repeat(dice.permutation(3), [side // 4, side // 2, side // 4])
        labels = np.repeat(labels[:, None], side, 1).astype(np.uint8)
        pixels = 60 + 60 * labels[:, :, None] + dice.integers(-40, 40, (side, side, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"images/s{number}.png")
        Image.fromarray(labels).save(folder / f"masks/s{number}.png")
    content = {
        "name": "tones",
        "channels": 3,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": list(CLASSES)},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("library", "source", "cases"),
    [
        ("torchvision", "torchvision", torchvision_cases),
        ("segmentation_models_pytorch", "smp", smp_cases),
        ("transformers", "transformers", transformers_cases),
        ("monai", "monai", monai_cases),
        ("torch", "factory", wrapped_cases),
    ],
)
def test_every_architecture(library, source, cases, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        pytest.importorskip(library)
        tried = cases()
        failed = {}
        started = time.process_time()
        for key, (name, arguments) in tried.items():
            try:
                attempt(source, name, arguments, tmp_path)
            except Exception as error:
                failed[key] = f"{type(error).__name__}: {error}".splitlines()[0]
    listed = "".join(f"\n  {key}: {reason}" for key, reason in failed.items())
    passed, spent = len(tried) - len(failed), time.process_time() - started
    print(f"{source}: {passed} passed of {len(tried)} tried, {spent:.0f} s{listed}")
    known = {key: reason for key, reason in KNOWN[source].items() if key in tried}
    assert failed.keys() == known.keys(), listed
    for key, reason in known.items():
        assert reason in failed[key], key
