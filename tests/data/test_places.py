"""Roots in buckets and shards: the same samples as from files, whatever becomes of the line."""

import contextlib
import io
import os
import re
import shutil
import socket
import tarfile
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml

from conceptseg.data import bucket, places
from conceptseg.data.manifest import load_manifest
from conceptseg.data.stamps import rows_digest
from conceptseg.engine import shelf
from conceptseg.errors import EXIT_INPUT, InputError
from conceptseg.study.__main__ import main as command
from tests.data import gcs
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import content, same
from tests.study.test_strange import write

URL = "memory://pail/scenes"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and a process that knows no place yet."""
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(places, "_PLACES", {})
    monkeypatch.setattr(places, "PAUSE", 0.0)
    yield tmp_path / "cache"
    fsspec.filesystem("memory").store.clear()


def another_process(monkeypatch):
    """All that a process knows of places is forgotten."""
    monkeypatch.setattr(places, "_PLACES", {})


@pytest.fixture
def scenes(tmp_path):
    """Six scenes with masks and marks; returns the manifest's file, of a root that is a folder."""
    return write_scenes(tmp_path / "scenes", 6, NETWORKS["plain"].classes)


def upload(folder, system=None, top="/pail/scenes"):
    system = system or fsspec.filesystem("memory")
    for path in folder.rglob("*.png"):
        system.pipe_file(f"{top}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def manifest_of(scenes, tmp_path, name="far.yaml", **keys):
    """The same manifest of another root."""
    path = tmp_path / name
    path.write_text(yaml.safe_dump(yaml.safe_load(scenes.read_text()) | keys))
    return path


def packed(folder, target, count=2, mode="w"):
    """The scenes' files in so many tar files, images and masks of a scene in one."""
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.rglob("*.png"), key=lambda one: one.name)
    for number in range(count):
        with tarfile.open(target / f"part-{number}.tar", mode) as tar:
            for path in files[number * len(files) // count : (number + 1) * len(files) // count]:
                tar.add(path, path.relative_to(folder).as_posix())
    return target


def alike(one, other):
    """Samples, pixels and labels of two manifests."""
    assert one.ids == other.ids and one.groups == other.groups
    for sample, twin in zip(one.samples, other.samples, strict=True):
        (image, labels), (image_there, labels_there) = one.pair(sample), other.pair(twin)
        np.testing.assert_array_equal(image, image_there)
        np.testing.assert_array_equal(labels, labels_there)


def test_a_bucket_has_the_samples_of_a_folder(scenes, tmp_path):
    upload(scenes.parent)
    alike(load_manifest(manifest_of(scenes, tmp_path, root=URL)), load_manifest(scenes))


@pytest.mark.parametrize("far", [False, True])
def test_shards_have_the_samples_of_a_folder(far, scenes, tmp_path, monkeypatch):
    folder = packed(scenes.parent, tmp_path / "shards")
    if far:
        for path in folder.iterdir():
            fsspec.filesystem("memory").pipe_file(f"/pail/shards/{path.name}", path.read_bytes())
    root = "memory://pail/shards" if far else str(folder)
    path = manifest_of(scenes, tmp_path, root=root, shards="part-*.tar")
    alike(load_manifest(path), load_manifest(scenes))
    # Another process finds where members lie, and those that it wants, in the cache.
    another_process(monkeypatch)
    monkeypatch.setattr(tarfile, "open", None)
    monkeypatch.setattr(bucket.Bucket, "part", None)
    alike(load_manifest(path), load_manifest(scenes))


def test_shards_are_read_by_ranges_and_only_what_is_asked_for(scenes, tmp_path, monkeypatch):
    folder = packed(scenes.parent, tmp_path / "shards", count=1)
    with tarfile.open(folder / "part-0.tar", "a") as tar:
        about = tarfile.TarInfo("images/large.bin")
        about.size = 5_000_000
        tar.addfile(about, io.BytesIO(bytes(about.size)))
    content = (folder / "part-0.tar").read_bytes()
    fsspec.filesystem("memory").pipe_file("/pail/shards/part-0.tar", content)
    read, part = [], bucket.Bucket.part
    monkeypatch.setattr(bucket.Bucket, "part", lambda *a: (read.append(a[3] - a[2]), part(*a))[1])
    path = manifest_of(scenes, tmp_path, root="memory://pail/shards", shards="*.tar")
    manifest = load_manifest(path)
    manifest.image(manifest.samples[3])
    assert sum(read) < 500_000 < len(content)


def test_processes_share_what_was_fetched_until_it_changes(scenes, tmp_path, monkeypatch):
    upload(scenes.parent)
    path = manifest_of(scenes, tmp_path, root=URL)
    read, cat = [], bucket.Bucket.read
    monkeypatch.setattr(bucket.Bucket, "read", lambda *a: (read.append(a[1]), cat(*a))[1])
    manifest = load_manifest(path)
    first = manifest.image(manifest.samples[0])
    manifest.image(manifest.samples[0])
    assert len(read) == 1
    before = rows_digest(manifest)
    another_process(monkeypatch)
    again = load_manifest(path)
    np.testing.assert_array_equal(again.image(again.samples[0]), first)
    assert len(read) == 1 and rows_digest(again) == before
    other = scenes.parent / again.samples[1].image[0]
    time.sleep(0.01)
    file = f"/pail/scenes/{again.samples[0].image[0]}"
    fsspec.filesystem("memory").pipe_file(file, other.read_bytes())
    another_process(monkeypatch)
    changed = load_manifest(path)
    assert rows_digest(changed) != before
    assert (changed.image(changed.samples[0]) != first).any() and len(read) == 2


@pytest.mark.parametrize("image", ["../secret.png", "/pail/secret.png", "a/../../secret.png"])
def test_nothing_leaves_a_bucket(image, scenes, tmp_path, monkeypatch):
    upload(scenes.parent)
    asked = []
    monkeypatch.setattr(bucket.Bucket, "read", lambda *a: asked.append(a))
    content = yaml.safe_load(scenes.read_text()) | {"root": URL, "samples": [{"image": image}]}
    del content["folders"]
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(content | {"group": None}))
    with pytest.raises(InputError, match="leaves the root"):
        load_manifest(path)
    assert asked == []


def test_members_that_lead_out_of_a_shard_are_not_there(scenes, tmp_path):
    folder = packed(scenes.parent, tmp_path / "shards", count=1)
    with tarfile.open(folder / "part-0.tar", "a") as tar:
        for name in ("../images/g9_s99.png", "/images/g9_s98.png"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("images/g9_s97.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    path = manifest_of(scenes, tmp_path, root=str(folder), shards="*.tar")
    assert load_manifest(path).ids == load_manifest(scenes).ids


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"root": "ftp://pail/scenes"}, "ftp:// is no kind of root; known are s3://"),
        ({"root": "s3://me:secret@pail/scenes"}, "never from the root"),
        ({"root": "memory://pail/none"}, "memory://pail/none: no such folder"),
        ({"root": URL, "shards": "*.tar"}, "no file below memory://pail/scenes matches"),
        ({"root": URL, "shards": "../*.tar"}, "leaves the root"),
    ],
)
def test_roots_that_cannot_be_read_are_refused(keys, told, scenes, tmp_path):
    upload(scenes.parent)
    with pytest.raises(InputError, match=re.escape(told)) as error:
        load_manifest(manifest_of(scenes, tmp_path, **keys))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("kind", ["cityscapes", "voc", "yolo"])
def test_formats_that_list_folders_say_so(kind, scenes, tmp_path):
    upload(scenes.parent)
    path = tmp_path / "far.yaml"
    parts = [{"images": "images", "labels": "labels"}]
    keys = {"parts": parts, "classes": ["a", "b"]} if kind == "yolo" else {}
    path.write_text(yaml.safe_dump({"format": kind, "root": URL, **keys}))
    with pytest.raises(InputError, match="describe the files by format: native"):
        load_manifest(path)


@pytest.mark.parametrize("broken", ["compressed", "twice", "text"])
def test_shards_that_cannot_be_read_are_refused(broken, scenes, tmp_path):
    mode = "w:gz" if broken == "compressed" else "w"
    folder = packed(scenes.parent, tmp_path / "shards", mode=mode)
    if broken == "twice":
        shutil.copy(folder / "part-0.tar", folder / "part-2.tar")
    if broken == "text":
        (folder / "part-1.tar").write_text("nothing of the kind" * 99)
    told = {"twice": "different names"}.get(broken, "cannot be read as a tar file")
    with pytest.raises(InputError, match=told):
        load_manifest(manifest_of(scenes, tmp_path, root=str(folder), shards="*.tar"))


def test_a_cut_line_is_tried_again_and_then_one_error(scenes, tmp_path, monkeypatch):
    upload(scenes.parent)
    left, cat = [3], bucket.Bucket.read

    def cut(*arguments):
        if left[0]:
            left[0] -= 1
            if left[0] == 1:
                return cat(*arguments)[:-5]  # a part of it came
            raise ConnectionResetError("cut")
        return cat(*arguments)

    monkeypatch.setattr(bucket.Bucket, "read", cut)
    manifest = load_manifest(manifest_of(scenes, tmp_path, root=URL))
    first, second, *_ = manifest.samples
    near = load_manifest(scenes)
    np.testing.assert_array_equal(manifest.image(first), near.image(near.samples[0]))
    left[0] = 99
    told = f"{URL}/{second.image[0]}: cannot be read .ConnectionResetError: cut., 4 times"
    with pytest.raises(InputError, match=told):
        manifest.image(second)


def test_what_was_not_asked_for_lately_makes_room(cache, monkeypatch):
    cache.mkdir()
    now = time.time()
    for number, age in enumerate((5000, 4000, 3000, 10)):
        file = cache / f"{number}"
        file.write_bytes(bytes(1000))
        os.utime(file, (now - age, now - age))
    monkeypatch.setenv(places.ROOM, str(2500 / 2**30))
    places.make_room(1000)
    assert sorted(one.name for one in cache.iterdir()) == ["2", "3"]
    monkeypatch.setenv(places.ROOM, str(100 / 2**30))
    places.make_room(1000)
    assert [one.name for one in cache.iterdir()] == ["3"], "someone may be reading it"


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan", "inf"])
def test_a_room_that_is_none_is_told(cache, monkeypatch, given):
    monkeypatch.setenv(places.ROOM, given)
    with pytest.raises(InputError, match=f"{places.ROOM}={given}: give the GiB"):
        places.make_room(1)


def test_a_study_says_the_same_of_shards(scenes, tmp_path):
    folder = packed(scenes.parent, tmp_path / "shards")
    near = write(tmp_path, "permutation", "plain", {NETWORKS["plain"].classes: scenes})
    far = manifest_of(scenes, tmp_path, root=str(folder), shards="*.tar")
    words = ["permutation", "-c", str(near), "-q"]
    assert command([*words, "--out", str(tmp_path / "near")]) == 0
    far_words = ["--set", f"data.manifest={far}", "--out", str(tmp_path / "far")]
    assert command([*words, *far_words]) == 0
    same(content(tmp_path / "far"), content(tmp_path / "near"))


class Line(threading.Thread):
    """A line to a server on this machine, which is cut after so many bytes have come back."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.left, self.cuts = port, None, 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.own = self.server.getsockname()[1]

    def run(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            for one, other, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._carry, args=(one, other, back), daemon=True).start()

    def _carry(self, one, other, back):
        try:
            while data := one.recv(4096):
                if back and self.left is not None:
                    other.sendall(data[: max(self.left, 0)])
                    self.left -= len(data)
                    if self.left <= 0:
                        self.cuts += 1
                        break
                    continue
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def google(monkeypatch):
    """A store that gcsfs takes for Google's."""
    pytest.importorskip("gcsfs")
    store = gcs.Store()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    shelf._bucket_of.cache_clear()
    yield store
    shelf._bucket_of.cache_clear()
    store.shutdown()
    store.server_close()


def test_google_has_the_samples_of_a_folder_and_takes_parts(google, scenes, tmp_path):
    for path in scenes.parent.rglob("*.png"):
        name = path.relative_to(scenes.parent).as_posix()
        google.objects[f"pail/scenes/{name}"] = path.read_bytes()
    folder = packed(scenes.parent, tmp_path / "shards")
    for path in folder.iterdir():
        google.objects[f"pail/shards/{path.name}"] = path.read_bytes()
    far = manifest_of(scenes, tmp_path, root="gs://pail/scenes")
    alike(load_manifest(far), load_manifest(scenes))
    far = manifest_of(scenes, tmp_path, root="gs://pail/shards", shards="part-*.tar")
    alike(load_manifest(far), load_manifest(scenes))
    at = shelf.shelf_of("gs://pail/runs").at("run")
    at.tried()
    at.write(".state/a", b"\0\1" * 99)
    assert at.read(".state/a") == b"\0\1" * 99 and at.names(".state") == ["a"]
    at.remove("")
    assert at.read(".state/a") is None and not any("runs" in one for one in google.objects)


@pytest.mark.parametrize("code", [401, 403])
def test_google_without_credentials_is_one_line_at_once(code, google, scenes, tmp_path):
    google.refuses = code
    with pytest.raises(InputError, match=r"^gs://pail/scenes/: .* see to the credentials"):
        load_manifest(manifest_of(scenes, tmp_path, root="gs://pail/scenes"))
    assert google.asked <= 2
    with pytest.raises(InputError, match="^gs://pail/runs/.*cannot be written.* the credentials"):
        shelf.shelf_of("gs://pail/runs").tried()


def test_what_a_package_lacks_is_one_line(monkeypatch):
    """As Azure's without the name of an account."""

    def refuse(*arguments, **options):
        raise ValueError("unable to connect to account")

    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda scheme: refuse)
    with pytest.raises(InputError, match=r"^memory://: ValueError: unable .* the credentials"):
        bucket.located(URL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the server's
def test_s3_says_the_same_and_a_cut_connection_is_one_line(scenes, tmp_path, monkeypatch, capsys):
    """Against a server on this machine, over a line that the test cuts."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        line = Line(server.get_host_and_port()[1])
        line.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.own}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("pail")
        upload(scenes.parent, system, "pail/scenes")
        near = write(tmp_path, "permutation", "plain", {NETWORKS["plain"].classes: scenes})
        words = ["permutation", "-c", str(near), "-q"]
        assert command([*words, "--out", str(tmp_path / "near")]) == 0
        far = [*words, "--data-root", "s3://pail/scenes", "--out", str(tmp_path / "far")]
        line.left = 12_000  # in the middle, and for good
        assert command(far) == EXIT_INPUT
        told = capsys.readouterr().err
        assert told.startswith("error: s3://pail/scenes/") and told.count("\n") == 1, told
        assert line.cuts > 1 and "the same command resumes" in told
        another_process(monkeypatch)
        line.left = None
        assert command(far) == 0
        same(content(tmp_path / "far"), content(tmp_path / "near"))
        assert list(Path(places.cache()).rglob("*.png"))
    finally:
        line.server.close()
        server.stop()
