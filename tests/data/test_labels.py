import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conceptseg.data.labels import LabelBlock, of_one_class
from conceptseg.data.raster import Raster
from conceptseg.errors import InputError

NAMES = ("ground", "tree", "rock")
COLOURS = ((0, 0, 0), (0, 255, 0), (9, 8, 7))


def test_without_a_remap_values_are_classes():
    block = LabelBlock(NAMES, ignore=(255, -1))
    found = block.encode(np.array([[0, 1, 2, 255, -1]]), "m")
    assert found.tolist() == [[0, 1, 2, -1, -1]]
    assert found.dtype == np.int64


def test_ignore_takes_a_class_away():
    assert LabelBlock(NAMES, ignore=(2,)).encode(np.array([[0, 2]]), "m").tolist() == [[0, -1]]


@given(
    raw=hnp.arrays(np.int64, (3, 4), elements=st.sampled_from([-5, 0, 3, 7, 255, 70_000, 2**40])),
    dtype=st.sampled_from([np.int64]),
)
def test_a_remap_against_a_loop(raw, dtype):
    remap, ignore = {0: 2, 3: 0, 70_000: 1, 2**40: 1}, (-5, 7, 255)
    found = LabelBlock(NAMES, remap=remap, ignore=ignore).encode(raw.astype(dtype), "m")
    for value, index in zip(raw.ravel(), found.ravel(), strict=True):
        assert index == (-1 if value in ignore else remap[int(value)])


def test_a_remap_lists_every_value():
    block = LabelBlock(NAMES, remap={0: 0, 255: 1}, ignore=(7,))
    with pytest.raises(InputError) as caught:
        block.encode(np.array([[0, 255, 1, 2, 7]], np.uint8), "masks/a.png")
    assert str(caught.value) == (
        "masks/a.png: has the values 1, 2 outside the label block (remap lists 0, 255; "
        "ignored: 7); add it to labels.remap or labels.ignore"
    )


@pytest.mark.parametrize("value", [3, 255, -1, 65536, 2**40])
def test_nothing_outside_the_block(value):
    with pytest.raises(InputError, match=rf"a\.png: has the value {value} outside the label block"):
        LabelBlock(NAMES).encode(np.array([[0, value]], np.int64), "a.png")


@given(index=hnp.arrays(np.int64, (2, 5), elements=st.integers(-1, 2)))
def test_colours(index):
    block = LabelBlock(NAMES, colours=COLOURS, ignore_colours=((255, 255, 255),))
    raw = np.array([*COLOURS, (255, 255, 255)], np.uint8)[index]
    assert np.array_equal(block.encode(raw, "m"), index)


def test_colours_of_no_class():
    raw = np.array([[(0, 0, 0), (1, 2, 3)]], np.uint8)
    with pytest.raises(InputError, match=r"a\.png: has the colour \(1, 2, 3\) that no class has"):
        LabelBlock(NAMES, colours=COLOURS).encode(raw, "a.png")
    with pytest.raises(InputError, match=r"a\.png: a mask in colours; give labels\.colours"):
        LabelBlock(NAMES).encode(raw, "a.png")


def test_masks_that_count_from_another_number():
    block = LabelBlock(NAMES, first=1, ignore=(0,))
    assert block.encode(np.array([[0, 1, 2, 3]], np.uint8), "m").tolist() == [[-1, 0, 1, 2]]
    assert block.used == (0, 1, 2)
    with pytest.raises(InputError, match=r"the value 4 outside .*classes are 1 to 3; ignored: 0"):
        block.encode(np.array([[4]]), "m")


@given(
    raw=hnp.arrays(np.float64, (3, 5), elements=st.floats(-10, 300)),
    bounds=st.lists(st.integers(0, 255), min_size=2, max_size=2, unique=True).map(sorted),
)
def test_thresholds_against_a_loop(raw, bounds):
    block = LabelBlock(NAMES, threshold=tuple(map(float, bounds)), ignore=(255,))
    raw[0, 0] = 255
    for values in (raw, raw.astype(np.int64)):
        found = block.encode(values, "m")
        for value, index in zip(values.ravel(), found.ravel(), strict=True):
            assert index == (-1 if value == 255 else sum(value >= bound for bound in bounds))
    assert block.used == (0, 1, 2)


def test_nan_has_no_grade():
    block = LabelBlock(("a", "b"), threshold=(0.5,))
    raw = np.array([[0.2, np.nan, 0.7]])
    with pytest.raises(InputError, match="a mask with NaN"):
        block.encode(raw, "m")
    assert block.encode(raw, "m", np.nan).tolist() == [[0, -1, 1]]


@given(raw=hnp.arrays(np.uint8, (2, 4, 3)), tolerance=st.integers(1, 80))
def test_colours_with_a_tolerance_against_a_loop(raw, tolerance):
    block = LabelBlock(
        NAMES, colours=COLOURS, ignore_colours=((255, 255, 255),), tolerance=tolerance
    )
    table = {**{colour: i for i, colour in enumerate(COLOURS)}, (255, 255, 255): -1}
    wanted = []
    for pixel in raw.reshape(-1, 3).astype(int):
        near = min(table, key=lambda colour: sum((pixel - colour) ** 2))
        fits = max(abs(pixel - np.array(near))) <= tolerance
        wanted.append(table[near] if fits else None)
    if None in wanted:
        with pytest.raises(InputError, match="that no class has"):
            block.encode(raw, "m")
    else:
        assert block.encode(raw, "m").ravel().tolist() == wanted


def test_a_near_colour_is_met_with_the_tolerance_that_it_takes():
    raw = np.array([[(0, 0, 0), (3, 250, 0)]], np.uint8)
    with pytest.raises(InputError, match=r"or set labels\.tolerance: 5$"):
        LabelBlock(NAMES, colours=COLOURS).encode(raw, "m")
    assert LabelBlock(NAMES, colours=COLOURS, tolerance=5).encode(raw, "m").tolist() == [[0, 1]]


def test_grey_in_three_channels_and_no_data():
    raw = np.array([[0, 2], [1, 7]], np.uint8)
    block = LabelBlock(NAMES)
    assert block.encode(np.stack([raw] * 3, 2), "m", 7).tolist() == [[0, 2], [1, -1]]
    assert block.encode(raw, "m", 7).tolist() == [[0, 2], [1, -1]]
    assert block.encode(raw[:1], "m", 0).tolist() == [[0, 2]], "a class stays a class"


def test_grey_edges_are_met_with_the_key():
    raw = np.array([[0, 60, 130, 200, 255]], np.uint8)
    with pytest.raises(InputError, match=r"of grey edges labels\.threshold: 128"):
        LabelBlock(NAMES[:2], remap={0: 0, 255: 1}).encode(raw, "m")


def test_the_memory_that_a_mask_in_colours_takes():
    """A hundred bytes for each pixel would be gigabytes for a photograph."""
    raw = np.array(COLOURS, np.uint8)[np.random.default_rng(0).integers(0, 3, (1500, 1500))]
    block = LabelBlock(NAMES, colours=COLOURS)
    tracemalloc.start()
    try:
        labels = block.encode(raw, "m")
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(np.array(COLOURS)[labels], raw)
    assert held < 40 * labels.size


BLACK, RED, GREEN, WHITE = (0, 0, 0), (200, 0, 0), (0, 150, 0), (255, 255, 255)
DRAWN = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def palette(*colours):
    return np.array(colours, np.uint8)


def test_a_palette_is_for_the_eye_unless_it_orders_the_classes_otherwise():
    block = LabelBlock(("a", "b", "c"), colours=(BLACK, RED, GREEN))
    for colours in (
        (BLACK, RED, GREEN),
        (GREEN, WHITE, RED),  # of some other scheme
        (GREEN, BLACK, RED, WHITE),
        (BLACK, RED),  # cut short
    ):
        assert (block.read(Raster(DRAWN, palette=palette(*colours)), "m") == DRAWN).all()
    for filled in ((), (BLACK,) * 5):
        turned = Raster(DRAWN, palette=palette(RED, GREEN, BLACK, *filled))
        assert (block.read(turned, "m") == (DRAWN + 1) % 3).all()
    alone = Raster(np.zeros((2, 2), np.uint8), palette=palette(GREEN))
    assert (block.read(alone, "m") == 2).all()
    twice = LabelBlock(("a", "b", "c"), colours=(BLACK, RED, RED))
    assert (twice.read(Raster(DRAWN, palette=palette(RED, BLACK, RED)), "m") == DRAWN).all()


def test_a_threshold_above_what_a_file_can_hold_is_of_eight_bits():
    drawn, block = np.minimum(DRAWN, 1), LabelBlock(("a", "b"), threshold=(128,))
    assert (block.read(Raster(drawn, white=1), "m") == drawn).all()
    assert (block.read(Raster(3 * drawn, white=3), "m") == drawn).all()
    assert (block.read(Raster(drawn, palette=palette(BLACK, WHITE)), "m") == drawn).all()
    assert (block.read(Raster(drawn, palette=palette(WHITE, BLACK)), "m") == 1 - drawn).all()
    low = LabelBlock(("a", "b"), threshold=(1,))
    assert (low.read(Raster(drawn, palette=palette(BLACK, RED)), "m") == drawn).all()
    with pytest.raises(InputError, match="an indexed mask, whose 2 indices"):
        block.read(Raster(drawn, palette=palette(BLACK, RED)), "m")


def test_a_mask_of_one_class_whose_palette_begins_with_white():
    drawn = np.minimum(DRAWN, 1)
    for colours, expected in (((BLACK, WHITE), drawn), ((WHITE, BLACK), 1 - drawn)):
        found = of_one_class(Raster(drawn, palette=palette(*colours)))
        assert ((found != 0) == expected).all()
    assert (of_one_class(Raster(drawn, palette=palette(RED, BLACK))) == drawn).all()
