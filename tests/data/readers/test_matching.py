import re
import signal
import threading
import time

import pytest

from conceptseg.data.readers import _matching
from conceptseg.data.readers._matching import FREE, Matcher
from conceptseg.errors import InputError
from tests.files import LABELS, manifest, pairs, png, write

ENDLESS = {
    "nested": (r"((a+)+)b", "a" * 60),
    "nested, of groups": (r"((?:[a-z]+\d*)*)-", "a" * 60),
    "one or the other": (r"((?:a|a)*)b", "a" * 60),
    "overlapping words": (r"((?:a|b|ab)+)c", "ab" * 40),
    "bounded but many": (r"(((?:a{0,9}){0,9}){0,9})b", "a" * 100),
    "one after the other": (r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)x", "a" * 120),
    "told apart too late": (r"(.*)_(.*)_(.*)_(.*)_(.*)_(.*)x", "_" * 128),
    "looked ahead": (r"(?=(a+)+b)(a)", "a" * 60),
    "the same again": (r"(a*)(a*)(a*)(a*)\1\2\3\4\1\2b", "a" * 120),
}
USUAL = {
    r"(scene\d+)_": ("scene12_003", "scene12"),
    r"([^_]+)_": ("p1_left_2", "p1"),
    r"(.*)_\d+": ("a_b_c_17", "a_b_c"),
    r"((?:[^_]+_)+)\d+": ("a_b_c_17", "a_b_c_"),
    r"(?:\w+/)*(\w+)-": ("x/y/z-1", "z"),
    r"(?i)(p\d{1,4})(?=-)": ("P0012-4", "P0012"),
    r"(.+?)(?:_aug\d+)*$": ("cell_7_aug1_aug22", "cell_7"),
}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(_matching, "FREE", 0.1)


@pytest.mark.parametrize("name", ENDLESS)
def test_what_could_go_on_for_ever_ends(name, short):
    pattern, text = ENDLESS[name]
    matcher = Matcher(pattern, "a.yaml: group")
    began = time.process_time()
    with pytest.raises(InputError, match=f"^a.yaml: group takes too long .*'{text[:9]}"):
        matcher.all(["usual", text])
    assert time.process_time() - began < 5
    assert signal.getsignal(signal.SIGVTALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


@pytest.mark.parametrize("pattern", USUAL)
def test_what_is_usual_is_matched_as_ever(pattern):
    text, group = USUAL[pattern]
    assert Matcher(pattern, "a.yaml: group").all([text])[0][1] == group
    assert Matcher(pattern, "a.yaml: group").all([""])[0] == re.match(pattern, "")


def test_many_texts_that_each_take_long_are_too_much(short):
    """Each alone would be let pass."""
    matcher = Matcher(r"((?:a|a)*)b", "a.yaml: group")
    assert matcher.all(["a" * 16]) == [None]
    with pytest.raises(InputError, match="too many ways"):
        matcher.all(["a" * 16] * 1000)


def test_however_they_are_dealt_out(short):
    matcher = Matcher(r"((?:a|a)*)b", "a.yaml: group")
    with pytest.raises(InputError, match="too many ways"):
        for _ in range(1000):
            matcher.all(["a" * 16])


def test_a_hundred_thousand_usual_texts_are_not_too_much(short):
    matcher = Matcher(r"((?:[^_]+_)+)\d+", "a.yaml: group")
    for i in range(100_000):
        assert matcher.all([f"scan_{i % 7}_{i}"])[0][1] == f"scan_{i % 7}_"


def test_a_clock_of_somebody_elses_is_left_as_it_was():
    def theirs(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGVTALRM, theirs)
    try:
        Matcher(r"(a)", "a.yaml: group").all(["a"])
        assert signal.getsignal(signal.SIGVTALRM) == theirs
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_it_matches_in_a_thread_too():
    found = []
    matcher = Matcher(r"(a+)b", "a.yaml: group")
    thread = threading.Thread(target=lambda: found.append(matcher.all(["aab"])[0][1]))
    thread.start()
    thread.join()
    assert found == ["aa"]


@pytest.mark.parametrize("how", ["samples", "table", "folders"])
def test_a_group_that_would_never_be_found_is_refused(tmp_path, how, short):
    name = "a" * 60
    write(tmp_path / f"train/images/{name}.png", png([[0]]))
    keys = {
        "samples": [{"image": f"train/images/{name}.png"}],
        "table": {"file": "table.csv"},
        "folders": [{"images": "train/images/{id}.png"}],
    }
    write(tmp_path / "table.csv", f"image\ntrain/images/{name}.png\n")
    with pytest.raises(InputError, match=r"group '\(\(a\+\)\+\)b' takes too long"):
        manifest(tmp_path, labels=LABELS, group="((a+)+)b", **{how: keys[how]})


def test_a_pattern_of_files_that_fits_in_too_many_ways_is_refused(tmp_path, short):
    """Its words stand beside each other, and again: which is which takes the power of nine."""
    names = "".join(f"{{w{i}}}" for i in range(9))
    write(tmp_path / ("a" * 110) / ("a" * 109 + "b.png"), png([[0]]))
    folder = {"images": f"{names}/{{id}}{names}.png"}
    with pytest.raises(InputError, match="entry 1: images .* takes too long"):
        manifest(tmp_path, labels=LABELS, folders=[folder])


def test_each_id_gets_its_own_group(tmp_path):
    """Also where some samples name theirs."""
    assert FREE == 2
    pairs(tmp_path)
    entries = [{"image": f"train/images/{one}.png"} for one in "abc"]
    entries[1]["group"] = "own"
    found = manifest(tmp_path, labels=LABELS, samples=entries, group="((a+|c+)+)")
    assert found.groups == ("a", "own", "c")
