"""Files that change while a run goes on, or before it is resumed: noticed, and told by name.

Bytes are changed behind the same size and time of modification, which no look at the folder shows.
"""

import dataclasses
import io
import os
import shutil
from contextlib import nullcontext

import numpy as np
import pytest

from conceptseg.data.manifest import load_manifest
from conceptseg.engine import run
from conceptseg.engine.known import Known
from conceptseg.engine.local import LocalEngine
from conceptseg.errors import InputError
from conceptseg.study.shared.user_masks import MASKS, open_masks
from tests import toys
from tests.data.test_hashed import rewrite
from tests.engine.test_run import numbers
from tests.files import manifest

COUNT = 12
KINDS = ("images", "masks", "ink")


class Inked(toys.Toy):
    """The toy study with masks of the user's, which both of its passes read."""

    masks: dict[str, str] = {"ink": "ink/{id}.npy"}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of images, masks and further masks; both passes of the toy study read all kinds."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for n in range(COUNT):
        np.save(folder / f"images/s{n:02d}.npy", random.random((3, 6, 6), np.float32))
        for kind in ("masks", "ink"):
            np.save(folder / f"{kind}/s{n:02d}.npy", random.integers(0, 2, (6, 6), np.uint8))
    folders = [{"images": "images/{id}.npy", "masks": "masks/{id}.npy"}]
    manifest(folder, labels={"names": ["low", "high"]}, folders=folders)
    monkeypatch.setattr(toys.Means, "labels", "required")
    for step in (toys.Means, toys.Deviations):
        monkeypatch.setattr(step, "map", with_ink(step.map))
    plan = (open_masks, toys.Means(), toys.average, toys.Deviations())
    monkeypatch.setattr(Inked, "plan", lambda self: plan)
    toys.Calls.reset()
    return folder


def with_ink(plain):
    def mapped(self, context, batch, known):
        for name in batch.ids:
            known[MASKS][0].read(name, (6, 6))
        return plain(self, context, batch, known)

    return mapped


def study_of(folder, out, batch_size=2, shards=3, workers=0, **keys):
    context = toys.context(batch_size, shards)
    settings = context.run.model_copy(update={"workers": workers})
    whole = load_manifest(folder / "m.yaml")
    context = dataclasses.replace(context, manifest=whole, run=settings)
    study = Inked(data=toys.toy().data, model=toys.toy().model)
    return run.run_study(study, context, out, **keys)


def change(folder, kind, name="s06"):
    """The last byte: of an image a little more or less, of a mask the other class."""
    path = folder / kind / f"{name}.npy"
    data = path.read_bytes()
    last = data[-2:-1] + bytes([data[-1] ^ 1])
    rewrite(path, data[:-2] + (bytes([data[-2] ^ 1]) + data[-1:] if kind == "images" else last))


def says(kind, name="s06"):
    return rf"{kind}/{name}\.npy: holds other bytes .* changed while the run went on; .* --fresh$"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_between_two_passes(data, tmp_path, monkeypatch, kind, workers):
    def meanwhile(study, context, known):
        change(data, kind)
        return toys.average(study, context, known)

    plan = (open_masks, toys.Means(), meanwhile, toys.Deviations())
    monkeypatch.setattr(Inked, "plan", lambda self: plan)
    with pytest.raises(InputError, match=says(kind)) as caught:
        study_of(data, tmp_path / "out", workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_that_rewrites_what_it_has_read(data, tmp_path, monkeypatch, kind):
    plain = toys.Means.map

    def mapped(self, context, batch, known):
        if "s08" in batch.ids:
            change(data, kind)
        return plain(self, context, batch, known)

    monkeypatch.setattr(toys.Means, "map", mapped)
    with pytest.raises(InputError, match=says(kind)):
        study_of(data, tmp_path / "out")


def cut_off(data, out):
    """A run that ends in the middle of its second pass."""
    toys.Calls.reset(at=COUNT // 2 + 1, error=RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        study_of(data, out)
    toys.Calls.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_between_a_crash_and_its_resumption(data, tmp_path, kind):
    out = tmp_path / "out"
    cut_off(data, out)
    change(data, kind)
    for _ in range(2):
        with pytest.raises(InputError, match=says(kind)):
            study_of(data, out)
    found = study_of(data, out, fresh=True)
    assert toys.content(found) == toys.content(study_of(data, tmp_path / "other"))


def test_a_file_that_nothing_reads_again_is_what_it_was(data, tmp_path):
    """Its part is resumed, and the result tells the bytes that it was made of."""
    whole = toys.content(study_of(data, tmp_path / "whole"))
    cut_off(data, tmp_path / "out")
    change(data, "images", "s07")
    assert toys.content(study_of(data, tmp_path / "out")) == whole


class Elsewhere(LocalEngine):
    """Makes calls as another machine would, whose copy of one file is another one."""

    here = False

    def __init__(self, folder, kind):
        self.folder, self.kind, self.made = folder, kind, 0

    def result(self, ref):
        self.made += 1
        change(self.folder, self.kind, "s03" if self.made <= 3 else "s06")
        try:
            return super().result(ref)
        finally:
            change(self.folder, self.kind, "s03" if self.made <= 3 else "s06")


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_that_reads_other_bytes(data, tmp_path, kind):
    engine = Elsewhere(data, kind)
    with pytest.raises(InputError, match=says(kind)):
        study_of(data, tmp_path / "out", engine=engine)
    assert engine.made > 3, "the first pass reads each file once"


def test_data_that_lie_elsewhere_are_the_same(data, tmp_path):
    whole = toys.content(study_of(data, tmp_path / "whole"))
    cut_off(data, tmp_path / "out")
    shutil.copytree(data, tmp_path / "moved")  # with their times, as `cp -a` and `rsync -a` do
    shutil.rmtree(data)
    found = study_of(tmp_path / "moved", tmp_path / "out")
    assert found.timings["resumed_shards"] == {"means": 3, "deviations": 0}
    assert toys.content(found) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_touched_is_read_again_to_the_same_end(data, tmp_path, kind):
    before = study_of(data, tmp_path / "out")
    everything = toys.Calls.count
    toys.Calls.reset()
    assert toys.content(study_of(data, tmp_path / "out")) == toys.content(before)
    assert toys.Calls.count == 0
    path = data / kind / "s06.npy"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    assert toys.content(study_of(data, tmp_path / "out")) == toys.content(before)
    assert toys.Calls.count == everything


def test_nothing_but_the_first_sample_is_opened_before_the_first_pass(data, tmp_path, monkeypatch):
    opened, before, plain = [], [], io.open

    def noted(file, *arguments, **keys):
        if str(file).startswith(str(data)):
            opened.append(os.path.relpath(file, data))
        return plain(file, *arguments, **keys)

    def begin(self, context, known):
        before.append({*opened} - {"m.yaml"})
        return nullcontext(Known())

    monkeypatch.setattr(io, "open", noted)
    monkeypatch.setattr(toys.Means, "open", begin)
    study_of(data, tmp_path / "out")
    # What methods are tried on, its size, and whether masks hold anything.
    assert before == [{"images/s00.npy", "masks/s00.npy"}]
    assert len({*opened}) == 1 + len(KINDS) * COUNT


def test_provenance_tells_what_was_read_however_it_was_cut(data, tmp_path):
    first = study_of(data, tmp_path / "first").provenance
    for n, (size, shards) in enumerate([(1, 12), (5, 1), (12, None)]):
        other = study_of(data, tmp_path / f"{n}", size, shards, workers=n).provenance
        assert (other["data"], other["inputs"]) == (first["data"], first["inputs"])
    assert set(first["inputs"]) == {"masks.ink"}
    for kind in ("images", "masks"):
        change(data, kind)
        other = study_of(data, tmp_path / kind, fresh=True).provenance
        assert other["data"] != first["data"] and other["inputs"] == first["inputs"]
        change(data, kind)
    change(data, "ink")
    other = study_of(data, tmp_path / "ink", fresh=True).provenance
    assert other["data"] == first["data"] and other["inputs"] != first["inputs"]


def test_images_that_are_one_file_under_several_names_are_counted(data, tmp_path):
    """Each of the twelve is a group of its own."""
    assert "repeated" not in study_of(data, tmp_path / "first").provenance
    for copy in ("s04", "s11"):
        shutil.copy(data / "images/s02.npy", data / f"images/{copy}.npy")
    told = study_of(data, tmp_path / "second").provenance["repeated"]
    assert told == {"images": 3, "first": ["s02", "s04"]}


def test_provenance_leaves_out_what_was_not_read(data, tmp_path, monkeypatch):
    monkeypatch.setattr(toys.Means, "labels", "none")
    first = study_of(data, tmp_path / "a")
    change(data, "masks", "s07")  # the second pass reads those of every other sample
    second = study_of(data, tmp_path / "b")
    assert toys.content(first) == toys.content(second)
    change(data, "masks", "s06")
    third = study_of(data, tmp_path / "c")
    assert third.provenance["data"] != first.provenance["data"]
    assert numbers(third)["high"] != numbers(first)["high"]
