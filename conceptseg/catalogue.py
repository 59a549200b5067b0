"""Finds techniques by their file's name, and lists them without importing any.

A folder of :data:`KINDS` is a contract, a file in it that does not begin with an underscore is one
technique, and the file's name is its key. Listing reads source text only, so it stays fast and
never imports a heavy library; `load` imports the one file that was asked for.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from conceptseg.errors import InputError, nearest

KINDS = ("study", "explainers", "concepts", "cavs", "metrics", "stats", "models", "readers")
"""Folders of techniques, in the order in which the table shows them."""

FUNCTIONS = {"models": "load", "readers": "read"}
"""Kinds whose technique is a function of this name rather than a class."""

EXTRAS = {
    "segmentation_models_pytorch": "smp",
    "timm": "smp",
    "transformers": "transformers",
    "monai": "monai",
    "pycocotools": "coco",
}
"""Package that a technique may need -> the extra of this package that installs it."""

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A technique's row in the table; `summary` is the first line of its documentation."""

    kind: str
    name: str
    family: str
    source: str
    summary: str


def names(kind: str) -> tuple[str, ...]:
    """Names of the techniques of a kind, sorted.

    Raises :class:`~conceptseg.errors.InputError` when there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of technique {kind!r}; {nearest(kind, KINDS)}")
    files = (ROOT / kind).glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def load(kind: str, name: str) -> Any:
    """The technique `name` of a kind: its class, or for models and readers its function.

    Only that technique's module is imported. Raises :class:`~conceptseg.errors.InputError` for an
    unknown name (with the nearest known ones) or a missing optional package (with its extra).
    """
    known = names(kind)
    if name not in known:
        raise InputError(f"unknown {_singular(kind)} {name!r}; {nearest(name, known)}")
    return _technique(_module(f"conceptseg.{kind}.{name}"), FUNCTIONS.get(kind))


def entry(kind: str, name: str) -> Entry:
    """The row of one technique, read from its source text."""
    tree = ast.parse((ROOT / kind / f"{name}.py").read_text(encoding="utf-8"))
    marked = next((node for node in tree.body if _mark(node) is not None), None)
    about = _mark(marked) or {}
    text = ast.get_docstring(marked) if isinstance(marked, _DOCUMENTED) else None
    summary = (text or ast.get_docstring(tree) or "").strip().split("\n", 1)[0]
    return Entry(kind, name, about.get("family", ""), about.get("source", ""), summary)


def table(kinds: tuple[str, ...] = KINDS) -> tuple[Entry, ...]:
    """Every technique of the given kinds, by kind and name; nothing is imported."""
    return tuple(entry(kind, name) for kind in kinds for name in names(kind))


README_KINDS = ("study", "explainers", "concepts", "cavs", "metrics")


def readme() -> str:
    """The table of methods in Markdown, as the README shows it."""
    rows = ["| kind | name | what | family | source |", "| --- | --- | --- | --- | --- |"]
    for row in table(README_KINDS):
        cells = (row.kind, f"`{row.name}`", row.summary.rstrip("."), row.family, row.source)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


_DOCUMENTED = (ast.ClassDef, ast.FunctionDef)


def _mark(node: ast.AST | None) -> dict[str, str] | None:
    """The literal keywords of `@technique(...)` on a class or function, else None."""
    if not isinstance(node, _DOCUMENTED):
        return None
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("technique"):
            return {
                word.arg: str(ast.literal_eval(word.value))
                for word in decorator.keywords
                if word.arg
            }
    return None


def _module(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        cure = f"pip install 'conceptseg[{EXTRAS[package]}]'"
        name = path.rpartition(".")[2]
        raise InputError(f"{name!r} needs the package {package}; install it by {cure}") from error


def _technique(module: ModuleType, function: str | None) -> Any:
    if function is not None:
        return getattr(module, function)
    marked = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and "about" in vars(value)
    ]
    if len(marked) != 1:
        raise TypeError(f"{module.__name__} must mark exactly one class with @technique")
    return marked[0]


def _singular(kind: str) -> str:
    return "statistic" if kind == "stats" else kind.removesuffix("s")
