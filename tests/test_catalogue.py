"""Techniques are found by file name; nothing is imported to list them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from conceptseg import catalogue
from conceptseg.errors import InputError

ROOT = Path(catalogue.__file__).parent


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_names_are_the_files(kind):
    folder = ROOT / catalogue.FOLDERS[kind]
    if kind == "study":
        expected = sorted(p.name for p in folder.iterdir() if (p / "config.py").is_file())
    else:
        files = [path.name for path in folder.iterdir() if path.suffix == ".py"]
        expected = sorted(name[:-3] for name in files if not name.startswith("_"))
    assert list(catalogue.names(kind)) == expected


def test_listing_imports_nothing_heavy():
    program = (
        "import sys; from conceptseg import catalogue; catalogue.table(); catalogue.readme();"
        "print(sorted({'torch', 'sklearn', 'plotly', 'skimage', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_table_says_what_the_classes_say():
    for row in catalogue.table(("explainers", "concepts", "cavs", "metrics")):
        about = catalogue.load(row.kind, row.name).about
        assert (row.family, row.source) == (about.family, about.source)
        assert row.summary


def test_load_imports_the_one_class_that_is_marked():
    from conceptseg.concepts.cavs import ridge

    marked = [
        node.name
        for node in ast.parse(Path(ridge.__file__).read_text()).body
        if isinstance(node, ast.ClassDef) and node.decorator_list
    ]
    assert catalogue.load("cavs", "ridge") is getattr(ridge, marked[0])


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown kind of technique 'cav'.*'cavs'"):
        catalogue.names("cav")
    with pytest.raises(InputError, match="unknown cav 'rigde'.*'ridge'"):
        catalogue.load("cavs", "rigde")
    for path in ("../errors", "__init__", "ridge.py", ""):
        with pytest.raises(InputError, match="unknown cav"):
            catalogue.load("cavs", path)


def test_missing_optional_package_names_its_extra(monkeypatch):
    def absent(path):
        raise ModuleNotFoundError("No module named 'timm'", name="timm.models")

    monkeypatch.setattr(catalogue.importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"needs the package timm.*conceptseg\[smp\]"):
        catalogue.load("cavs", "ridge")


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'scipy'", name="scipy"),
        ImportError("cannot import name 'x' from 'timm.layers'", name="timm.layers"),
    ],
)
def test_a_package_that_does_not_import_is_no_defect(monkeypatch, error):
    def broken(path):
        raise error

    monkeypatch.setattr(catalogue.importlib, "import_module", broken)
    with pytest.raises(InputError, match=r"'ridge' needs a package that cannot be imported \(.*'"):
        catalogue.load("cavs", "ridge")


def test_a_missing_module_of_our_own_is_a_defect(monkeypatch):
    def absent(path):
        raise ModuleNotFoundError("No module named 'conceptseg.gone'", name="conceptseg.gone")

    monkeypatch.setattr(catalogue.importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        catalogue.load("cavs", "ridge")


def test_readme_names_every_technique_once():
    short = catalogue.readme()
    rows = catalogue.table(catalogue.README_KINDS)
    for row in rows:
        assert short.count(f"`{row.name}`") == sum(other.name == row.name for other in rows)
    assert all(line.count(" | ") == 1 for line in short.splitlines())


@pytest.mark.parametrize("kind", catalogue.README_KINDS)
def test_the_full_table_has_a_row_per_technique(kind):
    lines = catalogue.full(kind).splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == list(catalogue.names(kind))
    assert all(line.count(" | ") == 3 for line in lines)


def test_readme_table_is_not_stale():
    """`catalogue.readme()` prints the new one."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- catalogue -->")[2].partition("<!-- /catalogue -->")[0]
    assert table.strip() == catalogue.readme().strip()
