"""The map in the package's docstring is the package that lies there, and its example runs."""

import doctest
import re
from pathlib import Path

import conceptseg
from conceptseg import catalogue

ROOT = Path(conceptseg.__file__).parent


def test_the_example_runs():
    failed, tried = doctest.testmod(conceptseg)
    assert tried and not failed


def test_it_names_every_room_in_order():
    table = conceptseg.__doc__.split("=\n")[2]
    named = re.findall(r"^`(\w+)`", table, re.M)
    rooms = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert sorted(named) == sorted(rooms)


def test_it_names_every_folder_of_techniques():
    for kind, folder in catalogue.FOLDERS.items():
        assert f"{Path(folder).name}/`" in conceptseg.__doc__ or kind == "study", folder
