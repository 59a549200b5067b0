"""What a study found: findings in plain words, tables, arrays and pictures, saved without pickle.

A saved result is a folder::

    result.json    findings, tables, skipped samples, provenance, timings, configuration
    arrays.npz     arrays, if there are any
    images/        pictures (.webp, .png, .jpg), if there are any
    report.html    the report, if it was rendered

It holds all that a report needs: neither the network nor the data is read again. Equal contents
give equal bytes, timings apart. `result.json` lists the SHA-256 of the other files, and as `digest`
that of its own content but for timings, so that what was changed since is noticed; that is no
protection against somebody who means to deceive.
"""

from __future__ import annotations

import errno
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from conceptseg.errors import InputError
from conceptseg.plain import plain_json
from conceptseg.result.encoding import pack, plain, unpack
from conceptseg.result.finding import Finding
from conceptseg.result.folder import replace_folder
from conceptseg.result.table import Table
from conceptseg.result.verdict import Verdict

SCHEMA = 2
KEYS = (
    "schema",
    "study",
    "findings",
    "tables",
    "skipped",
    "provenance",
    "timings",
    "config",
    "notes",
    "files",
    "digest",
    "verdict",
)
LATER = {"verdict"}
"""Keys that results of earlier versions lack."""
MARKER = "result.json"
OWN = (MARKER, "arrays.npz", "images", "report.html")
STATE = ".state"
"""What a run has finished of a result that is not there yet; dropped when it is saved."""
UNREADABLE = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError),
    *(ZeroDivisionError, RecursionError),
)
"""What is met of values that are not those that were written."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,119}")
_IMAGE_FILE = re.compile(r"images/([A-Za-z0-9_][A-Za-z0-9_.\-]{0,119})\.(webp|png|jpg)")


@dataclass(frozen=True, eq=False)
class Result:
    """All that a study found. `images` maps a key (see :func:`safe_key`) to encoded bytes.

    The values of tables become plain ones, as JSON has them: null for nan.

    `verdict` is the study's own, None before it was asked for and in results of earlier versions.
    `altered` says of a loaded one that its `result.json` was changed since it was saved.

    Loaded again, a mapping's keys are in sorted order: where order matters use a list, or a
    table's `columns`.
    """

    study: str
    findings: Sequence[Finding] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    altered: bool = False
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        # A report is made of the same plain values (null for nan) before and after saving.
        tables = {name: replace(t, rows=plain(list(t.rows))) for name, t in self.tables.items()}
        object.__setattr__(self, "tables", tables)
        for what, keys in (("array", self.arrays), ("image", self.images)):
            bad = [key for key in keys if not _SAFE.fullmatch(key)]
            if bad:
                raise ValueError(f"{what} key {bad[0]!r} is no safe file name; use safe_key()")
        if len({key.casefold() for key in self.images}) < len(self.images):
            raise ValueError("image keys must differ in more than upper and lower case")

    def to_json(self) -> str:
        """The text of `result.json`: strict JSON, sorted keys, null for what is not finite."""
        content = {
            "schema": SCHEMA,
            "study": self.study,
            "config": self.config,
            "notes": self.notes,
            "findings": [finding.model_dump(by_alias=True) for finding in self.findings],
            "tables": {name: table.to_json() for name, table in self.tables.items()},
            "skipped": self.skipped,
            "provenance": self.provenance,
            "timings": self.timings,
            "verdict": self.verdict,
            "files": {name: sha256(data).hexdigest() for name, data in self._files().items()},
        }
        read_again = json.loads(_text(plain(content)))  # so that keys are texts, sorted as such
        return _text(sealed(read_again), indent=1) + "\n"

    @property
    def finished(self) -> str:
        """When the run ended (ISO 8601), of parts by class the last; empty where it is not kept."""
        kept = self.timings.get("finished", "")
        return str(max(kept.values(), default="")) if isinstance(kept, Mapping) else str(kept)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that `result.json` holds but for timings, as it is or will be saved."""
        return str(json.loads(self.to_json())["digest"])

    def save(self, folder: Path | str, report_html: str | None = None) -> Path:
        """Write the whole result into `folder`, replacing a result that lies there; return it.

        Nothing half-written is ever seen under that name: see :func:`replace_folder`.

        Raises InputError when the folder cannot be written or holds something else.
        """
        files = self._files()
        files[MARKER] = self.to_json().encode()
        if report_html is not None:
            files["report.html"] = report_html.encode()
        return replace_folder(Path(folder), files, marker=MARKER, own=OWN, spent=(STATE,))

    @classmethod
    def load(cls, folder: Path | str, *, altered: bool = False) -> Result:
        """Read a saved result; InputError names the file that is missing, broken or altered.

        With `altered` a `result.json` that was altered is read nevertheless, as far as it is still
        one, and the result says so.
        """
        folder = Path(folder)
        saved = _read_json(folder)
        try:
            changed = sealed(saved)["digest"] != saved["digest"]
        except (ValueError, RecursionError) as error:
            raise _broken(folder, str(error)) from None
        if changed and not altered:
            raise _altered(folder / MARKER)
        try:
            files = {str(name): str(digest) for name, digest in saved["files"].items()}
            data = {name: _read_file(folder, name, digest) for name, digest in files.items()}
            arrays = unpack(folder, data.pop("arrays.npz")) if "arrays.npz" in data else {}
            images = {name.removeprefix("images/").rpartition(".")[0]: data[name] for name in data}
            return cls(**_content(saved), arrays=arrays, images=images, altered=changed)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            whose = error.title.lower()
            raise _broken(folder, f"a {whose}'s {where}: {first['msg']}") from None
        except UNREADABLE as error:
            raise _broken(folder, f"{type(error).__name__} at {str(error)[:200]}") from None

    def _files(self) -> dict[str, bytes]:
        files = {
            f"images/{key}.{image_type(data)}": data for key, data in sorted(self.images.items())
        }
        if self.arrays:
            files["arrays.npz"] = pack(self.arrays)
        return files

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(text)}</td>"
                for text in (
                    str(rank),
                    finding.claim,
                    finding.class_ or "",
                    _short(finding.effect),
                    "" if finding.ci is None else " to ".join(map(_short, finding.ci)),
                    _short(finding.p_adjusted),
                    finding.counted,
                )
            )
            + "</tr>"
            for rank, finding in enumerate(self.findings, start=1)
        )
        head = "".join(
            f"<th>{name}</th>"
            for name in ("", "Finding", "Class", "Effect", "95 % interval", "Corrected p", "n")
        )
        return (
            f"<table><caption>{html.escape(self.study)}: {len(self.findings)} findings"
            f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `result.json` with its `digest`: SHA-256 of all but that and the timings."""
    counted = {key: value for key, value in content.items() if key not in ("digest", "timings")}
    return {**content, "digest": sha256(_text(counted).encode()).hexdigest()}


def _text(content: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(content, sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=False)


@contextmanager
def as_written(folder: Path | str) -> Iterator[None]:
    """Within it, whatever is met of a saved result's values that no study has written, behind
    digests that fit, is told as one InputError that names the folder."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what may be met has no end
        what = f"does not hold what it should ({type(error).__name__}: {str(error)[:200]})"
        if isinstance(error, KeyError) and error.args:
            what = f"lacks {str(error.args[0])[:200]!r}"
        raise InputError(
            f"{folder}: {MARKER} {what}; it is damaged, edited or of another version: run the "
            "study again"
        ) from error


def safe_key(text: str) -> str:
    """A key for an image or array made from any text (a sample's id): itself if it is safe.

    Otherwise its safe characters and eight digits of its SHA-256, so that different texts keep
    different keys, also where file names do not tell upper from lower case.
    """
    if re.fullmatch(r"[a-z0-9_][a-z0-9_.\-]{0,79}", text):
        return text
    kept = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")[:60] or "item"
    return f"{kept}-{sha256(text.encode()).hexdigest()[:8]}"


def image_type(data: bytes) -> str:
    """`webp`, `png` or `jpg`, from the first bytes; ValueError for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    raise ValueError("an image must be encoded as WebP, PNG or JPEG")


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    try:
        saved = plain_json(_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the folder of a finished run") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _broken(folder, str(error)) from None
    if not isinstance(saved, dict):
        raise _broken(folder, "no mapping at its top")
    if saved.get("schema", SCHEMA) != SCHEMA:
        raise _broken(folder, f"schema {saved['schema']!r} where this version reads {SCHEMA}")
    missing, unknown = set(KEYS) - LATER - saved.keys(), saved.keys() - set(KEYS)
    if missing or unknown:
        which = f"lacks {sorted(missing)}" if missing else f"has unknown keys {sorted(unknown)}"
        raise _broken(folder, which)
    return saved


def _content(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What `result.json` alone holds of a result."""
    verdict = saved.get("verdict")
    return {
        "study": str(saved["study"]),
        "findings": [Finding.model_validate(entry) for entry in saved["findings"]],
        "tables": {name: Table.from_json(t) for name, t in saved["tables"].items()},
        "skipped": [dict(entry) for entry in saved["skipped"]],
        "verdict": None if verdict is None else Verdict.model_validate(verdict),
        **{key: dict(saved[key]) for key in ("provenance", "timings", "config", "notes")},
    }


def _read_file(folder: Path, name: str, digest: str) -> bytes:
    """A listed file's bytes: only our own names, inside the folder, and unaltered."""
    if name != "arrays.npz" and not _IMAGE_FILE.fullmatch(name):
        raise _broken(folder, f"it lists a file {name!r}, which no result contains")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise _broken(folder, f"{name} leads out of the folder")
        data = _bytes(path)
    except OSError as error:
        raise InputError(
            f"{path} is listed in result.json but cannot be read "
            f"({error.strerror}); restore the folder or run the study again"
        ) from None
    if sha256(data).hexdigest() != digest:
        raise _altered(path)
    return data


def _bytes(path: Path) -> bytes:
    """What a regular file holds: a pipe or device may never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file")
    return path.read_bytes()


def _altered(path: Path) -> InputError:
    return InputError(f"{path} was altered since it was saved; restore it or run again")


def _broken(folder: Path, reason: str) -> InputError:
    return InputError(
        f"{folder / MARKER} is not a result of this version ({reason}); run the study again"
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
