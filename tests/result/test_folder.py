"""A folder that is replaced holds the earlier result or the new one at every instant."""

import errno
import os
import shutil

import pytest

from conceptseg.errors import InputError
from conceptseg.result import folder as module
from conceptseg.result.folder import check_file, replace_folder, tidy, write_out

OWN = ("a", "page", "pictures")
OLD = {"a": b"old", "page": b"old page", "pictures/one": b"old picture"}
NEW = {"a": b"new", "pictures/two": b"new picture"}
MINE = {"notes.txt": b"mine", "deep/down/more.txt": b"mine too"}
RULES = {"marker": "a", "own": OWN, "spent": ("parts",)}


class Killed(BaseException):
    """Stands for the end of the process: nothing that comes after it is done."""


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=["exchanged", "renamed"])
def out(request, tmp_path, monkeypatch):
    """A folder with an earlier result and files of the user's, where names can be exchanged or not,
    and with the parts of a run that is about to save."""
    if request.param == "renamed":
        monkeypatch.setattr(module, "_exchange", lambda one, other: False)
    folder = replace_folder(tmp_path / "out", OLD, **RULES)
    for name, data in {**MINE, "parts/1": b"spent"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "link").symlink_to("nowhere")
    return folder


CALLS = [
    (module, "_write"),
    (module, "_exchange"),
    (module, "_flush"),
    (module.os, "link"),
    (module.os, "rename"),
    (type(module.Path()), "rename"),
    (type(module.Path()), "mkdir"),
    (module.shutil, "rmtree"),
]
"""What touches the disk; a kill is tried before and after each time that it is called."""


def killed_at(monkeypatch, place, after, save):
    """Save, and stop for good at one touch of the disk; whether so many were made."""
    count = 0

    def wrapped(real):
        def call(*arguments, **named):
            nonlocal count
            count += 1
            if count > place:
                raise Killed
            found = real(*arguments, **named) if count < place or after else None
            if count == place:
                raise Killed
            return found

        return call

    with monkeypatch.context() as patch:
        for holder, name in CALLS:
            patch.setattr(holder, name, wrapped(getattr(holder, name)))
        try:
            save()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_instant_loses_nothing(out, tmp_path, monkeypatch, after):
    whole = [OLD | MINE, NEW | MINE]
    exchanged = module._exchange(out, out.with_name("out")) if out.exists() else True
    saved = tmp_path / "saved"
    shutil.copytree(out, saved, symlinks=True)
    place, seen = 0, []
    while True:
        place += 1
        if not killed_at(monkeypatch, place, after, lambda: replace_folder(out, NEW, **RULES)):
            break
        if exchanged:  # nobody has to put anything in order first
            assert contents(out) in [one | {"parts/1": b"spent"} for one in whole] + whole
        said = tidy(out, **RULES)
        now = contents(out)
        now.pop("parts/1", None)
        assert now in whole, place
        assert (out / "link").is_symlink()
        assert os.listdir(tmp_path) in (["out", "saved"], ["saved", "out"]), said
        assert tidy(out, **RULES) == []
        seen.append(whole.index(now))
        shutil.rmtree(out)
        shutil.copytree(saved, out, symlinks=True)
    assert contents(out) == NEW | MINE and place > 12
    assert seen == sorted(seen) and set(seen) == {0, 1}


def test_what_is_left_is_said(out, tmp_path):
    """As earlier versions have left it: the user's files lie in a hidden folder alone."""
    hidden = tmp_path / ".out.0123abcd.partial"
    hidden.mkdir()
    (out / "notes.txt").rename(hidden / "notes.txt")
    (hidden / "a").write_bytes(b"old")
    half = out / ".page.0123abcd.partial"
    half.write_bytes(b"half")
    others = [tmp_path / name for name in (".out.0123abcd.partial.mine", ".outer.0123abcd.partial")]
    for one in others:
        one.mkdir()
    said = tidy(out, **RULES)
    assert said == [
        ".out.0123abcd.partial: left by a run that was killed while it saved, removed; notes.txt "
        "brought back into out",
        ".page.0123abcd.partial: left by a command that was killed while it wrote, removed",
    ]
    assert (out / "notes.txt").read_bytes() == b"mine" and (out / "a").read_bytes() == b"old"
    assert not half.exists() and not hidden.exists() and all(one.is_dir() for one in others)


def test_a_result_without_its_name_is_taken_over(tmp_path):
    folders = [tmp_path / f".out.0000000{n}.partial" for n in range(3)]
    for n, folder in enumerate(folders):
        folder.mkdir()
        if n < 2:
            (folder / "a").write_bytes(b"%d" % n)
            os.utime(folder / "a", ns=(n, n))
        (folder / f"mine{n}").write_bytes(b"x")
    assert any("is taken over" in line for line in tidy(tmp_path / "out", **RULES))
    assert contents(tmp_path / "out") == {"a": b"1"} | {f"mine{n}": b"x" for n in range(3)}
    assert os.listdir(tmp_path) == ["out"]


def test_files_without_links_are_copied(out, monkeypatch):
    def none(*arguments):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(module.os, "link", none)
    replace_folder(out, NEW, **RULES)
    assert contents(out) == NEW | MINE


def test_what_comes_while_the_result_is_saved_is_kept(out, monkeypatch):
    flush = module._flush_folders

    def meanwhile(folder):
        flush(folder)
        (out / "late.txt").write_bytes(b"late")
        (out / "deep/late.txt").write_bytes(b"late")

    monkeypatch.setattr(module, "_flush_folders", meanwhile)
    replace_folder(out, NEW, **RULES)
    assert contents(out) == NEW | MINE | {"late.txt": b"late", "deep/late.txt": b"late"}


def test_who_may_read_it_stays(out):
    out.chmod(0o750)
    replace_folder(out, NEW, **RULES)
    assert out.stat().st_mode & 0o777 == 0o750


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "there.csv").write_bytes(b"old")
    (tmp_path / "link.csv").symlink_to("there.csv")
    write_out(tmp_path / "link.csv", b"new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "there.csv").read_bytes() == b"new"


def test_a_device_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    check_file(tmp_path / "pipe")
    write_out(tmp_path / "pipe", b"text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"] and not (tmp_path / "pipe").is_file()
    write_out(module.Path("/dev/null"), b"text")
    assert module.Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["folder", "none/file", "x" * 250, "loop"])
def test_a_file_that_could_not_be_written_is_refused_before(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=name[:100]) as caught:
        check_file(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop"]
