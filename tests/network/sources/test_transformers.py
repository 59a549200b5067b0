import json

import pytest
import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model
from conceptseg.network.outputs import fold_queries
from conceptseg.network.record import Tail

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


@pytest.mark.parametrize(
    "arguments",
    [{"trust_remote_code": True}, {"code_revision": "x"}, {"use_safetensors": False},
     {"weights_only": False}, {"config": "x"}, {"quantization_config": {}}],
)  # fmt: skip
def test_code_beside_weights_is_not_run(folder, tmp_path, arguments):
    """Whatever a loader is asked for, and whatever the folder's own configuration names."""
    path, _ = folder
    settings = json.loads((path / "config.json").read_text())
    settings["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForSemanticSegmentation": "evil.M"}
    settings |= arguments
    (path / "config.json").write_text(json.dumps(settings))
    (path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    with pytest.raises((InputError, ValueError), match=f"{next(iter(arguments))}"):
        load(str(path), arguments, weights="pretrained:DEFAULT", classes=())
    assert load(str(path), weights="pretrained:DEFAULT", classes=()).classes[0] == "sky"
    assert not (tmp_path / "ran").exists()


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
        ("segformer", {"dephts": [1]}, None, "has no field 'dephts'; did you mean 'depths'"),
        ("segformer", {"auto_map": {"AutoConfig": "evil.C"}}, None, "has no field 'auto_map'"),
        ("segformer", {"_commit_hash": "x"}, None, "has no field '_commit_hash'"),
        ("segformer", {"from_dict": 1}, None, "has no field 'from_dict'"),
        ("segformer", {"attn_implementation": "owner/kernel"}, None, "code of the hub"),
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


SWINS = {
    "mask2former": MASK2FORMER,
    "maskformer": {
        "fpn_feature_size": 32, "mask_feature_size": 32, "backbone_config": SWIN,
        "decoder_config": {
            "model_type": "detr", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "num_queries": 7,
        },
    },
    "upernet": {**UPERNET, "backbone_config": SWIN},
    "oneformer": {
        "backbone_config": SWIN, "hidden_dim": 32, "conv_dim": 32, "mask_dim": 32,
        "encoder_feedforward_dim": 32, "dim_feedforward": 32, "encoder_layers": 2,
        "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 6, "query_dec_layers": 1,
        "text_encoder_width": 32, "text_encoder_num_layers": 1, "text_encoder_proj_layers": 1,
        "text_encoder_n_ctx": 4, "task_seq_len": 7,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SWINS)
def test_a_swin_s_recommended_layer_acts(name):
    model = load(name, SWINS[name])
    images = torch.rand(1, 3, 64, 96)
    layer = model.layer_name("auto", images)
    assert layer.endswith("encoder.layers.3"), "its last stage, whatever it returns twice"
    tail = Tail.of(model, images, layer, graph=True)
    assert tail.gradient(lambda logits: logits[:, 0].flatten(1).sum(1)).abs().max() > 0
    with torch.no_grad():
        assert not torch.equal(tail.resume(torch.zeros_like(tail.activation)), tail.logits)


def test_oneformer_is_called_with_its_task():
    ids = [5, 3, 1, 0, 0, 0, 0]
    model = load("oneformer", {**SWINS["oneformer"], "task_inputs": ids})
    other = load("oneformer", SWINS["oneformer"])
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        own = model.module(pixel_values=images, task_inputs=torch.tensor([ids, ids]))
        called = model.module(images)
        assert torch.equal(called.class_queries_logits, own.class_queries_logits)
        assert not torch.equal(model(images), other(images))
    assert "task_inputs" not in model.module.state_dict()
    assert model.fingerprint() != other.fingerprint()


class Processor:
    """As of a folder with a processor: ids of a text, padded with zeros."""

    task_seq_length = 7

    def _preprocess_text(self, texts, length):
        return torch.tensor([[len(word) for word in texts[0].split()] + [0] * (length - 4)])


def test_a_folder_of_oneformer_tells_it_the_task(tmp_path, monkeypatch):
    load("oneformer", SWINS["oneformer"]).module.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has no processor that tells OneFormer its task"):
        load(str(tmp_path), weights="pretrained:DEFAULT")
    maker = transformers.OneFormerProcessor
    monkeypatch.setattr(maker, "from_pretrained", lambda source: Processor())
    model = load(str(tmp_path), {"task": "panoptic"}, weights="pretrained:DEFAULT")
    assert model.module.task_inputs.tolist() == [[3, 4, 2, 8, 0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "weights", "words"),
    [
        ({"task": "sematic"}, None, "'sematic' is none of semantic"),
        ({"is_training": True}, None, "leave the key out"),
        ({"task_inputs": [1, 2]}, None, r"by 7 token ids .*got 2"),
        ({}, "net.pt", "a checkpoint does not hold"),
    ],
)
def test_oneformer_refused(arguments, weights, words):
    with pytest.raises(InputError, match=words):
        load("oneformer", {**SWINS["oneformer"], **arguments}, weights=weights)


def test_a_network_of_more_than_images_is_refused():
    small = {
        "image_size": 64, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_queries": 5, "num_blocks": 2, "num_upscale_blocks": 1,
    }  # fmt: skip
    if "videomt" not in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        pytest.skip("this release has no network of videos")
    with pytest.raises(InputError, match="takes pixel_values_videos; wrap it"):
        load("videomt", small)


def test_names_that_come_with_detr(tmp_path):
    """COCO's numbering has gaps, all named alike; the masks hold some of the classes."""
    settings = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, use_pretrained_backbone=False,
        backbone_config=transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1],
            out_features=STAGES,
        ),
        d_model=64, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        num_queries=6, id2label=dict(enumerate(["N/A", "dog", "N/A", "tree"])), label2id={},
    )  # fmt: skip
    transformers.DetrForSegmentation(settings).save_pretrained(tmp_path)
    model = load(str(tmp_path), classes=("Tree", "dog"), weights="pretrained:DEFAULT")
    assert model.classes == ("N/A (0)", "dog", "N/A (2)", "tree")
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        own = model.module(images)
        folded = fold_queries(own.logits, own.pred_masks)
        expected = nn.functional.interpolate(folded, (64, 96), mode="bilinear")
        torch.testing.assert_close(model(images), expected)
    with pytest.raises(InputError, match=r"know 4 classes.*the manifest has 2"):
        load(str(tmp_path), classes=("tree", "cat"), weights="pretrained:DEFAULT")
