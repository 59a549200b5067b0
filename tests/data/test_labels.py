import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conceptseg.data.labels import LabelBlock
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
