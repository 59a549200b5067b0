"""The text of a manifest and of a study's file, as `conceptseg init` writes them: with reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conceptseg.data.layout import Layout
from conceptseg.data.legend import Legend, Look
from conceptseg.data.pairing import Part, Series
from conceptseg.errors import one_line

SCHEMAS = ".conceptseg"
"""The folder beside the files in which their schemas lie."""
BEST = ("test", "val", None, "train")
"""Splits, in the order in which one is taken for a study."""


@dataclass(frozen=True)
class Network:
    """The keys of a study's `model`, and sentences on why."""

    keys: dict[str, Any]
    reasons: tuple[str, ...] = field(default=())


def manifest(name: str, root: str, layout: Layout, look: Look, legend: Legend) -> str:
    """The text of a manifest."""
    lines = [
        *_head("manifest"),
        "# Where images and masks lie, and what the labels mean: written by conceptseg init, by",
        "# what it saw. Read it, and give the classes their names.",
        f"name: {flow(name)}",
        f"root: {flow(root)}",
        *_said(look.reasons),
        *(f"{key}: {flow(value)}" for key, value in look.keys.items()),
        *_group(layout),
        "labels:",
        *_said(legend.reasons, "  "),
        *(f"  {key}: {flow(value)}" for key, value in legend.labels.items()),
        "folders:",
        *_said(layout.remarks, "  "),
        *(f"  - {flow(_folder(part))}" for part in layout.parts),
    ]
    return "\n".join(lines) + "\n"


def study(name: str, file: str, split: str | None, network: Network) -> str:
    """The text of a study's file."""
    data = {"manifest": file, **({} if split is None else {"split": split})}
    lines = [
        *_head(name),
        "# Which images and which network; all that is not named has its default:",
        f"# conceptseg schema {name} describes every key. Try it by conceptseg check.",
        "data:",
        *(f"  {key}: {flow(value)}" for key, value in data.items()),
        "model:",
        *_said(network.reasons, "  "),
        *(f"  {key}: {flow(value)}" for key, value in network.keys.items()),
    ]
    return "\n".join(lines) + "\n"


def split_of(layout: Layout) -> str | None:
    """The split to study: what a network was not trained on comes first."""
    return min((part.split for part in layout.parts), key=BEST.index)


def flow(value: Any) -> str:
    """A value as YAML, in one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def located(path: Path, folder: Path) -> str:
    """How a file in `folder` names a path: relative where it lies below, else in full."""
    there, here = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(there, here) if Path(there).is_relative_to(here) else there


def _head(schema: str) -> list[str]:
    return [f"# yaml-language-server: $schema={SCHEMAS}/{schema}.schema.json"]


def _said(reasons: Iterable[str], before: str = "") -> list[str]:
    """Sentences as comments: names of files in them cannot end one."""
    return [f"{before}# {one_line(one)}" for one in reasons]


def _group(layout: Layout) -> list[str]:
    if layout.group is None:
        return [
            "# Images count as independent. If some are not (of one patient, scene or slide), say",
            "# so by a pattern whose first capture, from an id, is the group:",
            '# group: "([^_]+)_"',
        ]
    ids = layout.ids
    told = f"{layout.groups} groups of {len(ids)} images by their ids ({ids[0]}, ...)"
    return [
        *_said([f"{told}: images of one group are not independent"]),
        f"group: {flow(layout.group)}",
    ]


def _folder(part: Part) -> Mapping[str, Any]:
    keys: dict[str, Any] = {} if part.split is None else {"split": part.split}
    keys["images"] = part.images.pattern
    if isinstance(part.masks, Series):
        keys["masks"] = part.masks.pattern
    elif part.masks:
        keys["masks"] = {name: one.pattern for name, one in part.masks.items()}
    return keys


def paths(root: Path, series: Sequence[Series]) -> list[Path]:
    """The files of some series."""
    return [root / one for each in series for one in each.paths()]
