import pytest
import torch

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError
from conceptseg.network.model import load_model

CLASSES = ("a", "b", "c", "d")


def load(name: str, classes=CLASSES, **options):
    torch.manual_seed(0)
    return load_model(ModelConfig(source="torchvision", name=name, **options), classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("deeplabv3_resnet50", "backbone.layer4", (2048, 8, 12)),
        ("fcn_resnet50", "backbone.layer4", (2048, 8, 12)),
        ("lraspp_mobilenet_v3_large", "backbone.16", (960, 4, 6)),
        ("deeplabv3_mobilenet_v3_large", "backbone.16", (960, 4, 6)),
    ],
)
def test_runs_and_finds_its_bottleneck(name, layer, shape):
    model = load(name, values="logits")  # random ones may lie within 0 and 1
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        logits = model(images)
    assert logits.shape == (1, 4, 64, 96)
    marked = [info for info in model.layers(images) if info.recommended]
    assert [(info.name, info.shape) for info in marked] == [(layer, shape)]


def test_logits_are_torchvisions():
    model = load("lraspp_mobilenet_v3_large", preprocessing=Preprocessing(mean=(0.4,), std=(0.2,)))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.module((images - 0.4) / 0.2)["out"])
    assert (model.channels, model.origin) == (3, "random")


def test_pretrained_brings_normalisation_and_names(monkeypatch):
    import torchvision

    enum = torchvision.models.get_model_weights("lraspp_mobilenet_v3_large")
    trained = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **_: trained.state_dict())
    model = load("lraspp_mobilenet_v3_large", classes=(), weights="pretrained:DEFAULT")
    assert model.classes[:3] == ("__background__", "aeroplane", "bicycle")
    assert len(model.classes) == 21
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)
    assert model.preprocessing.std == (0.229, 0.224, 0.225)
    assert "COCO_WITH_VOC_LABELS_V1" in model.origin
    same = {
        k: torch.equal(v, trained.state_dict()[k]) for k, v in model.module.state_dict().items()
    }
    assert all(same.values())


def test_a_manifest_of_other_classes_is_refused_with_pretrained_weights():
    with pytest.raises(InputError, match=r"know 21 classes.*the manifest has 4.*model.classes"):
        load("lraspp_mobilenet_v3_large", weights="pretrained:DEFAULT")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("deeplabv3_resnet5", {}, "did you mean 'deeplabv3_resnet50'"),
        ("fcn_resnet50", {"weights": "pretrained:DEFUALT"}, "did you mean 'DEFAULT'"),
        ("fcn_resnet50", {"weights": "pretrained:"}, "such as DEFAULT"),
        ("fcn_resnet50", {"weights": "gone.pth"}, "gone.pth: no such checkpoint"),
        ("fcn_resnet50", {"arguments": {"aux_loss": 1, "nonsense": 2}}, "nonsense"),
        ("fcn_resnet50", {"arguments": {"weights": "DEFAULT"}}, "weights go to model.weights"),
    ],
)
def test_refused(name, options, words):
    with pytest.raises(InputError, match=words) as raised:
        load(name, **options)
    assert "\n" not in str(raised.value)


SMALL = {"min_size": 64, "max_size": 128, "box_detections_per_img": 10}


@pytest.mark.slow
def test_mask_r_cnn_is_seen_as_a_semantic_network():
    from conceptseg.network.instances import fold_instances
    from conceptseg.network.record import Tail

    model = load("maskrcnn_resnet50_fpn", classes=("background", "a", "b"), arguments=SMALL)
    images = torch.rand(2, 3, 64, 96)
    layer = model.layer_name("auto", images)
    assert layer == "backbone.body.layer4"
    with torch.no_grad():
        torch.testing.assert_close(model(images), fold_instances(model.module(list(images)), 3))
    tail = Tail.of(model, images, layer, graph=True)
    assert tail.gradient(lambda logits: logits[:, 0].flatten(1).sum(1)).abs().max() > 0
    # What is kept of each image lies in objects that cannot be repeated: one variant at a time.
    erased = torch.zeros_like(tail.activation)
    variants = torch.stack([tail.activation.detach(), erased], 1).flatten(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(tail.resume(variants)[::2], tail.logits)
        torch.testing.assert_close(tail.resume(variants)[1::2], tail.resume(erased))
    assert not torch.equal(tail.resume(erased), tail.logits)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fasterrcnn_resnet50_fpn", {}, "finds boxes or keypoints and no masks.*maskrcnn_resnet50"),
        ("maskrcnn_resnet50_fpm", {}, "did you mean 'maskrcnn_resnet50_fpn'"),
        ("maskrcnn_resnet50_fpn", {"min_sise": 3}, "did you mean 'min_size'"),
    ],
)
def test_detectors_refused(name, arguments, words):
    with pytest.raises(InputError, match=words):
        load(name, arguments=arguments)


def test_an_auxiliary_head_in_a_checkpoint_is_named_and_left(tmp_path):
    whole = load("lraspp_mobilenet_v3_large").module.state_dict()
    torch.save(whole | {"aux_classifier.0.weight": torch.zeros(2)}, tmp_path / "net.pth")
    model = load("lraspp_mobilenet_v3_large", weights=str(tmp_path / "net.pth"))
    assert model.origin == "net.pth; left out of the checkpoint: aux_classifier.0.weight"
    assert torch.equal(model.module.state_dict()["classifier.low_classifier.weight"],
                       whole["classifier.low_classifier.weight"])  # fmt: skip
