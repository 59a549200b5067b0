"""Relevance is conserved on trained networks of real use, on their own reference image."""

import copy

import numpy as np
import pytest
import torch

from conceptseg.config import ModelConfig
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.model import load_model
from tests.network.nets.test_nets import CGNET, ESPNET, ESPNETV2

NETWORKS = [
    ("tests.network.nets.cgnet:CGNet", "cgnet_camvid", CGNET, 11),
    ("tests.network.nets.espnetv2:ESPNetv2", "espnetv2_voc", ESPNETV2, 21),
    ("tests.network.nets.espnet:ESPNet", "espnet_camvid", ESPNET, 12),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda one: one[1])
def network(request, shared_dir):
    name, folder, preprocessing, classes = request.param
    path = shared_dir / "models" / folder
    config = ModelConfig(
        source="factory", name=name, weights=str(path / "weights.pth"), preprocessing=preprocessing
    )
    model = load_model(config, [f"class {index}" for index in range(classes)]).double()
    reference = np.load(path / "reference.npz", allow_pickle=False)
    image = torch.from_numpy(reference["image_rgb_uint8"])[::4, ::4].permute(2, 0, 1)[None] / 255
    height, width = (side // 16 * 16 for side in image.shape[2:])
    return model, image[:, :, :height, :width].double()


def without_biases(model):
    other = copy.deepcopy(model)
    for module in other.modules():
        if getattr(module, "bias", None) is not None:
            module.bias.data.zero_()
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.zero_()
    return other


def told(model, image, composite):
    run = Engine(model, image, composite).run(image)
    prediction = run.logits.detach().argmax(1)
    class_id = int(prediction.flatten().bincount().argmax())
    start = relevance_of_logits(run.logits, prediction == class_id, class_id)
    return run.retained(start)


@pytest.mark.parametrize("composite", ["gamma", "epsilon"])
def test_without_biases_trained_networks_keep_all(network, composite):
    model, image = network
    assert told(without_biases(model), image, composite).share == pytest.approx(1, abs=0.01)


def test_z_plus_makes_nothing_and_loses_where_nothing_is_positive(network):
    """Depthwise convolutions of both signs often have no positive part at all."""
    model, image = network
    assert 0.85 < told(without_biases(model), image, "epsilon_plus").share <= 1
    found = told(model, image, "epsilon_plus")
    assert 0.2 < found.share <= 1
    assert found.growth <= 3 and found.inner_growth <= 3 and found.silent == (0, 0)
    # The epsilon rule conserves the sum, and magnifies what cancels.
    assert told(model, image, "epsilon").inner_growth > 3
