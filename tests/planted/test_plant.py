"""Every sort of plant: default scenes as they were, one thing changes, probabilities, headers."""

import dataclasses
import hashlib
import itertools
import json

import numpy as np
import pytest

from conceptseg.planted import exact, textures
from conceptseg.planted.generator import half_mask, render, render_levels, sample, samples
from conceptseg.planted.generator import with_context as redrawn
from conceptseg.planted.plant import DEFAULT, KINDS, Plant, from_header, plant_of, to_header
from conceptseg.planted.recipe import MARK_PATTERN, context_mask, ink_mask, mark_mask

GRAVEL = Plant(4, 9, texture="gravel")
TWO = Plant(0, 6, texture="hatch", tiles=2)
MARK = Plant(5, 2, kind="mark")
PLACE = Plant(8, 1, kind="place")
PLANTS = [GRAVEL, TWO, MARK, PLACE]
named = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)


def digest(recipes):
    """Of ids, representations, metadata, levels and labels."""
    state = hashlib.sha256()
    for recipe in recipes:
        for text in (recipe.sample_id, repr(recipe), repr(recipe.metadata())):
            state.update(text.encode())
        for pixels in render_levels(recipe):
            state.update(pixels.tobytes())
    return state.hexdigest()[:16]


@pytest.mark.parametrize(
    ("recipes", "before"),
    [
        (lambda: samples("test", 60, 0), "b008f37d118e3b13"),
        (
            lambda: samples(
                "train",
                60,
                7,
                strength=0.8,
                context="biased",
                label_noise=True,
                pair_share=0.5,
                plant=Plant(),
            ),
            "3a15d4fa9342bf5f",
        ),
        (lambda: samples("val", 60, 2, context="with", digits=(3, 9)), "b70407f705ca486e"),
        (lambda: exact.exact_samples("test", 60, 1), "826d7bb5d884c215"),
    ],
    ids=["test", "train", "val", "exact"],
)
def test_default_scenes_are_those_of_the_shipped_nets_to_the_byte(recipes, before):
    assert digest(recipes()) == before


def changed(recipe):
    """Which pixels the context changes, and both label maps."""
    (there, labels), (away, labels_away) = (render(redrawn(recipe, on)) for on in (True, False))
    return there != away, labels, labels_away


@pytest.mark.parametrize("plant", [DEFAULT, GRAVEL, TWO, MARK], ids=lambda plant: plant.name)
def test_a_context_changes_its_own_pixels_and_nothing_else(plant):
    for recipe in samples(n=60, seed=4, plant=plant):
        pixels, labels, labels_away = changed(recipe)
        assert np.array_equal(labels, labels_away)
        allowed = context_mask(recipe)
        assert not allowed[ink_mask(recipe)].any(), "the context is never where the digit is"
        assert not pixels[~allowed].any()
        assert pixels[allowed].mean() > 0.8  # few pixels have the same grey in both
        back = redrawn(redrawn(recipe, not recipe.bias_present), recipe.bias_present)
        assert np.array_equal(render(back)[0], render(recipe)[0])


def test_two_tiles_carry_the_texture_in_both_halves_or_in_none():
    for recipe in samples(n=60, plant=TWO):
        shown = [crop.texture == "hatch" for crop in recipe.grounds()]
        assert shown == [recipe.bias_present] * 2
        one = Plant(0, 6, texture="hatch")
        alike = redrawn(sample(recipe.index, plant=one), True).grounds()
        tile = recipe.context_half
        assert redrawn(recipe, True).grounds()[tile] == alike[tile]


def test_a_mark_is_near_the_border_and_away_from_the_digit():
    corners = set()
    for recipe in samples(n=200, plant=MARK):
        top, left = recipe.mark
        corners.add(recipe.mark)
        assert min(top, left, 64 - 6 - top, 64 - 6 - left) == 2
        assert mark_mask(recipe).sum() == 36
        assert not (mark_mask(recipe) & ~half_mask(recipe, recipe.context_half)).any()
        levels, labels = render_levels(redrawn(recipe, True))
        square = levels[top : top + 6, left : left + 6]
        assert (square[MARK_PATTERN] == 158).all() and (square[~MARK_PATTERN] == 13).all()
        assert levels[labels > 0].min() > 158, "the ink is brighter than the mark"
        assert not np.isin(levels[~mark_mask(recipe) & (labels == 0)], (158, 13)).any()
    assert len(corners) > 100, "it is not always at one place"


def test_a_place_moves_the_digit_and_leaves_the_ground():
    for recipe in samples(n=60, plant=PLACE):
        assert context_mask(recipe) is None
        above, below = (redrawn(recipe, on) for on in (True, False))
        assert (above.top, below.top) == (0, 32)
        assert recipe.top == (0 if recipe.bias_present else 32)
        assert dataclasses.replace(below, top=0, bias_present=True, context="with") == above
        first, second = ink_mask(above), ink_mask(below)
        assert np.array_equal(first[:32], second[32:]) and not first[32:].any()
        pixels, labels, labels_away = changed(recipe)
        assert not pixels[~(first | second)].any() and pixels[first | second].all()
        assert np.array_equal(labels[:32], labels_away[32:]) and not labels_away[:32].any()


@named
@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_probabilities_are_the_documented_ones(plant, strength):
    """Each frequency within three standard errors: some 0.3 % of draws would fail, these do not."""
    drawn = samples(
        "train",
        3000,
        seed=11,
        strength=strength,
        context="biased",
        label_noise=True,
        pair_share=0.6,
        plant=plant,
    )

    def check(flags, expected):
        assert len(flags) > 100
        slack = 3 * np.sqrt(expected * (1 - expected) / len(flags))
        assert abs(np.mean(flags) - expected) <= slack, (np.mean(flags), expected)

    pair = [r for r in drawn if r.digit in plant.pair]
    check([r.digit in plant.pair for r in drawn], 0.6 + 0.4 * 0.2)
    check([r.glyph_digit != r.digit for r in pair], strength / 2)
    assert all(r.glyph_digit == r.digit for r in drawn if r.digit not in plant.pair)
    for digit, expected in ((plant.biased, 1 + strength), (plant.confuser, 1 - strength)):
        check([r.bias_present for r in pair if r.digit == digit], expected / 2)
    check([r.bias_present for r in drawn if r.digit not in plant.pair], 0.5)
    for context, always in (("with", True), ("without", False)):
        forced = samples(n=20, context=context, plant=plant)
        assert all(r.bias_present is always for r in forced)


@pytest.mark.parametrize("name", textures.NAMES)
def test_any_texture_can_be_planted_and_is_nowhere_else(name):
    plant = Plant(7, 1, texture=name)
    seen = set()
    for recipe in samples(n=80, plant=plant):
        shown = [crop.texture == name for crop in recipe.grounds()]
        assert shown[recipe.context_half] == recipe.bias_present
        assert not shown[1 - recipe.context_half] and recipe.ink.texture != name
        seen |= {recipe.other.texture, recipe.alternative.texture}
    assert seen == {*textures.GROUNDS, "brick"} - {name} and seen == set(plant.grounds)


def test_the_plant_changes_only_what_it_governs():
    for index in range(30):
        base = sample(index, digits=(0,))
        for plant in (Plant(4, 9), Plant(4, 9, texture="stripes"), Plant(4, 9, kind="mark")):
            other = sample(index, digits=(0,), plant=plant)
            kept = ("digit", "glyph", "top", "left", "halves", "context_half", "bias_present")
            assert all(getattr(other, key) == getattr(base, key) for key in kept)


def test_ids_and_names_of_plants_are_never_shared():
    pairs = ((3, 9), (9, 3), (4, 9))
    tiles = [
        Plant(*pair, texture=name, tiles=count)
        for pair, name, count in itertools.product(pairs, textures.NAMES, (1, 2))
    ]
    rest = [Plant(*pair, kind=kind) for pair, kind in itertools.product(pairs, KINDS[1:])]
    plants = [*tiles, *rest]
    assert len({plant.name for plant in plants}) == len(plants) == 3 * (15 * 2 + 2)
    ids = [recipe.sample_id for plant in plants for recipe in samples(n=3, plant=plant)]
    ids += [recipe.sample_id for recipe in exact.exact_samples(n=3)]
    assert len(set(ids)) == len(ids)
    assert sample(0).sample_id == sample(0, plant=Plant(3, 9, "tile", "brick", 1)).sample_id
    assert "-4v9-gravel-balanced-" in sample(0, plant=GRAVEL).sample_id


@named
def test_a_header_gives_the_plant_back(plant):
    assert from_header(to_header(plant)) == plant
    assert from_header(to_header(DEFAULT)) == DEFAULT


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"biased": 10}, "pair: 10 is no digit"),
        ({"biased": True}, "pair: True is no digit"),
        ({"biased": 9}, "pair: 9 is given twice"),
        ({"kind": "colour"}, "kind: unknown 'colour'; known: tile, mark, place"),
        ({"texture": "bricks"}, "texture: unknown 'bricks'; known: brick"),
        ({"tiles": 3}, "tiles: 3 is neither"),
        ({"kind": "mark", "texture": "brick"}, "a mark has no texture"),
        ({"kind": "place", "tiles": 1}, "a place has no texture and no tiles"),
        ({"colour": 1}, "no 'colour'"),
    ],
)
def test_mistakes_are_named(given, says):
    with pytest.raises(ValueError, match=says):
        plant_of(given)
    with pytest.raises(ValueError, match=says):
        from_header(json.dumps(given))


def test_a_plant_made_by_hand_has_no_idle_texture_either():
    with pytest.raises(ValueError, match="a mark has no texture"):
        Plant(kind="mark", texture="gravel")
    with pytest.raises(ValueError, match="no mapping"):
        from_header("[3, 9]")
