"""The native manifest: samples listed inline, in a table, or found in folders.

Exactly one of three keys names the samples; every path is relative to the root.

`samples`: a list of entries with `image` (a path, or several that are stacked as channels) and
perhaps `id` (the file's stem when absent), `mask`, `split`, `group` and `metadata`.

`table`: a CSV, JSONL or Parquet file with columns `image` and perhaps `id`, `mask`, `split`,
`group`; all others are metadata. Where the columns are named otherwise, templates make the parts
from them, for example `image: "{split}/images/{name}.png"`. Several images are separated by `;` in
a CSV cell, and a list elsewhere. Tables may have millions of rows (see `benchmarks/manifests.py`).

`folders`: patterns such as `images: "train/images/{id}.jpg"` and `masks: "train/masks/{id}.png"`;
further words in braces become metadata, and `ids` may name a file that lists the ids to take.

Everywhere `masks: {class: file, ...}` names one binary mask for each class; pixels of none are
`labels.background`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, field_validator, model_validator

from conceptseg import catalogue
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import relative
from conceptseg.data.readers._folders import FolderSpec, check_masks, find
from conceptseg.data.readers._per_class import check
from conceptseg.data.readers._spec import FilesSpec, Grouping, LabelSpec, from_files, parse, root_of
from conceptseg.data.readers._table import TableSpec, read_table
from conceptseg.strict import Strict, one_or_more


class EntrySpec(Strict):
    """One sample of an inline list."""

    image: Annotated[tuple[str, ...], one_or_more(str)] = Field(
        min_length=1, description="Image file, or files that are stacked as channels."
    )
    id: str | None = Field(None, description="The first image's stem when absent.")
    mask: str | None = Field(None, description="Mask file.")
    masks: dict[str, str] = Field(
        default_factory=dict, description="{class: file} of one mask for each class."
    )
    split: str | None = Field(None, description="train, val, test, ...")
    group: str | None = Field(None, description="What is not independent: patient, scene, ...")
    metadata: dict[str, FiniteFloat | str] = Field(
        default_factory=dict, description="Free columns."
    )

    @field_validator("masks", mode="before")
    @classmethod
    def _named(cls, masks: Any) -> Any:
        return check_masks(masks)


class NativeSpec(FilesSpec):
    """The keys of a native manifest."""

    labels: LabelSpec = Field(description="The label block: names, colours, ignore, remap.")
    group: str | None = Field(
        None, description="Regular expression whose first capture, from an id, is the group."
    )
    samples: tuple[Any, ...] | None = Field(None, description="Samples listed inline.")
    table: TableSpec | None = Field(None, description="A CSV, JSONL or Parquet file of samples.")
    folders: tuple[Any, ...] | None = Field(None, description="Patterns of image and mask files.")

    @field_validator("group")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            captures = re.compile(pattern).groups if pattern is not None else 1
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if not captures:
            raise ValueError("capture the group in parentheses, for example '([^_]+)_'")
        return pattern

    @model_validator(mode="after")
    def _one_list(self) -> NativeSpec:
        given = [key for key in ("samples", "table", "folders") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of the keys samples, table and folders, not "
                + (" and ".join(given) or "none")
            )
        return self


def schema() -> dict[str, Any]:
    """The JSON schema of manifests, for editors; of other formats than this one any keys pass."""
    own = NativeSpec.model_json_schema()
    definitions = own.pop("$defs", {})
    for key, entry in (("samples", EntrySpec), ("folders", FolderSpec)):
        listed = entry.model_json_schema()
        definitions |= listed.pop("$defs", {}) | {entry.__name__: listed}
        items = {"type": "array", "items": {"$ref": f"#/$defs/{entry.__name__}"}}
        about = {key: one for key, one in own["properties"][key].items() if key != "anyOf"}
        own["properties"][key] = about | {"anyOf": [items, {"type": "null"}]}
    formats = {"enum": list(catalogue.names("readers")), "default": "native"}
    own["properties"]["format"] = formats
    another = {"properties": {"format": {"not": {"const": "native"}}}, "required": ["format"]}
    return {
        "$defs": definitions,
        "type": "object",
        "properties": {"format": formats},
        "if": another,
        "then": True,
        "else": own,
    }


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(NativeSpec, spec, where)
    root = root_of(path, keys, root_override)
    block = keys.labels.block()
    group = None if keys.group is None else Grouping(keys.group, where)
    if keys.table is not None:
        rows = read_table(keys.table, path, root, group)
        check(rows, block, root, where, once=tuple(keys.table.masks))
        return from_files(path, keys, root, block, rows)
    if keys.samples is not None:
        samples = _inline(keys.samples, where)
    else:
        samples = _in_folders(keys.folders or (), root, where)
    check(samples, block, root, where)
    grouped = samples if group is None else _with_groups(samples, group)
    return from_files(path, keys, root, block, grouped)


def _inline(entries: Sequence[Any], where: str) -> list[Sample]:
    samples = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}: samples, entry {number}"
        keys = parse(EntrySpec, entry, place)
        images = tuple(relative(text, place) for text in keys.image)
        samples.append(
            Sample(
                id=keys.id or PurePosixPath(keys.image[0]).stem,
                image=images,
                mask=relative(keys.mask, place) if keys.mask else None,
                masks=tuple((name, relative(text, place)) for name, text in keys.masks.items()),
                split=keys.split,
                group=keys.group or "",
                metadata=keys.metadata,
            )
        )
    return samples


def _in_folders(entries: Sequence[Any], root: Path, where: str) -> list[Sample]:
    samples = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}: folders, entry {number}"
        samples += find(parse(FolderSpec, entry, place), root, place)
    return samples


def _with_groups(samples: Sequence[Sample], group: Grouping) -> tuple[Sample, ...]:
    groups = iter(group([one.id for one in samples if one.group == one.id]))
    return tuple(
        dataclasses.replace(one, group=next(groups)) if one.group == one.id else one
        for one in samples
    )
