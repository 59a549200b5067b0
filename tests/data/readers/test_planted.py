import numpy as np
import pytest

from conceptseg.data.manifest import check_files, load_manifest
from conceptseg.data.reads import Reads, recording
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from conceptseg.planted import exact, generator
from conceptseg.planted.plant import Plant
from tests.files import manifest


def test_samples_are_the_generator_s(tmp_path):
    found = manifest(tmp_path, format="planted", n=6, seed=3, strength=0.5, pair_share=0.0)
    recipes = generator.samples("test", 6, 3, strength=0.5, context="biased")
    assert [sample.id for sample in found.samples] == [recipe.sample_id for recipe in recipes]
    for sample, recipe in zip(found.samples, recipes, strict=True):
        image, labels = generator.render(recipe)
        assert np.array_equal(found.image(sample), image[None])
        assert found.image(sample).dtype == np.float32
        assert np.array_equal(found.labels(sample), labels)
        assert found.labels(sample).dtype == np.int64
        assert sample.group == sample.id and sample.split == "test"
        assert sample.metadata["digit"] == recipe.digit
        assert sample.metadata["bias_present"] == str(recipe.bias_present)
    assert found.classes == generator.CLASSES and found.background == "background"
    assert found.channels == 1
    assert check_files(found) == []


def test_exact_scenes(tmp_path):
    found = manifest(tmp_path, format="planted", scenes="exact", n=4)
    recipes = exact.exact_samples(n=4)
    for sample, recipe in zip(found.samples, recipes, strict=True):
        assert np.array_equal(found.image(sample)[0], generator.render(recipe)[0])
    with pytest.raises(InputError, match="scenes: exact has no key 'strength'"):
        manifest(tmp_path, format="planted", scenes="exact", strength=0.5)
    with pytest.raises(InputError, match=r"digits: 0 is not among \[3, 9\]"):
        manifest(tmp_path, format="planted", scenes="exact", digits=[0])


def test_the_rows_are_recipes_and_what_is_drawn_is_hashed(tmp_path, monkeypatch):
    keys = {"format": "planted", "n": 3}
    first = rows_digest(manifest(tmp_path, **keys))
    assert rows_digest(manifest(tmp_path, **keys)) == first
    assert rows_digest(manifest(tmp_path, **keys, seed=1)) != first
    assert rows_digest(manifest(tmp_path, **keys, strength=0.5)) != first
    found = manifest(tmp_path, **keys)
    before = read(found)
    assert read(found) == before and len({*before["image"].values()}) == 3
    monkeypatch.setattr(generator, "GROUND_MEAN", 0.3)
    after = read(found)
    assert after["labels"] == before["labels"]
    assert not {*after["image"].values()} & {*before["image"].values()}


def read(manifest):
    with recording(reads := Reads()):
        for sample in manifest.samples:
            manifest.pair(sample)
    return reads.digests


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"strenth": 1}, "unknown key 'strenth'; did you mean 'strength'"),
        ({"strength": 2}, "strength is 2"),
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"context": "bias"}, "context is 'bias': expected 'balanced', 'biased'"),
        ({"digits": [10]}, r"digits: 10 is not among"),
        ({"root": "."}, "unknown key 'root'"),
    ],
)
def test_bad_keys(tmp_path, keys, says):
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, format="planted", **keys)


def test_a_root_makes_no_sense(tmp_path):
    with pytest.raises(InputError, match="planted images are drawn, not read"):
        load_manifest("builtin:planted", tmp_path)


def test_the_context_is_the_tile_where_it_carries_the_bias_texture():
    manifest = load_manifest("builtin:planted")
    for sample in manifest.samples[:20]:
        known = manifest.context(sample)
        if not sample.payload.bias_present:
            assert known is None
        else:
            other = generator.with_context(sample.payload, False)
            changed = (manifest.image(sample) != generator.render(other)[0][None])[0]
            assert known.shape == (64, 64) and (known | ~changed).all() and changed.any()


PLANTS = [
    ({"pair": [4, 9], "texture": "gravel"}, Plant(4, 9, texture="gravel")),
    ({"texture": "hatch", "tiles": 2}, Plant(texture="hatch", tiles=2)),
    ({"pair": [0, 6], "kind": "mark"}, Plant(0, 6, kind="mark")),
    ({"pair": [8, 1], "kind": "place"}, Plant(8, 1, kind="place")),
]


@pytest.mark.parametrize(("keys", "plant"), PLANTS, ids=lambda value: getattr(value, "name", ""))
def test_another_plant(tmp_path, keys, plant):
    found = manifest(tmp_path, format="planted", n=12, **keys)
    recipes = generator.samples(
        "test", 12, strength=0.9, context="biased", pair_share=0.4, plant=plant
    )
    assert [sample.id for sample in found.samples] == [recipe.sample_id for recipe in recipes]
    default = manifest(tmp_path, format="planted", n=12)
    assert not {sample.id for sample in default.samples} & {sample.id for sample in found.samples}
    for sample, recipe in zip(found.samples, recipes, strict=True):
        assert np.array_equal(found.image(sample)[0], generator.render(recipe)[0])
        assert plant.name in sample.id
        known = found.context(sample)
        if not recipe.bias_present or plant.kind == "place":
            assert known is None
            continue
        away = generator.render(generator.with_context(recipe, False))[0]
        differs = generator.render(recipe)[0] != away
        assert not differs[~known].any() and differs[known].mean() > 0.8
        ground = int((~generator.ink_mask(recipe)).sum())
        assert known.sum() == (36 if plant.kind == "mark" else {1: 2048, 2: ground}[plant.tiles])


def test_the_rows_tell_plants_apart(tmp_path):
    digests = {rows_digest(manifest(tmp_path, format="planted", n=3, **keys)) for keys, _ in PLANTS}
    assert len(digests) == len(PLANTS)
    plain = manifest(tmp_path, format="planted", n=3)
    spelt = {"pair": [3, 9], "kind": "tile", "texture": "brick", "tiles": 1}
    assert rows_digest(manifest(tmp_path, format="planted", n=3, **spelt)) == rows_digest(plain)
    assert rows_digest(plain) not in digests
    assert [plain.source.stamp(one) for one in plain.samples] == [
        repr(one.payload) for one in plain.samples
    ]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"pair": [3, 3]}, "pair: 3 is given twice"),
        ({"pair": [3, 10]}, "pair: 10 is no digit"),
        ({"pair": [3]}, "pair"),
        ({"pair": [3, 4.5]}, "pair"),
        ({"pair": [3, True]}, "pair"),
        ({"kind": "colour"}, "kind is 'colour': expected 'tile', 'mark' or 'place'"),
        ({"texture": "bricks"}, "texture: unknown 'bricks'; known: brick"),
        ({"tiles": 3}, "tiles: 3 is neither 1 nor 2"),
        ({"tiles": "2"}, "tiles"),
        ({"kind": "mark", "texture": "brick"}, "a mark has no texture and no tiles"),
        ({"kind": "place", "tiles": 1}, "a place has no texture and no tiles"),
        ({"scenes": "exact", "pair": [3, 9]}, "scenes: exact has no key 'pair'"),
        ({"scenes": "exact", "kind": "tile"}, "scenes: exact has no key 'kind'"),
        ({"scenes": "exact", "texture": "brick"}, "scenes: exact has no key 'texture'"),
        ({"scenes": "exact", "tiles": 1}, "scenes: exact has no key 'tiles'"),
    ],
)
def test_bad_plants(tmp_path, keys, says):
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, format="planted", **keys)
