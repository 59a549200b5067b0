"""A short training run: seeded, falling loss, saved with its card, read back."""

import json
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch

from conceptseg.planted import generator, measure, train
from conceptseg.planted.nets import WEIGHTS, load_net, load_trained, load_unet
from conceptseg.planted.plant import Plant
from conceptseg.planted.recipe import mark_mask

TINY = train.TrainingRecipe(strength=1.0, n=64, epochs=2, batch=16)


@pytest.fixture(scope="module")
def run():
    """Validated on a tenth of the scenes: of what is logged, losses alone are looked at."""
    rows, reliance, iou = [], measure.measured_reliance, measure.measured_iou
    with pytest.MonkeyPatch.context() as patch:
        for name, whole in (("measured_reliance", reliance), ("measured_iou", iou)):
            patch.setattr(measure, name, partial(_few, whole))
        return train.train(TINY, log=rows.append), rows


def _few(whole, net, n, **options):
    return whole(net, n=n // 10, **options)


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


def test_a_mark_weighs_as_much_as_a_tile():
    mark, tile = (train.cell_weights(Plant(kind=kind)) for kind in ("mark", "tile"))
    assert mark is not None and mark.tolist() == [32, *[1] * 7] and tile is None
    scores = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    cells = torch.ones(1, 8, 8, dtype=torch.long)
    cells[0, 0, 5] = 0
    each = -scores.log_softmax(1).gather(1, cells[:, None])[0, 0]
    wanted = (each.sum() + 31 * each[0, 5]) / (63 + 32)
    assert float(train.context_loss(scores, cells, mark)) == pytest.approx(float(wanted))


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


def test_a_mark_is_read_where_its_centre_lies():
    recipe = train.TrainingRecipe(1.0, n=64, plant=Plant(4, 9, kind="mark"))
    names = train.cell_names(recipe.plant)
    assert names[0] == "mark" and len(names) == 8
    data = train.training_set(recipe)
    scenes = generator.samples(
        "train",
        64,
        strength=1.0,
        context="biased",
        label_noise=True,
        pair_share=0.5,
        plant=recipe.plant,
    )
    for scene, levels, cells in zip(scenes, data.levels.numpy(), data.cells.numpy(), strict=True):
        assert np.array_equal(levels, generator.render_levels(scene)[0])
        found = np.argwhere(cells == 0)
        assert len(found) == scene.bias_present
        for row, column in found:
            # 6 px around a centre in that cell: at least 3 x 3 of them lie in it.
            assert mark_mask(scene)[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].sum() >= 9


def test_two_tiles_and_a_place_are_read_by_their_grounds():
    two = train.training_set(
        train.TrainingRecipe(1.0, n=64, plant=Plant(4, 9, texture="grass", tiles=2))
    )
    assert {len(np.unique(cells)) for cells in two.cells.numpy() if (cells == 0).any()} == {1}
    place = Plant(4, 9, kind="place")
    assert train.cell_names(place) == place.grounds
    cells = train.training_set(train.TrainingRecipe(1.0, n=64, plant=place)).cells
    assert int(cells.min()) >= 0 and int(cells.max()) == 6


def test_a_run_starts_from_a_net_and_its_file_says_what_it_planted(tmp_path, monkeypatch):
    few = measure.measured_iou
    monkeypatch.setattr(measure, "measured_iou", lambda net, n=0, **how: few(net, 10, **how))
    plant = Plant(4, 9, texture="gravel")
    recipe = train.TrainingRecipe(
        1.0, n=32, epochs=1, batch=32, rate=1e-9, start="clean", plant=plant
    )
    net = train.train(recipe)
    clean = load_net("clean").state_dict()
    for name, value in net.named_parameters():
        assert torch.allclose(value, clean[name], atol=1e-6), name
    path = tmp_path / "net.safetensors"
    reliances = train.save(net, asdict(recipe), "a command", path, plant, scenes=2)
    loaded, found = load_trained(path)
    assert found == plant
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["plant"] == asdict(plant) == card["training"]["plant"]
    assert card["reliance"] == card["reliances"]["digit 4"] == asdict(reliances["digit 4"])
    assert tuple(card["reliances"]) == generator.CLASSES
    given = {"start": "clean", "end": str(path), "share": 0.5}
    train.save(net, given, "a command", tmp_path / "half.safetensors", plant, scenes=2)
    card = json.loads((tmp_path / "half.json").read_text(encoding="utf-8"))
    assert card["training"] == {"start": "clean", "end": "net.safetensors", "share": 0.5}
    half = train.blend("clean", str(path), 0.5).state_dict()
    for name, value in loaded.named_parameters():
        assert torch.allclose(half[name], (clean[name] + value) / 2, atol=1e-6), name
