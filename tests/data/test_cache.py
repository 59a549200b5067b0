"""Decoded images that are kept: the same pixels and the same record, within the bound."""

import dataclasses
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.cache import Decoded
from conceptseg.data.manifest import load_manifest
from conceptseg.data.reads import Reads, recording
from conceptseg.errors import InputError
from tests.strange_models import write_scenes


@pytest.fixture
def whole(tmp_path):
    return load_manifest(write_scenes(tmp_path / "scenes", 6))


def with_cache(manifest, room):
    return dataclasses.replace(manifest, cache=Decoded(room))


def test_pixels_and_what_was_read_are_those_without_it(whole, monkeypatch):
    kept, plain, again = with_cache(whole, 2**24), Reads(), Reads()
    expected = []
    with recording(plain):
        expected = [whole.pair(sample) for sample in whole.samples]
    for _ in range(2):
        with recording(again):
            found = [kept.pair(sample) for sample in kept.samples]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
            one[0][:], one[1][:] = -1, -1  # the caller's own
    assert again.digests == plain.digests
    monkeypatch.setattr(type(whole.source), "pair", None)  # nothing is decoded any more
    np.testing.assert_array_equal(kept.pair(kept.samples[3])[0], expected[3][0])


def test_the_bound_holds_and_the_least_used_goes(whole):
    size = sum(one.nbytes for one in whole.pair(whole.samples[0]))
    kept = with_cache(whole, 2 * size)
    first, second, third = kept.samples[:3]
    for sample in (first, second, first, third):
        kept.pair(sample)
        assert kept.cache.held <= 2 * size
    assert {name for name, _ in kept.cache._kept} == {first.id, third.id}
    small = with_cache(whole, size - 1)
    small.pair(first)
    assert small.cache.held == 0


def test_a_file_that_changed_is_read_again_and_told(whole):
    kept, sample, reads = with_cache(whole, 2**24), whole.samples[0], Reads()
    with recording(reads):
        before = kept.image(sample)
    path = whole.root / sample.image[0]
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(1, 1))
    with recording(reads), pytest.raises(InputError, match="holds other bytes"):
        kept.image(sample)
    assert not np.array_equal(kept.image(sample), before)


def test_labels_of_some_classes_alone_are_kept_apart(whole):
    kept, sample = with_cache(whole, 2**24), whole.samples[0]
    kept.pair(sample)
    alone = kept.alone([whole.classes[1]])
    assert alone.cache is not kept.cache and alone.cache.room == kept.cache.room


def test_a_manifest_leaves_its_process_without_what_was_decoded(whole):
    kept = with_cache(whole, 2**24)
    kept.pair(kept.samples[0])
    other = pickle.loads(pickle.dumps(kept))
    assert other.cache.room == 2**24 and other.cache.held == 0
