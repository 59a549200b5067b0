"""What a machine with files of its own has read, held against this one's files."""

import hashlib
import os
import shutil
from dataclasses import replace

import pytest

from conceptseg.data.ledger import Ledger
from conceptseg.data.manifest import load_manifest
from conceptseg.data.pattern import Pattern
from conceptseg.data.reads import Reads, record_beside, recording
from conceptseg.engine.compared import Stamped, take
from conceptseg.engine.known import Known
from conceptseg.engine.store import Made
from conceptseg.errors import InputError
from tests.strange_models import write_scenes

MARK = "masks.mark"


@pytest.fixture
def folders(tmp_path):
    """Here and there: the same files, at another time."""
    here, there = tmp_path / "here", tmp_path / "there"
    write_scenes(here, 6)
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    for folder, _, files in os.walk(there):
        for name in files:
            os.utime(f"{folder}/{name}", (0, 0))
    return here, there


def marks(folder, manifest):
    return Pattern("marks/{id}.png", manifest, MARK)


def made_in(folder, labelled=True, beside=False):
    """What a machine says that has read all images of a folder."""
    manifest, reads = load_manifest(folder / "set.yaml"), Stamped()
    with recording(reads):
        for sample in manifest.samples:
            manifest.pair(sample) if labelled else manifest.image(sample)
            if beside:
                file = folder / "marks" / f"{sample.id}.png"
                digest = hashlib.sha256(file.read_bytes()).digest()
                record_beside(MARK, sample, {file: digest})
    return Made(Known(), Reads(reads.digests), "there", reads.stamps(manifest))


def ledger_of(folder):
    manifest = load_manifest(folder / "set.yaml")
    return manifest, Ledger(manifest, {MARK: marks(folder, manifest).file})


def counted(manifest, monkeypatch):
    """The samples that are read here from now on."""
    read, pixels = [], type(manifest)._pixels
    monkeypatch.setattr(type(manifest), "_pixels", lambda *a: (read.append(a[1].id), pixels(*a))[1])
    return read


@pytest.mark.parametrize("labelled", [True, False])
def test_the_same_files_at_another_time_are_read_here_once(folders, labelled, monkeypatch):
    manifest, ledger = ledger_of(folders[0])
    found, same = made_in(folders[1], labelled), made_in(folders[0], labelled)
    read = counted(manifest, monkeypatch)
    take(found, manifest, ledger)
    assert read == list(manifest.ids)
    take(found, manifest, ledger)
    take(same, manifest, ledger)
    assert len(read) == 6


def test_files_that_have_not_changed_since_are_not_read(folders, monkeypatch):
    manifest, ledger = ledger_of(folders[0])
    found = made_in(folders[0])
    read = counted(manifest, monkeypatch)
    take(found, manifest, ledger)
    assert read == [] and ledger.digest("image", "labels") != ledger.digest("image")


@pytest.mark.parametrize("kind", ["images", "masks", "marks"])
def test_other_bytes_name_machine_and_file(folders, kind):
    here, there = folders
    first, second, *_ = sorted((there / kind).iterdir())
    shutil.copyfile(first, second)
    manifest, ledger = ledger_of(here)
    found = made_in(there, beside=True)
    with pytest.raises(InputError, match=f"^host there: {here / kind / second.name} holds other"):
        take(found, manifest, ledger)


def test_masks_that_are_not_read_may_be_others(folders):
    first, second, *_ = sorted((folders[1] / "masks").iterdir())
    shutil.copyfile(first, second)
    take(made_in(folders[1], labelled=False), *ledger_of(folders[0]))


def test_bytes_other_than_those_of_an_earlier_part_name_the_machine(folders):
    manifest, ledger = ledger_of(folders[0])
    take(made_in(folders[0]), manifest, ledger)
    found = made_in(folders[0])
    digests = {kind: dict(of) for kind, of in found.reads.digests.items()}
    digests["image"][manifest.ids[3]] = bytes(31) + b"1"
    other = replace(found, reads=Reads(digests))
    with pytest.raises(InputError, match=f"^host there: .*{manifest.ids[3]}.png: holds other"):
        take(other, manifest, ledger)
