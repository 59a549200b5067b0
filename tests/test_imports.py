"""Imports go one way, packages' `__init__` files import nothing, and light modules stay light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import conceptseg

ROOT = Path(conceptseg.__file__).parent
OPTIONAL = {"segmentation_models_pytorch", "timm", "transformers", "monai", "pycocotools", "captum"}

PACKAGES = sorted(path.stem for path in (ROOT / "study").glob("[a-z]*.py"))
"""Each study has a package of its own name, if it needs one."""

FORBIDDEN = {
    # An explainer, a concept finder, a metric never sees a data set; a statistic never a network.
    "explainers": {"data", "readers", "run", "start", "report", "study", "concepts", "stats"},
    "concepts": {"data", "readers", "model", "models", "run", "start", "report", "study"},
    "cavs": {"data", "readers", "model", "models", "run", "start", "report", "study"},
    "metrics": {"data", "readers", "run", "start", "report", "study"},
    "stats": {"data", "readers", "model", "models", "record", "run", "start", "report", "study"},
    # A report never sees a network or a data set.
    "report": {"data", "readers", "model", "models", "record", "run", "start", "study"},
    "page": {"data", "readers", "model", "models", "record", "run", "start", "study"},
    "figures": {"data", "readers", "model", "models", "record", "run", "start", "study"},
    "result": {"data", "readers", "model", "models", "record", "run", "start", "study"},
    # What everything stands on.
    "data": {"model", "models", "record", "result", "report", "run", "start", "study"},
    "readers": {"model", "models", "record", "result", "report", "run", "start", "study"},
    "model": {"data", "readers", "result", "report", "run", "start", "study", "explainers"},
    "models": {"data", "readers", "result", "report", "run", "start", "study", "explainers"},
    "record": {"data", "readers", "result", "report", "run", "start", "study", "explainers"},
    "target": {"data", "readers", "result", "report", "run", "start", "study", "explainers"},
    "contracts": {"run", "start", "study", "settings"},
    "catalogue": {"contracts", "run", "start", "study", "settings"},
    "run": {"study", "explainers", "concepts", "cavs", "metrics"},
    # What explanations share sees images, never where they came from.
    "scene": {"data", "readers", "run", "start", "report", "study", "explainers", "metrics"},
    "fill": {"data", "readers", "run", "start", "report", "study", "explainers", "metrics"},
    "shuffle": {"data", "readers", "run", "start", "report", "study", "explainers", "metrics"},
    # A study's own package is driven by the loop, and knows neither it nor the command.
    **{name: {"run", "start", "study", "settings"} for name in PACKAGES},
}
"""Part of the package -> parts that it must not import, not even inside a function."""


def files():
    return sorted(path for path in ROOT.rglob("*.py"))


def name_of(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(["conceptseg", *(parts[:-1] if parts[-1] == "__init__" else parts)])


MODULES = {name_of(path) for path in files()}


def for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree, lazy):
    """Modules that a file imports when it runs; with `lazy` those inside functions as well."""
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif lazy or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, lazy)


def imported(path, lazy):
    return set(imports(ast.parse(path.read_text(encoding="utf-8")), lazy))


def part(module):
    return module.split(".")[1] if "." in module else ""


def test_init_files_import_nothing():
    for path in files():
        if path.name == "__init__.py":
            assert imported(path, lazy=True) == set(), path


def test_no_module_imports_itself_through_others():
    graph = {name_of(path): imported(path, lazy=False) & MODULES for path in files()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " -> ".join(error.args[1]))


def test_imports_go_one_way():
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in files()
        for module in sorted(imported(path, lazy=True))
        if module.startswith("conceptseg.")
        and part(module) in FORBIDDEN.get(part(name_of(path)), ())
    ]
    assert wrong == []


def test_only_the_command_imports_the_run_and_only_it_imports_studies():
    """Studies import neither the loop that runs them nor each other."""
    for path in files():
        name = name_of(path)
        if part(name) == "study" and not path.stem.startswith("_"):
            found = imported(path, lazy=True)
            assert not [m for m in found if part(m) in ("run", "start", "study")], name


def test_optional_packages_are_imported_only_by_the_technique_that_needs_them():
    for path in files():
        if part(name_of(path)) in ("models", "readers"):
            continue  # the catalogue imports these one by one, and names the missing extra
        tops = {module.partition(".")[0] for module in imported(path, lazy=False)}
        assert not tops & OPTIONAL, path


def test_nothing_unpickles_or_evaluates():
    for path in files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
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
    "errors config contracts catalogue": {"torch", "numpy", "sklearn", "plotly", "yaml", "rich"},
    "settings progress": {"torch", "numpy", "sklearn", "plotly"},
    "study.__main__": {"torch", "numpy", "sklearn", "plotly", "yaml"},
    "result report run store start": {"torch", "sklearn", "skimage", "umap", "plotly"},
    " ".join(f"study.{name}" for name in PACKAGES): {
        "torch",
        "sklearn",
        "skimage",
        "umap",
        "plotly",
    },
    "data": {"torch", "sklearn", "skimage"},
}


@pytest.mark.parametrize("modules", LIGHT)
def test_light_modules_import_nothing_heavy(modules):
    lines = "; ".join(f"import conceptseg.{name}" for name in modules.split())
    program = f"import sys; {lines}; print(sorted({LIGHT[modules]!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
