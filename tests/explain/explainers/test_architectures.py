"""The CAM family on networks and layers of the libraries that people use."""

import pytest
import torch

from conceptseg.catalogue import load
from conceptseg.config import ModelConfig
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import load_model

pytestmark = pytest.mark.slow

METHODS = [
    ("grad_pam", {"pixels": 3}),
    ("grad_pam", {"agg": "grad"}),
    ("improved_grad_cam", {"threshold": 0.2}),
    ("seg_eigen_cam", {}),
    ("seg_eigen_cam", {"weighting": "gradient"}),
    ("seg_eigen_cam", {"weighting": "absolute", "sign": "absmax"}),
    ("seg_grad_cam", {}),
    ("seg_grad_cam_plus_plus", {}),
    ("seg_hires_grad_cam", {}),
    ("seg_xgrad_cam", {}),
    ("seg_xres_cam", {}),
    ("seg_xres_cam", {"pool": "max", "window": 3}),
]
SEGFORMER = {
    "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 48,
}  # fmt: skip
NETWORKS = {
    "deeplabv3_resnet50": ("torchvision", {}),
    "lraspp_mobilenet_v3_large": ("torchvision", {}),
    "segformer": ("transformers", SEGFORMER),
}
LAYERS = [
    ("deeplabv3_resnet50", "auto"),
    ("deeplabv3_resnet50", "backbone.layer3.0.conv2"),
    ("deeplabv3_resnet50", "classifier.2"),
    ("lraspp_mobilenet_v3_large", "auto"),
    ("lraspp_mobilenet_v3_large", "backbone.4"),
    ("segformer", "auto"),
    ("segformer", "segformer.stages.1"),
]


@pytest.fixture(scope="module", params=LAYERS, ids=".".join)
def scene_and_layer(request):
    """A batch of two under a network of random weights, and a layer of it."""
    name, layer = request.param
    source, arguments = NETWORKS[name]
    pytest.importorskip(source)
    torch.manual_seed(0)
    config = ModelConfig(source=source, name=name, arguments=arguments)
    model = load_model(config, ("a", "b", "c", "d"))
    return Scene(model, torch.rand(2, 3, 64, 96)), layer


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_maps_are_finite_and_not_zero(scene_and_layer, name, options):
    scene, layer = scene_and_layer
    explainer = load("explainers", name)(layer=layer, relu=False, **options)
    signed = explainer.on(scene, [Target(c, Everything()) for c in range(4)])
    assert signed.shape == (4, 2, 64, 96)
    assert signed.isfinite().all()
    assert (signed.abs().amax((2, 3)) > 0).any(0).all()
    assert signed[:, 0].ne(signed[:, 1]).any()


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_a_batch_is_its_images(scene_and_layer, name, options):
    scene, layer = scene_and_layer
    explainer = load("explainers", name)(layer=layer, relu=False, **options)
    target = Target(int(scene.logits[1].mean((1, 2)).argmax()), Everything())
    both = explainer.on(scene, [target])[0]
    alone = explainer(scene.model, scene.images[1:], target)[0]
    assert both[1].abs().max() > 0
    assert torch.allclose(both[1], alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))
