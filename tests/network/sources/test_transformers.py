import json

import pytest
import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model
from conceptseg.network.outputs import fold_queries

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # importing the library alone takes seconds

CLASSES = ("a", "b", "c")
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SEGFORMER = {
    "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 48,
}  # fmt: skip
CONVNEXT = {
    "model_type": "convnext",
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "out_features": STAGES,
}
SWIN = {
    "model_type": "swin", "embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "window_size": 4, "out_features": STAGES,
}  # fmt: skip
MASK2FORMER = {
    "backbone_config": SWIN, "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32,
    "encoder_feedforward_dim": 16, "dim_feedforward": 16, "encoder_layers": 1, "decoder_layers": 2,
    "num_attention_heads": 2, "num_queries": 20,
}  # fmt: skip
UPERNET = {"backbone_config": CONVNEXT, "hidden_size": 32, "use_auxiliary_head": False}
SWIN_STAGE = "model.pixel_level_module.encoder.swin.encoder.layers.3"


def load(name: str, arguments=None, classes=CLASSES, **options):
    torch.manual_seed(0)
    config = ModelConfig(source="transformers", name=name, arguments=arguments or {}, **options)
    return load_model(config, classes)


@pytest.mark.parametrize(
    ("name", "arguments", "layer", "shape"),
    [
        ("segformer", SEGFORMER, "segformer.stages.3", (32, 4, 6)),
        ("upernet", UPERNET, "backbone.encoder.stages.3", (32, 4, 6)),
        ("mask2former", MASK2FORMER, SWIN_STAGE, (96, 4, 6)),
    ],
)
def test_runs_and_finds_its_bottleneck(name, arguments, layer, shape):
    model = load(name, arguments)
    images = torch.rand(2, 3, 128, 192)
    with torch.no_grad():
        logits = model(images)
    assert logits.shape == (2, 3, 128, 192)
    assert torch.isfinite(logits).all()
    assert model.channels == 3
    marked = [(i.name, i.shape) for i in model.layers(images) if i.recommended]
    assert marked == [(layer, shape)]


def test_segformer_logits_are_its_own_enlarged():
    model = load("segformer", SEGFORMER)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        own = model.module(pixel_values=images).logits
        assert own.shape == (1, 3, 16, 16)
        expected = nn.functional.interpolate(own, (64, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(images), expected)


def test_mask2former_is_folded():
    model = load("mask2former", MASK2FORMER)
    images = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        own = model.module(pixel_values=images)
        folded = fold_queries(own.class_queries_logits, own.masks_queries_logits)
        expected = nn.functional.interpolate(folded, (128, 128), mode="bilinear")
        torch.testing.assert_close(model(images), expected)


@pytest.fixture
def folder(tmp_path):
    """What save_pretrained leaves of a trained SegFormer."""
    torch.manual_seed(1)
    labels = {0: "sky", 1: "road", 2: "car"}
    settings = transformers.AutoConfig.for_model("segformer", id2label=labels, **SEGFORMER)
    net = transformers.SegformerForSemanticSegmentation(settings)
    net.save_pretrained(tmp_path)
    processor = {
        "image_processor_type": "SegformerImageProcessor", "do_resize": True, "do_rescale": True,
        "do_normalize": True, "size": {"height": 64, "width": 96},
        "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6],
        "rescale_factor": 0.00392156862745098,
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path, net.eval()


def test_a_saved_folder_brings_weights_names_and_processor(folder):
    path, net = folder
    model = load(str(path), classes=(), weights="pretrained:DEFAULT")
    assert model.classes == ("sky", "road", "car")
    assert model.preprocessing == Preprocessing(
        mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), size=(64, 96)
    )
    assert model.origin == str(path)
    for key, value in model.module.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key


def test_other_classes_in_the_manifest_need_a_word(folder):
    path, _ = folder
    with pytest.raises(InputError, match=r"know 3 classes \(sky, road, car"):
        load(str(path), classes=("a", "b", "c"), weights="pretrained:DEFAULT")
    model = load_model(
        ModelConfig(source="transformers", name=str(path), weights="pretrained:DEFAULT",
                    classes=("x", "y", "z")), ("a", "b"),
    )  # fmt: skip
    assert model.classes == ("x", "y", "z")
    same = load(str(path), classes=("Sky", "road", "CAR"), weights="pretrained:DEFAULT")
    assert same.classes == ("Sky", "road", "CAR")


def test_a_backbone_without_a_trained_head_is_refused(folder, tmp_path):
    _, net = folder
    backbone = tmp_path / "backbone"
    net.segformer.save_pretrained(backbone)
    with pytest.raises(InputError, match=r"no weights for \d+ tensors \(decode_head"):
        load(str(backbone), weights="pretrained:DEFAULT")


@pytest.mark.parametrize(
    ("name", "arguments", "weights", "words"),
    [
        ("segfromer", {}, None, "did you mean 'segformer'"),
        ("segformer", {}, "pretrained:/nowhere/at/all", "could not be loaded"),
        ("mask2former", {"feature_size": 17}, None, "could not be built"),
    ],
)
def test_refused(name, arguments, weights, words):
    with pytest.raises(InputError, match=words) as raised:
        load(name, arguments, weights=weights)
    assert "\n" not in str(raised.value)


def test_checkpoint_round_trip(tmp_path, folder):
    _, net = folder
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}},
               tmp_path / "net.pt")  # fmt: skip
    model = load("segformer", SEGFORMER, weights=str(tmp_path / "net.pt"))
    assert model.origin == "net.pt"
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in model.module.state_dict().items())
