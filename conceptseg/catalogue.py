"""Finds techniques by their file's name, and lists them without importing any.

A folder of :data:`FOLDERS` is a contract, a file in it that does not begin with an underscore is
one technique, and the file's name is its key; a study is a folder with a `config.py`, and the
folder's name is its key. Listing reads source text only, so it stays fast and never imports a heavy
library; `load` imports the one file that was asked for. In YAML a technique is a name, or a mapping
with its parameters: `cav: ridge`, or `cav: {kind: ridge, penalty: 10}`.
"""

import ast
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    WithJsonSchema,
)

from conceptseg.errors import InputError, nearest
from conceptseg.extras import EXTRAS, missing

FOLDERS = {
    "study": "study",
    "explainers": "explain/explainers",
    "concepts": "concepts/finders",
    "cavs": "concepts/cavs",
    "metrics": "explain/metrics",
    "generators": "explain/generators",
    "stats": "stats/mergeable",
    "models": "network/sources",
    "readers": "data/readers",
    "trackers": "report/trackers",
}
"""Kinds of technique, in the order in which the table shows them, and where their files lie."""
KINDS = tuple(FOLDERS)

FUNCTIONS = {"models": "load", "readers": "read", "trackers": "send"}
"""Kinds whose technique is a function of this name rather than a class."""

ROOT = Path(__file__).parent
T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class About:
    """A technique's line in the catalogue."""

    family: str
    source: str


def technique(*, family: str, source: str) -> Callable[[T], T]:
    """Put a class into the catalogue under its file's name, with its family and its source."""

    def mark(cls: T) -> T:
        cls.about = About(family, source)  # type: ignore[attr-defined]
        return cls

    return mark


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
    folder = ROOT / FOLDERS[kind]
    if kind == "study":
        return tuple(sorted(file.parent.name for file in folder.glob("*/config.py")))
    return tuple(sorted(file.stem for file in folder.glob("[!_]*.py")))


def load(kind: str, name: str) -> Any:
    """The technique `name` of a kind: its class, or for models and readers its function.

    Only that technique's module is imported. Raises :class:`~conceptseg.errors.InputError` for an
    unknown name (with the nearest known ones) or a missing optional package (with its extra).
    """
    known = names(kind)
    if name not in known:
        raise InputError(f"unknown {_singular(kind)} {name!r}; {nearest(name, known)}")
    return _technique(_module(_path(kind, name)), FUNCTIONS.get(kind))


def entry(kind: str, name: str) -> Entry:
    """The row of one technique, read from its source text."""
    path = ROOT.parent / _path(kind, name).replace(".", "/")
    tree = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
    marked = next((node for node in tree.body if _mark(node) is not None), None)
    about = _mark(marked) or {}
    text = ast.get_docstring(marked) if isinstance(marked, _DOCUMENTED) else None
    summary = (text or ast.get_docstring(tree) or "").strip().split("\n", 1)[0]
    return Entry(kind, name, about.get("family", ""), about.get("source", ""), summary)


def table(kinds: tuple[str, ...] = KINDS) -> tuple[Entry, ...]:
    """Every technique of the given kinds, by kind and name; nothing is imported."""
    return tuple(entry(kind, name) for kind in kinds for name in names(kind))


README_KINDS = ("study", "explainers", "concepts", "cavs", "metrics", "generators")


def readme() -> str:
    """The short table in Markdown, as the README shows it: studies, and names of methods."""
    rows = ["| kind | what |", "| --- | --- |"]
    rows += [f"| study `{row.name}` | {_cell(row.summary)} |" for row in table(("study",))]
    families: dict[str, list[str]] = {}
    for row in table(README_KINDS[1:]):
        families.setdefault(f"{row.kind}, {row.family}", []).append(f"`{row.name}`")
    for family, known in sorted(families.items()):
        rows.append(f"| {_cell(family)} | {', '.join(known)} |")
    return "\n".join(rows) + "\n"


def full(kind: str) -> str:
    """The table of one kind in Markdown, with each technique's summary, family and source."""
    text = "| name | what | family | source |\n| --- | --- | --- | --- |\n"
    for row in table((kind,)):
        told = " | ".join(map(_cell, (row.summary, row.family, row.source)))
        text += f"| `{row.name}` | {told} |\n"
    return text


def _cell(text: str) -> str:
    return text.rstrip(".").replace("|", "\\|")


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


def _path(kind: str, name: str) -> str:
    """The dotted name of the module that holds a technique."""
    folder = FOLDERS[kind].replace("/", ".")
    return f"conceptseg.{folder}.{name}" + (".config" if kind == "study" else "")


def _module(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package == __package__:
            raise
        name = path.removesuffix(".config").rpartition(".")[2]
        if isinstance(error, ModuleNotFoundError) and package in EXTRAS:
            raise InputError(missing(repr(name), package)) from error
        raise InputError(
            f"{name!r} needs a package that cannot be imported ({error}); install or upgrade it "
            "(`conceptseg doctor` lists versions)"
        ) from error


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


Choice = str | dict[str, Any]
"""A method as a study's file names it: its name, or a mapping with `kind` and its parameters."""


def parse(kind: str, value: Any, default: str | None = None) -> Any:
    """The technique that a name, or a mapping with `kind` and its parameters, stands for.

    A mapping without `kind` is of the technique `default`, if there is one. Raises ValueError,
    which pydantic reports with the field's name, for an unknown name.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        return value
    parameters = {key: one for key, one in value.items() if key != "kind"}
    name = value.get("kind", default)
    if name is None:
        raise ValueError("give `kind`, one of " + ", ".join(names(kind)))
    try:
        chosen = load(kind, str(name))
    except InputError as error:
        raise ValueError(str(error)) from None
    unknown = [key for key in parameters if key not in chosen.model_fields]
    if unknown:
        known = chosen.model_fields
        hint = nearest(str(unknown[0]), known) if known else f"{name} takes no parameters"
        raise ValueError(f"unknown key {unknown[0]!r}; {hint}")
    return chosen.model_validate(parameters)


def _known(kind: str, entries: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """The entries as they are; ValueError, with each entry's name, for all that stand for nothing.

    That is for a name which no technique of the folder has, for parameters that it cannot have, and
    for what is given twice, whose results nothing would tell apart.
    """
    known = names(kind)
    wrong = []
    for entry in entries:
        if isinstance(entry, str) and entry in known:
            continue  # only for others does a technique's own file get imported
        try:
            parse(kind, entry)
        except ValueError as error:
            name = entry.get("kind") if isinstance(entry, dict) else None
            wrong.append(f"{name}: {told(error)}" if name in known else told(error))
    labels = () if wrong else choice_labels(entries)
    wrong += [f"{one} is given twice" for one, count in Counter(labels).items() if count > 1]
    if wrong:
        raise ValueError("; ".join(wrong))
    return entries


def told(error: ValueError) -> str:
    """What an error of :func:`parse` says, in one line: of a parameter, its key and its value."""
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for one in error.errors(include_url=False):
        message = re.sub(r"^(Value error|Assertion failed), ", "", one["msg"])
        key = ".".join(map(str, one["loc"]))
        lines.append(f"{key} is {one['input']!r}: {message}" if key else message)
    return "; ".join(lines)


Methods = Annotated[tuple[Choice, ...], AfterValidator(partial(_known, "explainers"))]
"""A field that lists local methods; entries are kept as the study's file gives them."""
Method = Annotated[Choice, AfterValidator(lambda entry: _known("explainers", (entry,))[0])]
"""A field that names one."""
Editor = Annotated[Choice, AfterValidator(lambda entry: _known("generators", (entry,))[0])]
"""A field that names a generator."""
Metrics = Annotated[tuple[Choice, ...], AfterValidator(partial(_known, "metrics"))]
"""A field that lists metrics, likewise."""


class Unsuited(NamedTuple):
    """A method that was left out: its entry, what it is called, and why."""

    entry: Choice
    label: str
    reason: str


def choice_labels(entries: Sequence[Choice]) -> tuple[str, ...]:
    """What each method is called: its name, with its parameters where the name comes twice."""
    kinds = [entry if isinstance(entry, str) else str(entry["kind"]) for entry in entries]
    count = Counter(kinds)
    called = []
    for name, entry in zip(kinds, entries, strict=True):
        given = {} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "kind"}
        if count[name] > 1 and given:
            name += " (" + ", ".join(f"{key} {value}" for key, value in given.items()) + ")"
        called.append(name)
    return tuple(called)


def choice_versions(labels: Iterable[str], name: str) -> list[str]:
    """Of some :func:`choice_labels` those of one technique, one for each set of parameters."""
    return [label for label in labels if label == name or label.startswith(f"{name} (")]


def saved(technique: Any, info: SerializationInfo) -> Any:
    """What :func:`parse` makes the technique from again: its file's name and its parameters."""
    kind = type(technique).__module__.rpartition(".")[2]
    return {"kind": kind, **technique.model_dump(mode=info.mode, by_alias=info.by_alias)}


def one_of(contract: Any, kind: str, default: str | None = None) -> Any:
    """The annotation of a field that holds one technique of a folder.

    Parameters given without `kind` are those of the technique `default`.
    """
    known = list(names(kind))
    return Annotated[
        contract,
        PlainSerializer(saved),
        BeforeValidator(lambda value: parse(kind, value, default)),
        WithJsonSchema(
            {
                "description": f"A technique of conceptseg/{FOLDERS[kind]}: its name, or a "
                "mapping with `kind` and its parameters.",
                "anyOf": [
                    {"enum": known},
                    {"type": "object", "properties": {"kind": {"enum": known}}},
                ],
            }
        ),
    ]
