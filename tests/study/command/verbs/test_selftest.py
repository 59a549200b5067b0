"""What the verb refuses before it measures anything."""

import pytest

from conceptseg.errors import EXIT_INPUT
from conceptseg.study import __main__ as command


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--draws", "3"], "--draws 3: give 20 to 1000000"),
        (["--sets", "-1"], "--sets -1: give 0 to"),
        (["--study", "acee"], "--study acee: did you mean"),
    ],
)
def test_what_cannot_be_run_is_one_line(given, told, tmp_path, capsys):
    assert command.main(["selftest", "--out", str(tmp_path / "x"), *given]) == EXIT_INPUT
    error = capsys.readouterr().err.strip()
    assert told in error and error.count("\n") == 0
    assert not (tmp_path / "x").exists()
