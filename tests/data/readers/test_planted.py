import numpy as np
import pytest

from conceptseg.data.manifest import check_files, load_manifest
from conceptseg.data.reads import Reads, recording
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from conceptseg.planted import exact, generator
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
