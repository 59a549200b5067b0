"""The tree of merges: the same whatever the parts, and whatever the order they come in."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.engine.cut import Cut, Tree, as_before, ranges


class Told:
    """Says in which order it was merged of what."""

    def __init__(self, text):
        self.text = text

    def merge(self, other):
        return Told(f"({self.text}{other.text})")


def by_hand(names):
    """Halves of the largest power of two below the length."""
    if len(names) == 1:
        return names[0]
    half = 1 << (len(names) - 1).bit_length() - 1
    return f"({by_hand(names[:half])}{by_hand(names[half:])})"


def merged(names, order=None):
    tree = Tree(len(names))
    for number in order if order is not None else range(len(names)):
        tree.put(number, Told(names[number]))
    return tree.root(Told("nothing")).text


@pytest.mark.parametrize("count", range(1, 20))
def test_merges_halves_in_whatever_order_they_come(count):
    names = [chr(97 + n) for n in range(count)]
    expected = by_hand(names)
    assert merged(names) == expected
    for seed in range(5):
        order = random.Random(seed).sample(range(count), count)
        assert merged(names, order) == expected
    if count <= 5:
        assert {merged(names, one) for one in itertools.permutations(range(count))} == {expected}


@pytest.mark.parametrize("images", [1, 7, 8, 9, 61, 64])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_parts_are_blocks_of_one_tree(images, batch):
    leaves = [(start, min(start + batch, images)) for start in range(0, images, batch)]
    whole = merged([f"[{start}-{stop}]" for start, stop in leaves])
    seen = set()
    for wanted in (1, 2, 3, 5, 8, 13, 40, 1000):
        cut = Cut.of(images, batch, wanted)
        parts = cut.parts()
        assert [n for start, stop in parts for n in range(start, stop)] == list(range(images))
        assert cut.images_per_part <= max(wanted, cut.batch)
        if cut.batch != batch:
            assert cut.batch <= wanted < batch
            continue
        seen.add(len(parts))
        inside = [
            merged([f"[{a}-{b}]" for a, b in leaves if start <= a < stop]) for start, stop in parts
        ]
        assert merged(inside) == whole
    assert images <= batch or len(seen) > 1


def test_how_many_parts_are_asked_for_changes_no_batch():
    for wanted in (2, 6, 50):
        batches = {Cut.of(100, 8, wanted, parts).batch for parts in (None, 1, 7, 23, 1000)}
        assert len(batches) == 1
        counts = [len(Cut.of(100, 8, wanted, parts).parts()) for parts in (1, 7, 23, 1000)]
        assert counts == sorted(counts) and counts[0] <= 2 and counts[1] >= 7


def test_nothing_is_what_was_said():
    assert Tree(0).root(Told("nothing")).text == "nothing"
    assert Cut(0, 1).parts() == []


def test_in_order_one_state_waits_at_each_level():
    tree = Tree(1000)
    most = 0
    for number in range(1000):
        tree.put(number, Told(""))
        most = max(most, len(tree._waiting))
    assert most <= 10


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_an_earlier_cut_is_told_from_any_of_its_whole_parts(images, step, data):
    every = ranges(images, step)
    # The last one may be that of larger parts, which is shorter than they are.
    telling = {*every[:-1]} or {one for one in every if one[1] - one[0] == step}
    saved = set(data.draw(st.lists(st.sampled_from(every), max_size=8)))
    found = as_before(images, saved)
    if saved & telling:
        assert found == step
    elif not saved or len(every) > 1:
        assert found is None


def test_of_several_earlier_cuts_the_one_of_which_most_is_saved():
    assert as_before(20, [(0, 4), (4, 8), (0, 10)]) == 10
    assert as_before(20, [(0, 4), (4, 8), (8, 12), (0, 10)]) == 4
    assert as_before(20, [(0, 4), (4, 8), (3, 11)]) == 4


def test_the_last_part_alone_does_not_tell_even_if_it_is_whole():
    assert as_before(35, [(30, 35)]) is None  # parts of 5, of 6, of 10, of 15 or of 30
    assert as_before(35, [(30, 35), (5, 10)]) == 5
    assert as_before(20, []) is None
