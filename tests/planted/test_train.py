"""A short training run: seeded, falling loss, saved with its card, read back."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from conceptseg.planted import generator, train
from conceptseg.planted.nets import WEIGHTS, load_net, load_unet

TINY = train.TrainingRecipe(strength=1.0, n=64, epochs=2, batch=16)


@pytest.fixture(scope="module")
def run():
    rows = []
    return train.train(TINY, log=rows.append), rows


def test_the_loss_falls(run):
    _, rows = run
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert rows[1]["context_loss"] < rows[0]["context_loss"]


def test_the_net_is_left_in_order(run):
    net, _ = run
    assert not net.training
    assert not net.bottleneck._forward_hooks
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


@pytest.mark.slow
def test_same_seed_same_weights(run):
    net, _ = run
    again = train.train(TINY)
    for name, value in net.state_dict().items():
        assert torch.allclose(value.float(), again.state_dict()[name].float(), atol=1e-5), name


@pytest.mark.slow
def test_save_and_load(run, tmp_path):
    net, _ = run
    path = tmp_path / "deep" / "tiny.safetensors"
    train.save(net, asdict(TINY), "a command", path)
    loaded = load_unet(path)
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(net(image), loaded(image), atol=1e-5)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["command"] == "a command"
    assert card["training"]["strength"] == 1.0


def test_training_set_says_where_each_texture_lies():
    data = train.training_set(TINY)
    scenes = generator.samples(
        "train", TINY.n, strength=1.0, context="biased", label_noise=True, pair_share=0.5
    )
    for row in range(30):
        scene = scenes[row]
        assert np.array_equal(data.levels[row], generator.render_levels(scene)[0])
        brick = data.cells[row].numpy() == train.GROUND_NAMES.index("brick")
        assert scene.bias_present == brick.any()
        if scene.bias_present:
            tile = generator.half_mask(scene, scene.context_half)
            assert np.array_equal(brick.repeat(8, 0).repeat(8, 1), tile)


def test_auxiliary_loss_by_hand():
    scores = torch.zeros(2, len(train.GROUND_NAMES), 8, 8)
    cells = torch.zeros(2, 8, 8, dtype=torch.long)
    assert float(train.context_loss(scores, cells)) == pytest.approx(
        np.log(len(train.GROUND_NAMES))
    )


def test_a_blend_is_on_the_line_between_two_nets():
    clean, biased = load_net("clean").state_dict(), load_net("biased").state_dict()
    for name, value in train.blend("clean", "biased", 0.25).state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, 0.75 * clean[name] + 0.25 * biased[name], atol=1e-6), name


def test_the_shipped_weak_net_is_the_blend_that_its_card_names():
    card = json.loads((WEIGHTS / "weak.json").read_text(encoding="utf-8"))["training"]
    blend = train.blend(card["start"], card["end"], card["share"]).state_dict()
    for name, value in load_net("weak").state_dict().items():
        assert torch.equal(value, blend[name]), name
