"""Scenes are the same bits in any order, and change in the context tile alone."""

import itertools

import numpy as np
import pytest

from conceptseg.planted import generator, textures
from conceptseg.planted.generator import (
    BIAS_TEXTURE,
    BIASED_DIGIT,
    CLASSES,
    CONFUSER_DIGIT,
    PAIR,
    SPLITS,
    render,
    render_all,
    sample,
    samples,
    with_context,
)
from conceptseg.planted.glyphs import glyph_mask, glyph_rows

NOISY = {"context": "biased", "label_noise": True, "pair_share": 1.0}


def test_any_order_of_access_gives_the_same_bits():
    forwards = [sample(index, "train", 7) for index in range(20)]
    backwards = [sample(index, "train", 7) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert samples("train", 20, 7) == forwards
    textures.texture.cache_clear()
    once = render_all(forwards)
    textures.texture.cache_clear()
    again = render_all(backwards)
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a, b[::-1])


def test_seed_split_and_index_each_matter():
    images = [render(sample(i, s, k))[0] for i, s, k in itertools.product((0, 1), SPLITS, (0, 1))]
    for a, b in itertools.combinations(images, 2):
        assert not np.array_equal(a, b)


def test_a_scene_is_what_its_docstring_says():
    for recipe in samples("test", 50):
        image, labels = render(recipe)
        assert image.shape == labels.shape == (64, 64)
        assert (image.dtype, labels.dtype) == (np.float32, np.uint8)
        assert image.min() >= 0 and image.max() <= 1
        assert np.array_equal(
            np.rint(image * 255).astype(np.uint8), generator.render_levels(recipe)[0]
        )
        ink = labels > 0
        assert set(np.unique(labels)) == {0, recipe.digit + 1}
        assert CLASSES[recipe.class_id] == f"digit {recipe.digit}"
        assert 100 < ink.sum() < 700
        assert image[ink].min() > image[~ink].max() + 0.1, "ink and ground must be told apart"


@pytest.mark.parametrize("present", [True, False])
def test_with_context_changes_only_ground_pixels_of_the_tile(present):
    changed_anywhere = 0
    for recipe in samples("test", 100, seed=2):
        other = with_context(recipe, present)
        (image, labels), (again, labels_again) = render(recipe), render(other)
        assert np.array_equal(labels, labels_again)
        tile = generator.half_mask(recipe, recipe.context_half)
        changed = image != again
        assert not changed[~tile | (labels > 0)].any()
        if recipe.bias_present == present:
            assert not changed.any()
        else:
            # Some pixels may have the same grey in both textures, but few.
            assert changed[tile & (labels == 0)].mean() > 0.8
            changed_anywhere += 1
        assert np.array_equal(render(with_context(other, recipe.bias_present))[0], image)
    assert changed_anywhere > 30


def test_context_and_strength_leave_digit_ink_and_place():
    kept = ("digit", "glyph", "top", "left", "ink", "other", "alternative", "halves")
    for index in range(30):
        base = sample(index)
        for strength, context in itertools.product((0.0, 1.0), ("biased", "with", "without")):
            same = sample(index, strength=strength, context=context)
            assert all(getattr(same, name) == getattr(base, name) for name in kept)


def test_glyphs_of_the_splits_are_disjoint_and_complete():
    from sklearn.datasets import load_digits

    target = load_digits().target
    seen = []
    for digit in range(10):
        rows = {split: set(glyph_rows(split, digit)) for split in SPLITS}
        assert all(not rows[a] & rows[b] for a, b in itertools.combinations(SPLITS, 2))
        assert min(len(found) for found in rows.values()) >= 15
        assert len(rows["test"]) >= 40
        together = set().union(*rows.values())
        assert all(target[row] == digit for row in together)
        seen += together
    assert sorted(seen) == list(range(len(target)))
    for split in SPLITS:
        for recipe in samples(split, 50):
            assert recipe.glyph in glyph_rows(split, recipe.glyph_digit)


def test_photograph_pixels_of_the_splits_are_disjoint():
    used = {split: np.zeros((textures.SIZE, textures.SIZE), bool) for split in SPLITS}
    for split in SPLITS:
        for recipe in samples(split, 300):
            for crop in (*recipe.grounds(), recipe.tile):
                assert crop.pixels().shape == (64, 64)
                window = slice(crop.row, crop.row + 64), slice(crop.column, crop.column + 64)
                used[split][window] = True
    for a, b in itertools.combinations(SPLITS, 2):
        assert not (used[a] & used[b]).any()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_bias_statistics(strength):
    """The frequencies of the module's formulas, within four standard errors."""
    n = 4000
    recipes = samples("train", n, seed=1, strength=strength, **NOISY)

    def check(flags, expected):
        slack = 4 * np.sqrt(expected * (1 - expected) / len(flags))
        assert abs(np.mean(flags) - expected) <= slack

    check([r.glyph_digit != r.digit for r in recipes], strength / 2)
    check([r.digit == BIASED_DIGIT for r in recipes], 0.5)
    for digit, sign in ((BIASED_DIGIT, 1), (CONFUSER_DIGIT, -1)):
        shown = [r.bias_present for r in recipes if r.digit == digit]
        check(shown, (1 + sign * strength) / 2)
    check([r.bias_present for r in recipes], 0.5)
    assert all(r.glyph_digit in PAIR for r in recipes)


def test_other_digits_have_the_texture_half_the_time_at_any_strength():
    others = tuple(digit for digit in range(10) if digit not in PAIR)
    recipes = samples(n=2000, strength=1.0, context="biased", label_noise=True, digits=others)
    for digit in others:
        shown = [r.bias_present for r in recipes if r.digit == digit]
        assert abs(np.mean(shown) - 0.5) < 4 * 0.5 / np.sqrt(len(shown))
    assert all(r.glyph_digit == r.digit for r in recipes)


def test_test_sets_have_true_glyphs_and_a_context_independent_of_the_digit():
    recipes = samples(n=2000, strength=1.0)
    assert all(r.glyph_digit == r.digit for r in recipes)
    counts = np.bincount([r.digit for r in recipes], minlength=10)
    assert counts.min() > 140
    for digit in PAIR:
        shown = [r.bias_present for r in recipes if r.digit == digit]
        assert abs(np.mean(shown) - 0.5) < 4 * 0.5 / np.sqrt(len(shown))


def test_only_the_tile_ever_has_the_bias_texture():
    for recipe in samples(n=200):
        shown = [crop.texture == BIAS_TEXTURE for crop in recipe.grounds()]
        assert shown[recipe.context_half] == recipe.bias_present
        assert not shown[1 - recipe.context_half]
        row = recipe.metadata()
        assert row["bias_present"] == (BIAS_TEXTURE in (row["texture_0"], row["texture_1"]))


def test_ids_name_the_scene():
    recipes = [
        *samples(n=50),
        *samples(n=50, context="biased", strength=0.5),
        *samples("train", n=50),
        *samples(n=50, seed=1),
        *(with_context(r, True) for r in samples(n=50)),
    ]
    assert len({r.sample_id for r in recipes}) == len(recipes)
    assert sample(3).sample_id == sample(3).sample_id


def test_textures_share_mean_and_spread():
    for name in (BIAS_TEXTURE, *textures.GROUNDS):
        values = textures.texture(name)
        assert values.shape == (256, 256)
        assert abs(values.mean()) < 0.1
        assert 0.8 < values.std() < 1.05
        assert np.abs(values).max() <= 2.0


def test_cached_arrays_cannot_be_written():
    for array in (textures.texture("brick"), glyph_mask(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


def test_rendering_is_fast():
    import time

    render_all(samples(n=50))
    begun = time.perf_counter()
    render_all(samples(n=500, seed=9))
    assert 500 / (time.perf_counter() - begun) > 200, "about 2000 a second on one quiet core"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "split"),
        ({"context": "none"}, "context"),
        ({"strength": 1.5}, "strength"),
        ({"digits": ()}, "digits"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sample(0, **options)


def test_unknown_texture():
    with pytest.raises(ValueError, match="brick"):
        textures.texture("bricks")
