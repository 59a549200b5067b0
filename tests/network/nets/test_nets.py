"""The three networks rebuilt from a description give the published networks' own logits."""

import numpy as np
import pytest
import torch

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.network.model import load_model

CGNET = Preprocessing(range=(0, 255), mean=(105.65772519, 103.32976184, 99.62539586))
ESPNETV2 = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
ESPNET = Preprocessing(
    channels=[2, 1, 0],
    range=(0, 255),
    mean=(110.33102643, 108.40886315, 105.03319369),
    std=(255 * 72.12571015, 255 * 72.69074534, 255 * 69.90434816),
)


@pytest.mark.parametrize(
    ("name", "folder", "preprocessing", "classes"),
    [
        ("tests.network.nets.cgnet:CGNet", "cgnet_camvid", CGNET, 11),
        ("tests.network.nets.espnetv2:ESPNetv2", "espnetv2_voc", ESPNETV2, 21),
        ("tests.network.nets.espnet:ESPNet", "espnet_camvid", ESPNET, 12),
    ],
)
def test_reference_logits(shared_dir, name, folder, preprocessing, classes):
    path = shared_dir / "models" / folder
    config = ModelConfig(
        source="factory", name=name, weights=str(path / "weights.pth"), preprocessing=preprocessing
    )
    model = load_model(config, [f"class {index}" for index in range(classes)])
    with np.load(path / "reference.npz", allow_pickle=False) as file:
        reference = dict(file)
    image = torch.from_numpy(reference["image_rgb_uint8"]).permute(2, 0, 1)[None] / 255
    model.settle(image)
    seen = []
    model.module.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    with torch.no_grad():
        logits = model(image)[0]
    np.testing.assert_allclose(seen[0].numpy(), reference["input"], atol=1e-4)
    np.testing.assert_allclose(logits[:, ::4, ::4].numpy(), reference["logits_stride4"], atol=1e-3)
    assert (logits.argmax(0).numpy() == reference["argmax"]).mean() > 0.9999


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("tests.network.nets.cgnet:CGNet", "bn_prelu_3", (256, 6, 8)),
        ("tests.network.nets.espnetv2:ESPNetv2", "base_net.level4.6", (512, 3, 4)),
    ],
)
def test_bottleneck(name, layer, shape):
    classes = 11 if "CGNet" in name else 21
    model = load_model(ModelConfig(source="factory", name=name), [str(i) for i in range(classes)])
    images = torch.rand(1, 3, 48, 64)
    marked = [(i.name, i.shape) for i in model.layers(images) if i.recommended]
    assert marked == [(layer, shape)]
