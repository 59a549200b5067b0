"""Fits give one result wherever they are made; a run that broke off repeats none it kept."""

import os
from dataclasses import dataclass

import numpy as np
import pytest

from conceptseg.engine import fits as module
from conceptseg.engine.fits import Fits, all_of, made_by
from conceptseg.engine.local import LocalEngine
from conceptseg.engine.pool import ProcessEngine
from conceptseg.engine.shelf import Folder
from conceptseg.engine.store import CarryStore
from conceptseg.errors import InputError
from tests.engine.shuffled import ShuffledEngine


@dataclass(frozen=True)
class Solved:
    """A solution and where it was found."""

    solution: np.ndarray
    process: int


def solve(matrix, seed):
    """A least-squares problem of a random right-hand side."""
    right = np.random.default_rng(seed).normal(size=len(matrix))
    return Solved(np.linalg.lstsq(matrix, right, rcond=None)[0], os.getpid())


def refuse(matrix, seed):
    if seed > 2:
        raise InputError(f"number {seed}")
    return seed


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Whatever there is to do counts as long."""
    monkeypatch.setattr(module, "LONG", 0.0)


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(60, 40))


ITEMS = [(seed,) for seed in range(7)]


def test_in_their_order_and_to_the_bit_wherever_they_are_made(matrix):
    here = [solve(matrix, seed) for (seed,) in ITEMS]
    assert all(np.array_equal(a.solution, b.solution) for a, b in zip(
        all_of(solve, ITEMS, matrix), here, strict=True))  # fmt: skip
    pool = ProcessEngine(2)
    for engine in (ShuffledEngine(3), pool):
        with made_by(Fits(engine)):
            found = all_of(solve, ITEMS, matrix)
        for one, expected in zip(found, here, strict=True):
            np.testing.assert_array_equal(one.solution, expected.solution)
    elsewhere = {one.process for one in found} - {os.getpid()}
    assert 1 <= len(elsewhere) <= 2
    pool.close()


def test_short_ones_ask_nobody(matrix, monkeypatch):
    monkeypatch.setattr(module, "LONG", 60.0)
    engine = ShuffledEngine(0)
    with made_by(Fits(engine)) as fits:
        found = all_of(solve, ITEMS, matrix)
    assert engine.made == 0 and {one.process for one in found} == {os.getpid()}
    assert fits.counts == (7, 0)


def test_what_is_raised_elsewhere_is_raised_here_the_first_in_order(matrix):
    pool = ProcessEngine(2)
    with made_by(Fits(pool)), pytest.raises(InputError, match="number 3"):
        all_of(refuse, ITEMS, matrix)
    pool.close()


def test_kept_ones_are_not_made_again(matrix, tmp_path):
    store = CarryStore(Folder(tmp_path), frozenset({"tests"}))
    with made_by(Fits(LocalEngine(), store, "key")):
        with pytest.raises(InputError):
            all_of(refuse, ITEMS, matrix)
        first = all_of(solve, ITEMS, matrix)
    with made_by(Fits(LocalEngine(), store, "key")) as fits:
        with pytest.raises(InputError):
            all_of(refuse, ITEMS, matrix)
        again = all_of(solve, ITEMS, matrix)
    assert fits.counts == (0, 7)  # those that ended in an error are not counted
    assert [one.process for one in again] == [one.process for one in first]
    with made_by(Fits(LocalEngine(), store, "another key")) as fits:
        all_of(solve, ITEMS, matrix)
    assert fits.counts == (7, 0)


def test_one_that_was_damaged_is_made_again(matrix, tmp_path):
    store = CarryStore(Folder(tmp_path), frozenset({"tests"}))
    with made_by(Fits(LocalEngine(), store, "key")):
        first = all_of(solve, ITEMS, matrix)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == len(ITEMS)
    files[2].write_bytes(files[2].read_bytes()[:-9])
    with made_by(Fits(LocalEngine(), store, "key")) as fits:
        again = all_of(solve, ITEMS, matrix)
    assert fits.counts == (1, 6)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.solution, b.solution)


@pytest.mark.parametrize("items", [ITEMS[:1], ITEMS[:2]], ids=["alone", "the last of two"])
def test_one_that_is_left_is_kept_as_well(items, matrix, tmp_path):
    store = CarryStore(Folder(tmp_path), frozenset({"tests"}))
    with made_by(Fits(LocalEngine(), store, "key")):
        all_of(solve, items, matrix)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == len(items)
    files[-1].unlink()
    for expected in ((1, len(items) - 1), (0, len(items))):
        with made_by(Fits(LocalEngine(), store, "key")) as fits:
            all_of(solve, items, matrix)
        assert fits.counts == expected


def several(seed):
    """Three fits within one, by an item's own seed."""
    return np.array(all_of(scaled, [(seed, k) for k in range(3)]))


def scaled(seed, k):
    return 100.0 * seed + k


def test_fits_within_a_fit_are_not_taken_for_those_of_another(tmp_path):
    """In a run that goes on, others of them are made in this process, and in another number."""
    items = [(seed,) for seed in range(4)]
    expected = [[100.0 * seed + k for k in range(3)] for (seed,) in items]
    store = CarryStore(Folder(tmp_path), frozenset({"tests"}))
    for made in (5, 3, 3):
        with made_by(Fits(LocalEngine(), store, "key")) as fits:
            all_of(several, items[:1])
            assert np.array_equal(all_of(several, items), expected)
        assert fits.counts == (made, 5 - made)
        kept = sorted(tmp_path.rglob("*.safetensors"))
        assert len(kept) == 5  # the one that was asked for alone, and none of those within
        for file in kept[::2]:
            file.unlink()
