"""PASCAL VOC: JPEGImages, SegmentationClass, and the lists of ImageSets/Segmentation.

The root is the folder that holds them (VOCdevkit/VOC2012). Masks are indexed PNGs; 255 marks
outlines and difficult objects and is ignored. Source: Everingham et al. 2010, The PASCAL Visual
Object Classes (VOC) Challenge, and its development kit, which defines classes and colours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from conceptseg.data.labels import Colour
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import read_lines, relative
from conceptseg.data.readers._spec import FilesSpec, LabelSpec, from_files, parse, root_of
from conceptseg.errors import InputError

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def colour(index: int) -> Colour:
    """VOC's colour of a class: its bits, dealt in turn to red, green and blue, high first."""
    red = green = blue = 0
    for place in range(8):
        shift, bits = 7 - place, index >> 3 * place
        red |= (bits & 1) << shift
        green |= (bits >> 1 & 1) << shift
        blue |= (bits >> 2 & 1) << shift
    return red, green, blue


LABELS = LabelSpec(
    names=NAMES,
    colours=tuple(colour(index) for index in range(len(NAMES))),
    ignore=(255,),
    ignore_colours=(colour(255),),
    background="background",
)


class VocSpec(FilesSpec):
    """The keys of a VOC manifest."""

    splits: tuple[str, ...] = Field(
        ("train", "val"), min_length=1, description="Lists of ImageSets/Segmentation to take."
    )
    masks: bool = Field(True, description="Whether there are masks; the test sets have none.")
    labels: LabelSpec = Field(LABELS, description="Another label block in the same layout.")


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(VocSpec, spec, where)
    root = root_of(path, keys, root_override, listed=True)
    samples = []
    for split in keys.splits:
        if not (root / "ImageSets" / "Segmentation").is_dir():
            raise InputError(
                f"{root}: not in the layout of VOC: it has no folder ImageSets/Segmentation; "
                "set the root (or --data-root) to the folder VOC2012 itself"
            )
        for name in read_lines(root, f"ImageSets/Segmentation/{split}.txt", where):
            image = relative(f"JPEGImages/{name}.jpg", where)
            mask = relative(f"SegmentationClass/{name}.png", where) if keys.masks else None
            samples.append(Sample(name, (image,), mask, split))
    return from_files(path, keys, root, keys.labels.block(), tuple(samples))
