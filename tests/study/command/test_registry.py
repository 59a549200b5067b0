"""The command's verbs: a file each, found by themselves, in panels of help by what they answer."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conceptseg import catalogue
from conceptseg.errors import InputError
from conceptseg.study import __main__ as command
from conceptseg.study.command import registry
from conceptseg.study.command.options import one_file
from conceptseg.study.command.studies import OTHER, panel

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]


def registered():
    return {one.name: one for one in command.app.registered_commands}


def test_each_file_is_a_verb_with_help_and_a_panel():
    for name in registry.verbs():
        one = registered()[name.replace("_", "-")]
        assert inspect.getdoc(one.callback), name
        assert one.rich_help_panel in registry.PANELS, name


def test_each_verb_has_its_test():
    """A file beside it; of verbs older than the folder, words in the command's test."""
    older = (HERE.parent / "test_command.py").read_text() + (
        HERE.parents[1] / "report" / "test_card.py"
    ).read_text()
    for name in registry.verbs():
        word = name.replace("_", "-")
        beside = (HERE / "verbs" / f"test_{name}.py").is_file()
        assert beside or f'"{word}"' in older, name


def test_studies_stand_under_the_question_that_they_answer():
    assert {panel(name) for name in catalogue.names("study")} <= set(registry.PANELS) - {OTHER}
    assert panel("audit") == registered()["card"].rich_help_panel == "May it ship?"
    assert panel("ace") == panel("dissect") != panel("bottleneck")


def test_all_studies_have_the_same_options():
    each = {str(inspect.signature(registered()[s].callback)) for s in catalogue.names("study")}
    assert len(each) == 1


def test_a_file_is_given_once():
    assert one_file(None, Path("a")) == one_file(Path("a"), None) == Path("a")
    assert one_file(None, None) is None
    with pytest.raises(InputError, match="two files are given, a and b"):
        one_file(Path("a"), Path("b"))


@pytest.mark.parametrize(
    "typed, expected", [("perm", "permutation"), ("ace --fre", "--fresh"), ("sche", "schema")]
)
def test_the_shell_completes(typed, expected):
    done = subprocess.run(
        [sys.executable, "-c", "from conceptseg.study.__main__ import main; main([])"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "_CONCEPTSEG_COMPLETE": "complete_bash",
            "COMP_WORDS": f"conceptseg {typed}",
            "COMP_CWORD": str(len(typed.split())),
        },
    )
    assert expected in done.stdout.split(), done.stdout + done.stderr
