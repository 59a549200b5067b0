"""Which verbs there are: each file of `verbs/`, and each study.

A verb's file holds `command`, a function whose parameters are its options and whose documentation
is its help, and `PANEL`, the panel of help that it stands in. The file's name is the verb's. It
imports nothing heavy at its top: all files are imported to show help.
"""

import importlib
from pathlib import Path

import typer

from conceptseg import catalogue
from conceptseg.study.command.studies import OTHER, QUESTIONS, panel, study_command

PANELS = (*("Begin", *dict.fromkeys(QUESTIONS.values())), OTHER, "With finished runs")
"""The panels of help, in their order."""


def verbs() -> tuple[str, ...]:
    """The names of the files of `verbs/`, sorted."""
    return tuple(sorted(file.stem for file in (Path(__file__).parent / "verbs").glob("[!_]*.py")))


def register(app: typer.Typer) -> None:
    """Give the command its verbs, panel by panel."""
    modules = {name: importlib.import_module(f"{__package__}.verbs.{name}") for name in verbs()}
    found = [(one.PANEL, name.replace("_", "-"), one.command) for name, one in modules.items()]
    found += [(panel(name), name, study_command(name)) for name in catalogue.names("study")]
    for where, name, command in sorted(found, key=lambda one: (PANELS.index(one[0]), one[1])):
        app.command(name=name, rich_help_panel=where)(command)
