"""Cityscapes: leftImg8bit and gtFine by split and city, label ids mapped to the 19 train ids.

The root holds both folders. The group of a sample is its city. Source: Cordts et al. 2016, The
Cityscapes Dataset for Semantic Urban Scene Understanding; the mapping of its 34 label ids to the
19 classes that are evaluated (the others are ignored) is the one of its published scripts.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from conceptseg.data.labels import Colour
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import relative
from conceptseg.data.readers._folders import FolderSpec, find
from conceptseg.data.readers._spec import FilesSpec, LabelSpec, from_files, parse, root_of
from conceptseg.errors import InputError, nearest

# Label id, class, colour; in the order of the train ids.
CLASSES: tuple[tuple[int, str, Colour], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
LABEL_IDS = 34
NO_ID = 255  # what a licence plate's id of -1 becomes in 8 bits

LABELS = LabelSpec(
    names=tuple(name for _, name, _ in CLASSES),
    colours=tuple(colour for _, _, colour in CLASSES),
    remap={label: index for index, (label, _, _) in enumerate(CLASSES)},
    ignore=(*sorted(set(range(LABEL_IDS)) - {label for label, _, _ in CLASSES}), NO_ID),
)


class CityscapesSpec(FilesSpec):
    """The keys of a Cityscapes manifest."""

    splits: tuple[str, ...] = Field(
        ("train", "val"), min_length=1, description="Folders of leftImg8bit to take."
    )
    annotation: Literal["gtFine", "gtCoarse"] = Field("gtFine", description="Folder of the masks.")
    masks: bool = Field(True, description="Whether masks are read.")
    labels: LabelSpec = Field(LABELS, description="Another label block over the label ids.")


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(CityscapesSpec, spec, where)
    root = root_of(path, keys, root_override, listed=True)
    samples = []
    for split in keys.splits:
        _check_layout(root, split)
        pattern = f"leftImg8bit/{split}/{{city}}/{{id}}_leftImg8bit.png"
        for found in find(FolderSpec(images=(pattern,), split=split), root, where):
            city, kind = found.metadata["city"], keys.annotation
            mask = f"{kind}/{split}/{city}/{found.id}_{kind}_labelIds.png"
            samples.append(
                Sample(
                    found.id,
                    found.image,
                    relative(mask, where) if keys.masks else None,
                    split,
                    group=str(city),
                    metadata=found.metadata,
                )
            )
    return from_files(path, keys, root, keys.labels.block(), tuple(samples))


def _check_layout(root: Path, split: str) -> None:
    relative(split, "splits")
    images = root / "leftImg8bit"
    if not images.is_dir():
        raise InputError(
            f"{root}: not in the layout of Cityscapes: it has no folder leftImg8bit; set the root "
            "(or --data-root) to the folder that holds leftImg8bit and gtFine"
        )
    if not os.path.isdir(images / split):
        known = [folder.name for folder in images.iterdir() if folder.is_dir()]
        raise InputError(f"{images}: no split {split!r}; {nearest(split, known)}")
