import errno
import io
import json
import os
import re
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.report.blocks import Report
from conceptseg.report.page import render
from conceptseg.result import folder as folder_module
from conceptseg.result.encoding import plain
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result, image_type, safe_key, sealed
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WEBP = b"RIFF\x00\x00\x00\x00WEBP" + bytes(20)


def finding(**changes):
    content = {
        "claim": "road needs concept 1",
        "class": "road",
        "effect": -0.2,
        "ci": (-0.3, -0.1),
        "p": 0.001,
        "p_adjusted": 0.01,
        "n": 40,
        "evidence": "concept-1",
    }
    return Finding(**(content | changes))


def result(**changes):
    content = {
        "study": "ace",
        "findings": [finding()],
        "tables": {
            "pairs": Table(
                [{"b": np.float32(0.5), "a": float("nan")}, {"b": 2, "a": 1.5}],
                labels={"a": "A value"},
                caption="Pairs",
            )
        },
        "arrays": {"file": np.arange(6.0).reshape(2, 3), "flags": np.array([True, False])},
        "images": {"photo": WEBP, "chart": PNG},
        "skipped": [{"sample": "s1", "reason": "no road"}],
        "provenance": {"seed": 0, "data": {"images": np.int64(40)}},
        "timings": {"total": 1.5},
        "config": {"layer": "auto", "root": Path("a/b")},
        "notes": {"classes": ("road", "sky")},
    }
    return Result(**(content | changes))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_saved_result_comes_back(tmp_path):
    first = result()
    folder = first.save(tmp_path / "out", "<p>report</p>")
    second = Result.load(folder)
    assert second.to_json() == first.to_json()
    assert second.findings == first.findings
    assert second.tables["pairs"].columns == ("b", "a")  # the order given, not the alphabet's
    assert second.tables["pairs"].rows[0] == {"b": 0.5, "a": None}
    assert dict(second.images) == dict(first.images)
    for key, values in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[key], values)
        assert second.arrays[key].dtype == values.dtype
    assert set(contents(folder)) == {
        "result.json",
        "arrays.npz",
        "report.html",
        "images/photo.webp",
        "images/chart.png",
    }


def test_result_json_has_the_promised_keys_and_is_strict_json():
    text = result(findings=[finding(effect=float("inf"), ci=(float("nan"), 1.0))]).to_json()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    saved = json.loads(text, parse_constant=refuse)
    assert set(saved) == {
        "study",
        "findings",
        "tables",
        "skipped",
        "provenance",
        "timings",
        "config",
        "notes",
        "schema",
        "files",
        "digest",
        "verdict",
    }
    assert set(saved["findings"][0]) == {
        "plain",
        "warning",
        "claim",
        "class",
        "effect",
        "ci",
        "p",
        "p_adjusted",
        "p_least",
        "n",
        "of",
        "by",
        "null",
        "fault",
        "evidence",
        "details",
    }
    assert saved["findings"][0]["effect"] is None
    assert saved["findings"][0]["ci"] is None
    assert text == json.dumps(saved, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_equal_contents_give_equal_bytes(tmp_path):
    backwards = dict(reversed(result().arrays.items()))
    one = contents(result().save(tmp_path / "one"))
    two = contents(result(arrays=backwards).save(tmp_path / "two"))
    assert one == two


def test_arrays_need_no_pickle_and_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        result(arrays={"bad": np.array([{}], dtype=object)}).save(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    folder = result().save(tmp_path / "out")
    with zipfile.ZipFile(folder / "arrays.npz") as archive:
        assert archive.namelist() == ["file.npy", "flags.npy"]


def test_what_a_second_save_keeps_and_what_it_drops(tmp_path):
    folder = result().save(tmp_path / "out", "old")
    (folder / "mine.txt").write_text("keep")
    (folder / "shards").mkdir()
    (folder / "shards" / "part").write_text("keep too")
    result(images={}, arrays={}).save(folder)
    assert set(contents(folder)) == {"result.json", "mine.txt", "shards/part"}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir", "exchange", "link"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failing_disk_leaves_the_old_result_and_nothing_else(
    tmp_path, monkeypatch, call, code, after
):
    folder = result().save(tmp_path / "out", "old")
    for name in ("mine", "yours"):
        (folder / name).write_text("kept")
    before = contents(folder)
    if call == "rename":  # as where names cannot be exchanged
        monkeypatch.setattr(folder_module, "_exchange", lambda one, other: False)
    failed = fail_after(monkeypatch, call, code, after)
    try:
        result(findings=[]).save(folder, "new")
    except InputError as error:
        assert failed
        assert str(folder) in str(error)
        assert os.strerror(code) in str(error)
        assert "\n" not in str(error)
        monkeypatch.undo()
        assert contents(folder) == before
    else:
        copied = call == "link" and code == errno.EACCES
        assert not failed or copied  # fewer calls were made than were let through
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_failing_disk_leaves_nothing_where_nothing_was(tmp_path, monkeypatch, call):
    fail_after(monkeypatch, call, errno.ENOSPC, 0)
    with pytest.raises(InputError, match="No space left on device"):
        result().save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def fail_after(monkeypatch, call, code, after):
    """Let the first calls through and fail the next one; returns a list that is filled then."""
    failed, calls = [], []
    real = {
        "write": folder_module._write,
        "fsync": os.fsync,
        "rename": Path.rename,
        "mkdir": Path.mkdir,
        "exchange": folder_module._exchange,
        "link": os.link,
    }[call]

    def fake(*args, **kwargs):
        calls.append(call)
        if len(calls) == after + 1:
            if call == "write" and args[0].parent.is_dir():
                args[0].write_bytes(b"half")
            failed.append(call)
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    target = {
        "write": (folder_module, "_write"),
        "fsync": (folder_module.os, "fsync"),
        "rename": (Path, "rename"),
        "mkdir": (Path, "mkdir"),
        "exchange": (folder_module, "_exchange"),
        "link": (folder_module.os, "link"),
    }[call]
    monkeypatch.setattr(*target, fake)
    return failed


def test_a_folder_that_is_no_result_is_not_replaced(tmp_path):
    holiday = tmp_path / "holiday"
    (holiday / "images").mkdir(parents=True)
    (holiday / "images" / "beach.jpg").write_text("precious")
    with pytest.raises(InputError, match="not an earlier result"):
        result().save(holiday)
    assert (holiday / "images" / "beach.jpg").read_text() == "precious"
    with pytest.raises(InputError, match="is a file"):
        result().save(holiday / "images" / "beach.jpg")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    result().save(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert Result.load(tmp_path / "out").study == "ace"


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def table(**changes):
    return {"rows": [{"a": 1}], "columns": ["a"], "labels": {}, "caption": "", **changes}


def change(folder, **changes):
    path = folder / "result.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | changes)))


@pytest.mark.parametrize(
    "break_it, said",
    [
        (lambda f: (f / "result.json").unlink(), "does not exist"),
        (lambda f: (f / "result.json").write_text("{"), "not a result"),
        (lambda f: (f / "result.json").write_text("[" * 100_000), "not a result"),
        (lambda f: (f / "result.json").write_bytes(b"\xff\xfe"), "not a result"),
        (lambda f: (f / "result.json").write_text("[]"), "no mapping"),
        (lambda f: (f / "result.json").write_text("{}"), "lacks"),
        (lambda f: change(f, more=1), "unknown keys"),
        (lambda f: change(f, schema=99), "schema 99"),
        (lambda f: change(f, findings=[{"claim": "x"}]), "finding"),
        (lambda f: change(f, findings=[{"claim": "x", "n": -1, "evidence": "e"}]), "finding's n"),
        (lambda f: change(f, tables={"t": {"rows": [1]}}), "not a result"),
        (lambda f: change(f, tables=7), "not a result"),
        (lambda f: change(f, tables={"t": table(columns=[["a"]])}), "must be texts"),
        (lambda f: change(f, tables={"t": table(columns="ab")}), "must be texts"),
        (lambda f: change(f, tables={"t": table(labels={"a": 1.5})}), "must be texts"),
        (lambda f: change(f, files={"../secret": "0"}), "no result contains"),
        (lambda f: change(f, files={"images/../../secret.png": "0"}), "no result contains"),
        (lambda f: change(f, files={"/etc/passwd": "0"}), "no result contains"),
        (lambda f: (f / "images" / "photo.webp").unlink(), "photo.webp is listed"),
        (lambda f: (f / "images" / "photo.webp").write_bytes(WEBP + b"x"), "was altered"),
        (lambda f: (f / "arrays.npz").write_bytes(b"PK"), "was altered"),
    ],
)
def test_a_broken_folder_is_one_line(tmp_path, break_it, said):
    folder = result().save(tmp_path / "out")
    break_it(folder)
    with pytest.raises(InputError, match=said) as caught:
        Result.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


NOT_ARRAYS = {
    "text": b"text",
    "nothing": b"",
    "an archive of something else": zipped({"x.npy": b"text", "y": b"more"}),
    "an array that ends too early": npz(a=np.arange(9.0))[:200],
    "bytes that do not unpack": npz(a=np.arange(9.0)).replace(b"\x93NUMPY", b"\x93NUMPX"),
    "objects": npz(a=np.array([{}], object)),
}


@pytest.mark.parametrize("kind", NOT_ARRAYS)
def test_arrays_that_are_none_behind_a_digest_that_fits(tmp_path, kind):
    folder = result().save(tmp_path / "out")
    data = NOT_ARRAYS[kind]
    (folder / "arrays.npz").write_bytes(data)
    files = json.loads((folder / "result.json").read_text())["files"]
    change(folder, files=files | {"arrays.npz": sha256(data).hexdigest()})
    with pytest.raises(InputError, match=r"arrays\.npz") as caught:
        Result.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"p_adjusted": 0.', '"p_adjusted": 0.0', 1),
        lambda text: text.replace('"tables": {', '"tables": {"more": {}, ', 1),
        lambda text: re.sub('"study": ".*"', '"study": "other"', text),
    ],
)
def test_a_result_that_was_changed_by_hand_is_noticed(tmp_path, edit):
    folder = result(findings=[finding(p_adjusted=0.03)], notes={3: "x", 20: "y"}).save(
        tmp_path / "out"
    )
    path = folder / "result.json"
    before = path.read_text()
    Result.load(folder)
    path.write_text(json.dumps(json.loads(before), indent=4))
    Result.load(folder)  # laid out in another way it is the same result
    path.write_text(edit(before))
    assert path.read_text() != before
    with pytest.raises(InputError, match="result.json was altered since it was saved"):
        Result.load(folder)
    if "more" not in path.read_text():  # that is no table
        assert Result.load(folder, altered=True).altered
    path.write_text(before)
    assert not Result.load(folder, altered=True).altered
    path.write_text(before[: len(before) // 2])
    with pytest.raises(InputError, match="not a result of this version"):
        Result.load(folder)


def test_a_linked_picture_is_not_followed_out_of_the_folder(tmp_path):
    folder = result().save(tmp_path / "out")
    secret = tmp_path / "secret.webp"
    secret.write_bytes(WEBP)  # the very bytes that are listed: only its place is wrong
    (folder / "images" / "photo.webp").unlink()
    (folder / "images" / "photo.webp").symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the folder"):
        Result.load(folder)


class Explosive:
    def __reduce__(self):
        return (os.abort, ())


def test_code_in_the_arrays_does_not_run(tmp_path):
    folder = result(arrays={}).save(tmp_path / "out")
    np.savez(folder / "arrays.npz", bad=np.array([Explosive()], dtype=object), allow_pickle=True)
    data = (folder / "arrays.npz").read_bytes()
    files = json.loads((folder / "result.json").read_text())["files"]
    change(folder, files=files | {"arrays.npz": sha256(data).hexdigest()})
    with pytest.raises(InputError, match="arrays.npz cannot be read"):
        Result.load(folder)


@pytest.mark.parametrize("name", ["result.json", "arrays.npz", "images/photo.webp"])
def test_what_never_ends_is_not_read(tmp_path, name):
    folder = result().save(tmp_path / "out")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"{name}.* cannot be read"):
        Result.load(folder)


def test_keys_that_are_no_file_names_are_refused():
    for key in ("../x", "a/b", "", ".hidden", "a" * 200, "x\n"):
        with pytest.raises(ValueError, match="safe_key"):
            result(images={key: PNG})
    with pytest.raises(ValueError, match="upper and lower"):
        result(images={"a": PNG, "A": PNG})
    with pytest.raises(ValueError, match="WebP"):
        image_type(b"GIF89a")


@given(st.lists(st.text(), unique=True))
def test_safe_keys_are_safe_and_stay_apart(texts):
    keys = [safe_key(text) for text in texts]
    result(images=dict.fromkeys(keys, PNG))
    assert len({key.casefold() for key in keys}) == len(texts)
    assert [safe_key(key) for key in keys] == keys


def test_plain_values():
    given_ = {1: np.array([1.5, np.nan]), "s": {2, 1}, "t": (np.bool_(True), np.float32(0.5))}
    assert plain(given_) == {"1": [1.5, None], "s": [1, 2], "t": [True, 0.5]}
    with pytest.raises(TypeError, match="bytes"):
        plain(b"x")


def test_ranking_puts_large_significant_effects_first():
    small = finding(claim="small", effect=0.01, p_adjusted=0.0001)
    large = finding(claim="large", effect=-0.3, p_adjusted=0.04)
    unsure = finding(claim="unsure", effect=0.9, p_adjusted=0.2)
    untested = finding(claim="untested", effect=0.5, p_adjusted=None)
    order = [f.claim for f in ranked([untested, unsure, small, large])]
    assert order == ["large", "small", "unsure", "untested"]


def test_a_notebook_shows_it_escaped():
    shown = result(findings=[finding(claim="<script>x</script>")])._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def judged(adjusted, least=0.001):
    return Test(0.001, adjusted, 0.001, least, 0.1, 0.05, 12, "groups", "holm")


def about(claim="c", value=0.4, low=0.3, high=0.5, test=None, null=None, n=12):
    estimate = Estimate(value, low, high, n, "groups")
    return Finding.about(claim, estimate, test, evidence="pairs", null=null, effect_name="loss")


def test_a_finding_is_made_of_an_estimate_and_a_test():
    found = about(test=judged(0.02))
    assert (found.effect, found.ci, found.p, found.p_adjusted) == (0.4, (0.3, 0.5), 0.001, 0.02)
    assert (found.n, found.of, found.counted) == (12, "groups", "12 groups")
    assert found.details == {"effect_name": "loss"}
    assert about(n=1).counted == "1 group" and about(n=4).ci is None


@pytest.mark.parametrize(
    ("made", "standing"),
    [
        ({"test": judged(0.02)}, "evidence"),
        ({"test": judged(0.02), "low": -1.0}, "evidence"),  # its test decides: not judged twice
        ({"test": judged(0.2)}, "no evidence"),  # nor its interval, which excludes 0
        ({"test": judged(0.2), "null": 0.0}, "no evidence"),
        ({"test": judged(float("nan"), least=0.2)}, "not testable"),
        ({"null": 0.0}, "evidence"),
        ({"null": 0.25}, "evidence"),
        ({"null": 0.35}, "no evidence"),
        ({"null": 0.25, "n": 4}, "no evidence"),
        ({}, "description"),
    ],
)
def test_one_answer_to_what_counts_as_evidence(made, standing):
    found = about(**made)
    assert found.standing == standing
    again = Finding.model_validate(json.loads(json.dumps(found.model_dump(by_alias=True))))
    assert again.standing == standing and again == found


def test_a_finding_proved_by_an_interval_is_not_sorted_last():
    kept = about("kept its map under shuffled weights", 0.9, 0.8, 0.95, null=0.5)
    small = about("a small difference", 0.1, test=judged(0.01))
    described = about("a share of all pixels", 0.99)
    unsure = about("unsure", 5.0, test=judged(0.3))
    blind = about("not testable", 9.0, test=judged(float("nan"), least=0.2))
    order = [f.claim for f in ranked([blind, unsure, described, small, kept])]
    assert order == [f.claim for f in (kept, small, described, unsure, blind)]
    html = render(Report("t"), result(findings=[kept, unsure, blind]))
    assert html.count("badge quiet") == 2 and ">not testable</span>" in html
    assert html.count("<dt>n</dt><dd>12 groups</dd>") == 3


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, "evidence"),
        ({"p_adjusted": 0.06}, "no evidence"),
        ({"p_adjusted": None}, "not testable"),
        ({"p": None, "p_adjusted": None}, "description"),
    ],
)
def test_findings_of_earlier_results_still_load(changes, standing):
    """They lack what n counts and what decides."""
    keys = ("claim", "class", "effect", "ci", "p", "p_adjusted", "n", "evidence", "details")
    older = {key: finding(**changes).model_dump(by_alias=True)[key] for key in keys}
    found = Finding.model_validate(older)
    assert found.standing == standing and found.counted == "40 observations"
