"""What is told is one line that prints, of bounded length, and what is no file is not read."""

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import HEAD, TAIL, InputError, check_regular, few, one_line


@given(st.text(st.characters(), max_size=3000))
def test_a_message_is_one_bounded_line_that_prints(text):
    line = str(InputError(text))
    assert line.isprintable() and "\n" not in line
    # What does not print is spelt out, as in \U000e0001.
    assert len(line) <= 10 * (HEAD + TAIL + 3)
    assert str(pickle.loads(pickle.dumps(InputError(text)))) == line


def test_of_a_long_message_beginning_and_cure_are_kept():
    line = str(InputError(f"study.yaml: no class {'x' * 100_000!r}; did you mean 'car'?"))
    assert line.startswith("study.yaml: no class 'xxx")
    assert line.endswith("xxx'; did you mean 'car'?")
    assert len(line) == HEAD + TAIL + 3
    assert one_line(line) == line


def test_marks_that_would_change_what_is_read_are_spelt_out():
    assert one_line("a\n\tb \u202egnp.\u2066x\ud800\x1b[31m") == (
        r"a b \u202egnp.\u2066x\ud800\x1b[31m"
    )
    assert one_line("größer als 7 µm") == "größer als 7 µm"


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match=f"{name}: a device or a pipe, not a file"):
            check_regular(tmp_path / name)
    (tmp_path / "file").write_text("x")
    for name in ("file", "", "missing", "x" * 5000, "\0"):
        check_regular(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "said"),
    [([], ""), (["a"], "a"), ("ab", "a, b"), ("abc", "a, b, ..."), (range(9), "0, 1, ...")],
)
def test_dots_stand_only_where_there_are_more(names, said):
    assert few(names, 2) == said
