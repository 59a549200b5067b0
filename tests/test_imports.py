"""Imports go one way, packages' `__init__` files import nothing, and light modules stay light."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import conceptseg

ROOT = Path(conceptseg.__file__).parent
OPTIONAL = {"segmentation_models_pytorch", "timm", "transformers", "monai", "pycocotools", "captum"}
OPTIONAL |= {"mlflow", "wandb", "imagecodecs", "nibabel", "pyarrow", "pydicom", "ray"}

ROOMS = ["stats", "result", "report", "planted", "data", "network"]
ROOMS += ["concepts", "explain", "engine", "study"]
"""The rooms, in the order in which they stand on each other: imports go downwards only."""
EVERYWHERE = {"errors", "extras", "strict", "plain", "config", "settings", "catalogue"}
"""Files at the root that every room may know; `notebook` stands on top of all."""
STUDIES = sorted(path.parent.name for path in (ROOT / "study").glob("*/config.py"))

FORBIDDEN = {
    # A concept finder sees embeddings, never where they came from.
    "concepts": {"data", "network"},
    "explain": {"data"},
    # A report never sees a network or a data set, nor does a network see data.
    "network": {"data", "report", "result"},
    "data": {"report", "result"},
    "planted": {"report", "result"},
}
"""Rooms -> lower rooms that they nevertheless must not know, but for what a label is."""
LABELS = {"conceptseg.data.labels"}


def files():
    return sorted(path for path in ROOT.rglob("*.py"))


def name_of(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(["conceptseg", *(parts[:-1] if parts[-1] == "__init__" else parts)])


MODULES = {name_of(path) for path in files()}


def for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree, lazy, types=False):
    """Modules that a file imports when it runs; with `lazy` those inside functions as well, and
    with `types` those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node) and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif lazy or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, lazy, types)


@cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path, lazy, types=False):
    return frozenset(imports(parsed(path), lazy, types))


def part(module):
    return module.split(".")[1] if "." in module else ""


def is_study(module):
    """Whether a module lies in the folder of one study."""
    return part(module) == "study" and (module.split(".") + [""])[2] in STUDIES


def every_import():
    """(module, module that it imports) at the top, inside functions and for the type checker."""
    for path in files():
        for module in sorted(imported(path, lazy=True, types=True)):
            if module.startswith("conceptseg"):
                yield name_of(path), module


def test_init_files_import_nothing():
    for path in files():
        if path.name == "__init__.py":
            assert imported(path, lazy=True) == set(), path


def test_no_module_imports_itself_through_others():
    graph = {name: set() for name in MODULES}
    for name, module in every_import():
        if module in MODULES and module != name:
            graph[name].add(module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " -> ".join(error.args[1]))


def test_the_root_holds_the_rooms_and_what_everybody_may_know():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(ROOMS)
    assert {path.stem for path in ROOT.glob("*.py")} == EVERYWHERE | {
        "__init__",
        "__main__",
        "notebook",
    }


def test_rooms_import_downwards_only():
    wrong = [
        f"{name} imports {module}"
        for name, module in every_import()
        if part(name) in ROOMS
        and part(module) not in EVERYWHERE | {""}
        and (
            part(module) not in ROOMS
            or ROOMS.index(part(module)) > ROOMS.index(part(name))
            or (part(module) in FORBIDDEN.get(part(name), ()) and module not in LABELS)
        )
    ]
    assert wrong == []


def test_the_files_at_the_root_import_no_room():
    wrong = [
        f"{name} imports {module}"
        for name, module in every_import()
        if part(name) in EVERYWHERE and part(module) not in EVERYWHERE | {""}
    ]
    assert wrong == []


def test_studies_know_neither_the_loop_that_runs_them_nor_each_other():
    wrong = []
    for name, module in every_import():
        if not is_study(name):
            continue
        own, other = name.split(".")[2], (module.split(".") + ["", ""])[2]
        loop = {"run", "start", "store", "progress"}
        if part(module) == "study" and other not in (own, "shared"):
            wrong.append(f"{name} imports {module}")
        if part(module) == "engine" and other in loop:
            wrong.append(f"{name} imports {module}")
        if part(module) == "settings":
            wrong.append(f"{name} imports {module}")
    assert wrong == []


def test_optional_packages_are_imported_only_by_the_technique_that_needs_them():
    for path in files():
        if path.parent.name in ("sources", "readers"):
            continue  # the catalogue imports these one by one, and names the missing extra
        tops = {module.partition(".")[0] for module in imported(path, lazy=False)}
        assert not tops & OPTIONAL, path


def test_one_folder_knows_ray():
    """Inside functions too: what runs on this machine alone does not need the package."""
    tops = {
        path: {name.partition(".")[0] for name in imported(path, lazy=True)} for path in files()
    }
    assert {path.parent for path in files() if "ray" in tops[path]} == {ROOT / "engine" / "ray"}


def test_nothing_unpickles_or_evaluates():
    for path in files():
        tree = parsed(path)
        names = {module.partition(".")[0] for module in imports(tree, lazy=True)}
        assert not names & {"marshal", "shelve", "dill", "cloudpickle", "joblib"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "yaml.load", "yaml.unsafe_load"), path
                assert not called.startswith("pickle."), path
                if called == "torch.load":
                    words = {k.arg: ast.unparse(k.value) for k in node.keywords}
                    assert words.get("weights_only") == "True", path


LIGHT = {
    "errors config catalogue engine.contract": {
        "torch",
        "numpy",
        "sklearn",
        "plotly",
        "yaml",
        "rich",
    },
    "settings engine.progress": {"torch", "numpy", "sklearn", "plotly"},
    "study.__main__": {"torch", "numpy", "sklearn", "plotly", "yaml"},
    "result.saved report.blocks engine.run engine.store engine.start": {
        "torch",
        "sklearn",
        "skimage",
        "umap",
        "plotly",
    },
    " ".join(f"study.{name}.config" for name in STUDIES): {
        "torch",
        "sklearn",
        "skimage",
        "umap",
        "plotly",
    },
    "data.manifest": {"torch", "sklearn", "skimage"},
}


@pytest.mark.parametrize("modules", LIGHT)
def test_light_modules_import_nothing_heavy(modules):
    lines = "; ".join(f"import conceptseg.{name}" for name in modules.split())
    program = f"import sys; {lines}; print(sorted({LIGHT[modules]!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
