"""The folder of a run: what is refused before anything is computed, and what is put in order."""

import os
from pathlib import Path

import pytest

from conceptseg.engine import run
from conceptseg.engine.out import check_earlier, check_out, taken
from conceptseg.engine.shelf import Folder
from conceptseg.errors import InputError
from conceptseg.result.saved import Result
from tests import toys

CONFIG = {"layer": "body", "model": {"weights": "/srv/alice/w.pt"}, "run": {"batch_size": 2}}


def finished(out, **changes):
    result = run.run_study(toys.toy(), toys.context(), out, recorded={**CONFIG, **changes})
    run.save(toys.Toy, result, out)
    return result.study


def refusal(out, study, recorded):
    with pytest.raises(InputError, match="--out, or have it replaced by --fresh") as caught:
        check_earlier(Folder(out), study, recorded)
    assert "\n" not in str(caught.value) and str(out) in str(caught.value)
    return str(caught.value)


def test_it_is_checked_before_anything_is_computed(tmp_path):
    check_out(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/out")):
        with pytest.raises(InputError, match=str(out)):
            check_out(out)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "report.html").write_text("not ours")
    with pytest.raises(InputError, match="not an earlier result"):
        check_out(tmp_path / "theirs")


@pytest.mark.parametrize("target", ["itself", "nowhere", "itself/below"])
def test_a_link_that_leads_to_no_folder(tmp_path, target):
    (tmp_path / "itself").symlink_to(target)
    with pytest.raises(InputError, match="a link that leads to no folder"):
        check_out(tmp_path / "itself")
    assert os.listdir(tmp_path) == ["itself"]


@pytest.mark.parametrize("length", range(228, 258, 3))
def test_what_could_not_be_saved_for_its_name_is_refused(tmp_path, length):
    """Whatever is let through can be saved."""
    out = tmp_path / ("x" * length)
    try:
        check_out(out)
    except InputError as error:
        assert "too long" in str(error) and length > 230
    else:
        Result("toy").save(out, "page")
        assert length < 240
    assert [one.name for one in tmp_path.iterdir()] in ([], [out.name])


def test_a_path_that_is_too_long_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(16):
        os.mkdir("d" * 240)
        os.chdir("d" * 240)
    room = 4096 - len(str(tmp_path)) - 16 * 241
    with pytest.raises(InputError, match="too long"):
        check_out(tmp_path.joinpath(*["d" * 240] * 16, "x" * (room - 100)))


def test_the_same_configuration_again(tmp_path):
    study = finished(tmp_path / "out")
    check_earlier(Folder(tmp_path / "out"), study, {**CONFIG, "run": {"batch_size": 8}})
    check_earlier(Folder(tmp_path / "none"), study, CONFIG)


def test_what_another_has_found_is_not_replaced(tmp_path):
    study = finished(tmp_path / "out")
    assert f"of the study {study!r}" in refusal(tmp_path / "out", "another", CONFIG)
    other = {**CONFIG, "layer": "head", "seed": 3}
    assert "another configuration (layer, seed)" in refusal(tmp_path / "out", study, other)
    elsewhere = {**CONFIG, "model": {"weights": "/srv/bob/w.pt"}}
    assert "in another place" in refusal(tmp_path / "out", study, elsewhere)
    for text in ("{", "[]", '{"study": 3}', "[" * 100_000):
        (tmp_path / "out/result.json").write_text(text)
        refusal(tmp_path / "out", study, CONFIG)


def test_taken_puts_in_order_and_says_so(tmp_path):
    study = finished(tmp_path / "out")
    (tmp_path / ".out.01234567.partial").mkdir()
    with taken(tmp_path / "out", study, CONFIG) as said:
        assert len(said) == 1 and "killed while it saved, removed" in said[0]
        with (
            pytest.raises(InputError, match="another run is writing there"),
            taken(tmp_path / "out", study, CONFIG, fresh=True),
        ):
            pass
    with pytest.raises(InputError, match="of the study"), taken(tmp_path / "out", "other", {}):
        pass
    with taken(tmp_path / "out", "other", {}, fresh=True) as said:
        assert said == []
    assert os.listdir(tmp_path) == ["out"]
