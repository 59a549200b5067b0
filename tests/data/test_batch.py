"""Batches: the same whoever reads, and however sizes are mixed."""

import threading
import time

import numpy as np
import pytest

from conceptseg.data.batch import ahead, batches
from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample, Source
from conceptseg.data.part import part
from conceptseg.errors import InputError


class Numbered(Source):
    """Images filled with their number; `sizes` by number, and the masks of some are missing."""

    def __init__(self, sizes, unlabelled=()):
        self.sizes, self.unlabelled = sizes, unlabelled

    def image(self, sample):
        time.sleep(0.001 * (int(sample.id) % 3))
        return np.full((1, *self.size(sample)), int(sample.id) / 100, np.float32)

    def labels(self, sample):
        if not self.labelled(sample):
            return None
        return np.full(self.size(sample), int(sample.id) % 2, np.int64)

    def labelled(self, sample):
        return int(sample.id) not in self.unlabelled

    def size(self, sample):
        return self.sizes[int(sample.id)]

    def stamp(self, sample):
        return sample.id

    def settings(self):
        return {}


def manifest(sizes, unlabelled=()):
    samples = tuple(Sample(f"{n:02d}") for n in range(len(sizes)))
    block = LabelBlock(("a", "b"))
    return Manifest("numbered", block, 1, samples, Numbered(sizes, unlabelled))


def cut(data, size, start=0, stop=None, **keys):
    return [one.ids for one in batches(data, data.samples[start:stop], size, **keys)]


def test_each_size_has_batches_of_its_own_and_what_follows_stays_the_same():
    small, large = (4, 5), (6, 5)
    sizes = [small] * 5 + [large] + [small] * 6
    data = manifest(sizes)
    whole = cut(data, 4)
    assert [len(ids) for ids in whole] == [4, 1, 1, 2, 4]
    # A part that begins with a batch has the batches of the whole.
    for start in (4, 8):
        assert cut(data, 4, start) == [ids for ids in whole if int(ids[0]) >= start]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("labels", [False, True])
def test_threads_change_nothing(workers, labels):
    data = manifest([(4, 5 + n // 7) for n in range(20)])
    plain = list(batches(data, data.samples, 3, need_labels=labels))
    read = list(batches(data, data.samples, 3, need_labels=labels, workers=workers))
    assert [one.ids for one in read] == [one.ids for one in plain]
    for one, other in zip(read, plain, strict=True):
        assert bool((one.images == other.images).all())
        assert (one.labels is None) == (not labels)
        assert one.labels is None or bool((one.labels == other.labels).all())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_turn(workers):
    data, seen = manifest([(4, 5)] * 12, unlabelled=(7,)), []
    with pytest.raises(InputError, match="'07' has no mask"):
        for one in batches(data, data.samples, 2, need_labels=True, workers=workers):
            seen += one.ids
    assert seen == [f"{n:02d}" for n in range(6)]


def test_reads_so_far_ahead_and_no_farther():
    begun, lock = [], threading.Lock()

    def load(item):
        with lock:
            begun.append(item)
        return item

    found = ahead(load, range(1000), 3, 8)
    assert [next(found) for _ in range(5)] == list(range(5))
    time.sleep(0.05)
    assert len(begun) <= 5 + 8 + 1
    found.close()
    assert len(begun) < 20 and begun[0] == 0


def test_a_part_knows_its_samples_and_refuses_to_be_asked_for_all():
    data = manifest([(4, 5)] * 6)
    own = part(data, data.samples[2:4])
    assert own.sample("03") is data.samples[3] and own.pair(data.samples[2])[0].shape == (1, 4, 5)
    with pytest.raises(InputError, match="no sample '00'"):
        own.sample("00")
    for ask in (len, list, lambda s: s[0], lambda s: "00" in s):
        with pytest.raises(RuntimeError, match="may not look at the others"):
            ask(own.samples)
    for ask in ("groups", "splits", "metadata"):
        with pytest.raises(RuntimeError, match="may not look at the others"):
            getattr(own, ask)
    assert len(data.samples) == 6
