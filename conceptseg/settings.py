"""Reads a study's YAML file and the command's overrides into a frozen study, or says what is wrong.

Every mistake is one line that names the file (or the override), the key, its value and what is
expected. Paths written in a file are relative to the file's folder; paths given on the command
line are relative to the working folder.
"""

import copy
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from conceptseg.config import StudyKeys
from conceptseg.errors import InputError, check_regular, check_study, nearest
from conceptseg.plain import PlainLoader

MAX_BYTES = 16_000_000
"""Room for a manifest that lists 100,000 samples; a larger file is something else."""

PATHS = ("data.manifest", "data.root", "run.store", "model.weights")
FILES = ("directions", "labels", "dissection", "found", "channels", "weights")
"""Keys that hold a path wherever they stand, but in the parts that all studies share."""
FOLDERS = ("nnunet", "monai_bundle")
"""Sources whose `model.name` is a folder."""
NAMES = ("pretrained:", "builtin:")
"""Prefixes of values that name something, in a key that else holds a path."""


S = typing.TypeVar("S", bound=StudyKeys)


@dataclass(frozen=True)
class Settings(typing.Generic[S]):
    """A study ready to run, and how it was asked for.

    `study` has absolute paths; `recorded` is the resolved configuration as it was written, defaults
    included, which is what a result keeps; `stem` is the file's name without its suffix.
    """

    name: str
    stem: str
    study: S
    recorded: dict[str, Any]

    def default_out(self) -> Path:
        """`runs/<study>-<file>-<hash>`; the hash covers everything that can change a result."""
        stem = self.stem.removeprefix(f"{self.name}_") or self.stem
        return Path("runs") / f"{self.name}-{stem}-{digest(without_run(self.recorded))[:8]}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; only plain data, no Python tags, no aliases, no repeated keys."""
    try:
        check_regular(path, path.stat())
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; is this the YAML file?")
        text = data.decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_siblings(path)}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder; name the YAML file in it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; is this the YAML file?") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name that no file can have
        raise InputError(f"{str(path)!r}: cannot be read ({error})") from None
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys; expected a mapping such as 'data: ...'")
    return content


def parse_override(text: str) -> tuple[str, Any]:
    """`key.sub=value` -> its dotted key and its value, which is read as YAML."""
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", key):
        raise InputError(f"--set {text}: write it as --set key.sub=value")
    return key, _parse(value, f"--set {key}")


def read_settings(
    name: str,
    study: type[S],
    path: Path,
    overrides: Sequence[tuple[str, Any]] = (),
) -> Settings[S]:
    """A study's file with overrides (dotted key, value) applied in order, checked and resolved.

    Raises :class:`~conceptseg.errors.InputError` with one line for the first thing that is wrong.
    """
    content = _read(path, overrides)
    given = {key for key, _ in overrides}
    written = _validate(study, content, str(path), given)
    recorded = written.model_dump(mode="json", by_alias=True)
    resolved = _absolute(content, recorded, path.parent, given)
    return Settings(name, path.stem, _validate(study, resolved, str(path), given), recorded)


def read_parts(path: Path, overrides: Sequence[tuple[str, Any]] = ()) -> dict[str, Any]:
    """The keys of any study's file with paths made absolute, unchecked: for commands that need
    only the parts that all studies share."""
    content = _read(path, overrides)
    return _absolute(content, content, path.parent, {key for key, _ in overrides})


def _read(path: Path, overrides: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The keys of a study's file with overrides applied in order."""
    content = read_yaml(path)
    check_study(content, path)
    for key, value in overrides:
        _check_texts(value, f"--set {key}")
        assign(content, key, value)
    return content


def absolute(text: str, folder: Path, where: str) -> Path:
    """The path that `text` names from `folder`; `~` is the home folder.

    Raises :class:`~conceptseg.errors.InputError` for `~NAME` of a user that is not there.
    """
    try:
        return (folder / Path(text).expanduser()).absolute()
    except RuntimeError:
        user = text.partition("/")[0]
        raise InputError(f"{where}: {user!r} names no user's home; write the folder out") from None


def validate(model: type[Any], content: Mapping[str, Any], where: str) -> Any:
    """A pydantic model from plain data; its errors become one line that begins with `where`."""
    return _validate(model, content, where, set())


def without_run(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what changes how it runs, or is called, but not what comes out."""
    return {key: value for key, value in recorded.items() if key not in ("run", "cover")}


def digest(content: Any) -> str:
    """SHA-256 of plain data, as hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _parse(text: str, where: str) -> Any:
    loader: PlainLoader | None = None
    try:
        loader = PlainLoader(text)
        content = loader.get_single_data()
        _check_texts(content, where)
        return content
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and not where.startswith("--set") else ""
        problem = error.problem or error.context or "not YAML"
        if "could not determine a constructor" in problem:
            problem = "tags such as !!python/... are not read; write plain values"
        raise InputError(f"{where}{line}: {problem}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except (InputError, MemoryError):
        raise
    # PyYAML's constructors fail in any way at values that are not of their tag: !!int '', !!bool a.
    except Exception as error:
        found = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: not YAML ({type(error).__name__}: {found[:160]})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_texts(content: Any, where: str) -> None:
    """Refuse text that can stand in no file's name and no report: NUL, and half a character."""
    if isinstance(content, dict):
        for key, value in content.items():
            _check_texts(key, where)
            _check_texts(value, where)
    elif isinstance(content, (list, tuple, set, frozenset)):
        for value in content:
            _check_texts(value, where)
    elif isinstance(content, str) and re.search("[\0\ud800-\udfff]", content):
        raise InputError(
            f"{where}: {content[:60]!r} holds a character that is none (\\0, or half of a pair); "
            "write the text anew"
        )


def assign(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making the groups it needs; InputError where a value is in the way."""
    *groups, last = key.split(".")
    target = content
    for depth, group in enumerate(groups):
        inner = target.get(group)
        if inner is None:
            inner = target[group] = {}
        if not isinstance(inner, dict):
            raise InputError(
                f"--set {key}: {'.'.join(groups[: depth + 1])} is a value, not a group of keys"
            )
        target = inner
    target[last] = value


def _absolute(
    content: dict[str, Any], recorded: Mapping[str, Any], folder: Path, given: set[str]
) -> dict[str, Any]:
    """A copy of `content` in which the known paths are absolute."""
    resolved = copy.deepcopy(content)
    for key in (*PATHS, "model.name"):
        group, name = key.split(".")
        within = recorded.get(group)
        if not isinstance(within, dict):
            continue
        value = within.get(name)
        if not isinstance(value, str) or value.startswith(NAMES):
            continue
        if key in ("data.root", "run.store") and "://" in value:
            continue
        path = absolute(value, Path.cwd() if key in given else folder, key)
        in_folder = within.get("source") in FOLDERS and path.is_dir()
        if key == "model.name" and not (path.is_file() or in_folder):
            continue  # an architecture or a factory, not a file
        resolved.setdefault(group, {})[name] = str(path)
    for holder, name, key in _files(resolved, ""):
        base = Path.cwd() if any(_within(key, one) for one in given) else folder
        holder[name] = str(absolute(holder[name], base, key))
    return resolved


def _files(value: Any, start: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """The mappings within a study's own keys that hold a path, by which key, and its dotted key."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in list(entries):
        if (key := f"{start}{name}") in ("data", "model", "run"):
            continue
        if isinstance(value, dict) and name in FILES and isinstance(one, str) and one:
            yield value, name, key
        elif isinstance(one, dict | list):
            yield from _files(one, f"{key}.")


def _validate(model: type[Any], content: Mapping[str, Any], where: str, given: set[str]) -> Any:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    # An unknown key first: a misspelt key often also makes a required one missing. Of what may be a
    # word or a value, what is wrong with the value tells more.
    last = ("literal_error",)
    problems.sort(key=lambda one: (one["type"] != "extra_forbidden", one["type"] in last))
    places = {_key(problem["loc"]) for problem in problems}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    key = _key(problems[0]["loc"])
    source = f"--set {key}" if any(_within(key, name) for name in given) else where
    raise InputError(f"{source}: {_explain(model, problems[0])}{more}") from None


def _within(key: str, name: str) -> bool:
    return key == name or key.startswith(name + ".")


def _key(loc: Sequence[int | str]) -> str:
    """The key at a place, without what pydantic calls the kinds that a value may have."""
    return ".".join(str(part) for part in loc if not re.match(r"(literal|tuple|list)\[", str(part)))


def _explain(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    loc = problem["loc"]
    key = _key(loc)
    fields = _fields(model, loc[:-1])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {nearest(str(loc[-1]), fields)}"
    if problem["type"] == "missing":
        about = fields.get(str(loc[-1]))
        return f"the key {key!r} is missing" + (f": {about}" if about else "")
    expected = re.sub(r"^(Input should be|Value error,|Assertion failed,) ?", "", problem["msg"])
    if not key:
        return expected
    value = repr(problem["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    hint = "; write it as [a, b]" if problem["type"] in ("tuple_type", "list_type") else ""
    says = "expected " if problem["msg"].startswith("Input should be") else ""
    return f"{key} is {value}: {says}{expected}{hint}"


def _fields(model: type[BaseModel], loc: Sequence[int | str]) -> dict[str, str]:
    """Keys of the model at a place inside `model`, with their descriptions."""
    current: type[BaseModel] | None = model
    for part in loc:
        field = current.model_fields.get(str(part)) if current else None
        current = next(_models(field.annotation), None) if field else None
    if current is None:
        return {}
    return {
        field.alias or name: field.description or "" for name, field in current.model_fields.items()
    }


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from _models(option)


def _siblings(path: Path) -> str:
    found = sorted(file.name for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    if found:
        return nearest(path.name, found)
    return "is the path right?"
