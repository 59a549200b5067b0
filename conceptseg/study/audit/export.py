"""A test set of the reliances that a finished audit has shown: composites, masks, manifest, table.

Nothing is drawn anew: each composite is one that the audit has looked at. Its mask holds the
classes of the image within the region and its margin, which is what was scored, and says of all
else, which is the donor's, that it is ignored.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.reading import read
from conceptseg.errors import InputError
from conceptseg.result.folder import replace_folder
from conceptseg.result.saved import Result
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.audit.swap import KEPT
from conceptseg.study.shared.donors import Donors

MANIFEST, TABLE = "reliances.yaml", "reliances.csv"
"""Names that no data set of the user's has, whose folder must never be replaced."""
OWN = (MANIFEST, TABLE, "images", "masks")
COLUMNS = (
    "id", "image", "mask", "split", "group", "class", "context", "verdict", "of", "donor", "margin",
    "iou",
)  # fmt: skip
APART = 0.05
"""IoU by which a composite may be off what the audit had, in the median: more than any device's
arithmetic or the rounding of a seam to 8 bits makes of it."""
HEAD = """\
# Composites of {name} on which {model} was shown to rely on context: an image's region of `class`
# and a margin of `margin` pixels in the surroundings of `donor`. Split placebo: donors that hold
# `context`; treatment: donors that lack it. Masks hold what lies within the margin; all else is
# ignored. `iou` is what the audited network has of the class in each. Made of your images: their
# licences hold for these too.
"""


@dataclass(frozen=True)
class Exported:
    """How many composites and verdicts there are in a folder."""

    folder: Path
    composites: int
    verdicts: int


def export(result: Result, context: Context, out: Path, most: int, where: str) -> Exported:
    """Write the composites of a result of this network and data set to the folder `out`, of at most
    `most` images of each verdict.

    Raises InputError for a result of another study, version, network or data, for one that shows
    no reliance, and for a folder that holds something else.
    """
    rows = _rows(result, context, most, where)
    files, table, off = dict[str, bytes](), list[dict[str, Any]](), list[float]()
    for row, composite in _composites(result, context, rows, where):
        number = f"{len(table):04d}"
        image, data = _encoded(composite.image)
        iou = composite.iou(context, image)
        off.append(abs(iou - row["iou"]))
        name, mask = f"images/{number}{data[0]}", f"masks/{number}.png"
        files |= {name: data[1], mask: _mask(composite, len(context.model.classes))}
        table.append(
            {
                **{key: row[key] for key in ("class", "context", "verdict", "donor", "margin")},
                "id": number, "image": name, "mask": mask, "split": row["arm"], "of": row["image"],
                "group": context.manifest.sample(row["image"]).group, "iou": f"{iou:.4f}",
            }
        )  # fmt: skip
    if float(np.median(off)) > APART:
        raise InputError(
            f"{where}: in the middle the class has an IoU {np.median(off):.2f} away from what the "
            "run had of the same composites, so that images or masks are not those of the run; "
            "give these, or run the audit again"
        )
    files |= {MANIFEST: _manifest(context, table), TABLE: _csv(table)}
    folder = replace_folder(out, files, marker=MANIFEST, own=OWN)
    return Exported(folder, len(table), len({(row["class"], row["context"]) for row in table}))


def _rows(result: Result, context: Context, most: int, where: str) -> list[dict[str, Any]]:
    """The rows of the table of composites that are written."""
    if result.study != "audit" or "composites" not in result.tables:
        raise InputError(f"{where} is no result of this version's audit; run it again")
    if result.provenance.get("weights") != context.model.fingerprint():
        raise InputError(
            f"{where} is of a network with other weights or another preprocessing; name that one"
        )
    images: dict[tuple[str, str], list[str]] = {}
    rows = []
    for row in result.tables["composites"].rows:
        own = images.setdefault((row["class"], row["context"]), [])
        if row["image"] not in own and len(own) < most:
            own.append(row["image"])
        if row["image"] in own:
            rows.append(dict(row))
    if not rows:
        raise InputError(
            f"{where} shows no reliance, so that there is nothing to make a test set of"
        )
    return rows


@dataclass(frozen=True)
class _Composite:
    """An image [1, c, h, w] in a donor's surroundings, the labels of the image, and what stays."""

    image: Tensor
    labels: Tensor
    kept: Kept

    @property
    def scored(self) -> Tensor:
        """Labels [h, w] within the margin, -1 beyond."""
        return torch.where(self.kept.zone, self.labels, -1)

    def iou(self, context: Context, image: np.ndarray) -> float:
        """Of the class in the composite as it is written, [c, h, w]."""
        given = torch.from_numpy(image)[None].to(self.image)
        with torch.no_grad():
            logits = context.model(given)
        return float(self.kept.scores(logits, self.labels, background(context))[0, 0])


def _composites(
    result: Result, context: Context, rows: list[dict[str, Any]], where: str
) -> Iterator[tuple[dict[str, Any], _Composite]]:
    """Each row with its composite, image by image."""
    manifest, donors = context.manifest, Donors(context, KEPT)
    known = set(manifest.ids)
    for row in rows:
        for name in (row["image"], row["donor"]):
            if name not in known:
                raise InputError(
                    f"{where}: {manifest.where} has no sample {name!r}; give the data set, split "
                    "and limit of the run"
                )
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append(row)
    for batch in read(context, manifest.named(by_image), "required", batch_size=1):
        assert batch.labels is not None
        for row in by_image[batch.ids[0]]:
            labels, class_id = batch.labels[0], context.model.class_id(row["class"])
            if not bool((labels == class_id).any()):
                raise InputError(
                    f"{where}: {batch.ids[0]} holds no {row['class']}, and did in the run; give "
                    "its masks, or run the audit again"
                )
            kept = Kept.of(labels, class_id, row["margin"], result.notes["feather_px"])
            donor = donors.image(row["donor"], batch.images)
            yield row, _Composite(kept.within(batch.images, donor), labels, kept)


def _encoded(image: Tensor) -> tuple[np.ndarray, tuple[str, bytes]]:
    """An image [1, c, h, w] as it is read again, [c, h, w], and its file's suffix and bytes.

    PNG of 8 bits where most of its pixels have 8 bits (all but those of the seam, and of a donor
    that was resized) and there are one or three channels, else .npy of float32.
    """
    from PIL import Image

    values = np.ascontiguousarray(image[0].float().cpu().numpy())
    levels = np.rint(values * 255)
    exact = np.abs(values * 255 - levels) < 1e-3
    buffer = io.BytesIO()
    if len(values) not in (1, 3) or exact.mean() < 0.5:
        np.save(buffer, values, allow_pickle=False)
        return values, (".npy", buffer.getvalue())
    pixels = levels.astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if len(values) == 1 else pixels).save(buffer, "PNG")
    return (levels / 255).astype(np.float32), (".png", buffer.getvalue())


def _ignored(classes: int) -> int:
    """The value of pixels that are ignored: the largest of the masks' type."""
    return 255 if classes <= 255 else 65535


def _mask(composite: _Composite, classes: int) -> bytes:
    from PIL import Image

    ignored, labels = _ignored(classes), composite.scored.cpu().numpy()
    values = np.where(labels < 0, ignored, labels)
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8 if ignored == 255 else np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def _manifest(context: Context, table: list[dict[str, Any]]) -> bytes:
    classes, manifest = context.model.classes, context.manifest
    labels: dict[str, Any] = {"names": list(classes), "ignore": _ignored(len(classes))}
    if manifest.background in classes:
        labels["background"] = manifest.background
    content = {
        "name": f"{manifest.name}-reliances",
        "channels": manifest.channels,
        "labels": labels,
        "table": {"file": TABLE},
    }
    names = {"name": manifest.name, "model": context.model.name}
    head = HEAD.format(**{key: " ".join(name.split()) for key, name in names.items()})
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return (head + body).encode()


def _csv(table: list[Mapping[str, Any]] | list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue().encode()
