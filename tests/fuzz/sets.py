"""Small data sets in order, one for each reader, and files of every format: what is spoilt."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.files import Plainly, png, write

SIDE = 12
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
LABELS = RNG.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
NAMES = {"names": ["ground", "tree", "rock"], "background": "ground"}


def _pairs(folder: Path, image: str = "i/{}.png", mask: str = "m/{}.png") -> None:
    for name in ("a", "b"):
        write(folder / image.format(name), png(COLOURS))
        write(folder / mask.format(name), png(LABELS))


def _inline(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    parts = {"split": "train", "group": "g_1", "metadata": {"age": 3, "site": "Oslo"}}
    samples = [{"id": n, "image": f"i/{n}.png", "mask": f"m/{n}.png", **parts} for n in "ab"]
    colours = [[0, 0, 0], [9, 9, 9], [200, 0, 9]]
    labels = {**NAMES, "ignore": [255], "remap": {0: 0, 1: "tree", 2: 2}, "colours": colours}
    return {"name": "two", "channels": 3, "labels": labels, "samples": samples, "group": "(.)"}


def _folders(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    write(folder / "ids.txt", "a\nb\n")
    pattern = {"images": "i/{id}.png", "masks": "m/{id}.png", "ids": "ids.txt", "split": "val"}
    return {"labels": NAMES, "folders": [pattern], "range": [0, 255], "clip": True}


def _classes(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    for index, name in enumerate(("tree", "rock"), 1):
        for one in "ab":
            write(folder / f"{name}/{one}.png", png(np.uint8(255 * np.equal(LABELS, index))))
    masks = {"tree": "tree/{id}.png", "rock": "rock/{id}.png"}
    return {"labels": NAMES, "folders": [{"images": "i/{id}.png", "masks": masks}]}


ROWS = [
    {"id": n, "image": f"i/{n}.png", "mask": f"m/{n}.png", "group": "é", "age": 31.5, "code": "01"}
    for n in "ab"
]


def _csv(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    lines = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
    write(folder / "t.csv", "\n".join(lines) + "\n")
    return {"labels": NAMES, "table": {"file": "t.csv", "split": "{group}"}}


def _jsonl(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    write(folder / "t.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    return {"labels": NAMES, "table": {"file": "t.jsonl", "metadata": ["age"]}}


def _parquet(folder: Path) -> dict[str, Any]:
    import pyarrow
    from pyarrow import parquet

    _pairs(folder)
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "t.parquet")
    return {"labels": NAMES, "table": {"file": "t.parquet"}}


def _coco(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    size = {"height": SIDE, "width": SIDE}
    notes = [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[1, 1, 8, 1, 8, 8]], "area": 9},
        {
            **{"id": 2, "image_id": 2, "category_id": 9, "iscrowd": 1},
            "segmentation": {"size": [SIDE, SIDE], "counts": [40, 4, 100]},
        },
    ]
    content = {
        "images": [{"id": i, "file_name": f"{n}.png", **size} for i, n in enumerate("ab", 1)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": notes,
    }
    write(folder / "notes.json", json.dumps(content))
    return {"format": "coco", "parts": [{"annotations": "notes.json", "images": "i"}]}


def _cvat(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    shapes = '<polygon label="tree" points="1,1;8,1;8,8" z_order="0"/>'
    shapes += '<mask label="rock" rle="1, 3, 5" top="2" left="2" height="3" width="3"/>'
    images = "".join(
        f'<image id="{i}" name="{n}.png" width="{SIDE}" height="{SIDE}">{shapes}</image>'
        for i, n in enumerate("ab")
    )
    write(folder / "notes.xml", f"<annotations><version>1.1</version>{images}</annotations>")
    keys = {"annotations": "notes.xml", "images": "i", "classes": ["tree", "rock"]}
    return {"format": "cvat", **keys}


def _label_studio(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    value = {"polygonlabels": ["tree"], "points": [[10, 10], [80, 10], [80, 80]]}
    size = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}
    tasks = [
        {
            "id": number,
            "data": {"image": f"/data/upload/3/{name}.png"},
            "annotations": [{"result": [{"type": "polygonlabels", "value": value, **size}]}],
        }
        for number, name in enumerate("ab")
    ]
    write(folder / "notes.json", json.dumps(tasks))
    keys = {"annotations": "notes.json", "images": "i", "classes": ["tree", "rock"]}
    return {"format": "label_studio", **keys}


def _yolo(folder: Path) -> dict[str, Any]:
    _pairs(folder)
    write(folder / "labels/a.txt", "0 0.1 0.1 0.8 0.1 0.8 0.8\n1 0.5 0.5 0.9 0.5 0.9 0.9\n")
    parts = [{"images": "i", "labels": "labels", "split": "val"}]
    return {"format": "yolo", "classes": ["tree", "rock"], "parts": parts}


def _voc(folder: Path) -> dict[str, Any]:
    _pairs(folder, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    write(folder / "ImageSets/Segmentation/val.txt", "a\nb\n")
    return {"format": "voc", "splits": ["val"]}


def _cityscapes(folder: Path) -> dict[str, Any]:
    image = "leftImg8bit/val/oslo/{}_leftImg8bit.png"
    _pairs(folder, image, "gtFine/val/oslo/{}_gtFine_labelIds.png")
    return {"format": "cityscapes", "splits": ["val"]}


def _dicom(folder: Path) -> dict[str, Any]:
    from tests.data.readers.test_dicom import save

    grey = COLOURS[..., 0].astype(np.int16)
    save(folder / "p/a.dcm", grey, RescaleSlope=2, RescaleIntercept=-9, PatientID="Ann")
    save(folder / "p/b.dcm", np.stack([grey] * 3), frames=True, PatientID="Bob")
    keys = {"channels": 1, "window": [40, 400], "labels": NAMES}
    return {"format": "dicom", **keys, "folders": [{"images": "p/{id}.dcm"}]}


def _nifti(folder: Path) -> dict[str, Any]:
    import nibabel

    for name, values in {"i": np.int16(COLOURS), "m": np.stack([LABELS] * 3, 2)}.items():
        (folder / name).mkdir()
        for one, suffix in (("a", "nii.gz"), ("b", "nii.gz")):
            nibabel.Nifti1Image(values, np.eye(4)).to_filename(folder / name / f"{one}.{suffix}")
    volumes = [{"images": "i/{id}.nii.gz", "masks": "m/{id}.nii.gz"}]
    return {"format": "nifti", "labels": NAMES, "volumes": volumes, "range": [0, 255]}


def _geotiff(folder: Path) -> dict[str, Any]:
    from tests.data.readers.test_geotiff import save

    side = min(LABELS.shape)
    save(folder / "s/a.tif", np.moveaxis(COLOURS, -1, 0)[:, :side, :side])
    save(folder / "m/a.tif", LABELS[None, :side, :side].astype(np.uint8))
    scenes = [{"images": "s/{id}.tif", "masks": "m/{id}.tif"}]
    return {"format": "geotiff", "labels": NAMES, "scenes": scenes, "tile": 8}


def _zarr(folder: Path) -> dict[str, Any]:
    from tests.data.readers.test_zarr import save

    save(folder / "a", np.moveaxis(COLOURS, -1, 0))
    save(folder / "m", LABELS.astype(np.uint8))
    return {"format": "zarr", "labels": NAMES, "arrays": [{"image": "a", "mask": "m"}]}


def _planted(folder: Path) -> dict[str, Any]:
    return {"format": "planted", "n": 2, "seed": 3, "context": "biased", "digits": [1, 2]}


SETS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "inline": _inline,
    "folders": _folders,
    "classes": _classes,
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "coco": _coco,
    "cvat": _cvat,
    "label_studio": _label_studio,
    "yolo": _yolo,
    "voc": _voc,
    "cityscapes": _cityscapes,
    "dicom": _dicom,
    "nifti": _nifti,
    "geotiff": _geotiff,
    "zarr": _zarr,
    "planted": _planted,
}
"""Name of a layout -> what writes its files into a folder and returns its manifest's keys."""


def write_set(name: str, folder: Path) -> list[Path]:
    """Write a data set; its manifest, and the files that name or describe its samples."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = SETS[name](folder)
    path = write(folder / "set.yaml", yaml.dump(keys, Dumper=Plainly))
    told = (".txt", ".csv", ".jsonl", ".json", ".xml", ".parquet", ".dcm", ".gz")
    return [path, *sorted(one for one in folder.rglob("*") if one.suffix in told)]


# Files of every format


def _pillow(values: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(values)
    if options.pop("indexed", False):
        image = image.convert("P")
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _tiff(values: np.ndarray, **options: Any) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _dcm(values: np.ndarray, folder: Path) -> bytes:
    from tests.data.readers.test_dicom import save

    return save(folder / "one.dcm", values).read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    """Name -> content, of all formats and of many of their forms."""
    grey, deep = COLOURS[..., 0], COLOURS.astype(np.uint16) * 257
    alpha = np.concatenate([COLOURS, np.full_like(grey, 255)[..., None]], 2)
    planes = np.moveaxis(COLOURS, 2, 0)
    contig = {"photometric": "rgb"}
    found = {
        "rgb.png": png(COLOURS),
        "deep.png": png(deep),
        "alpha.png": png(alpha),
        "grey.png": png(LABELS),
        "bits.png": png(LABELS, 2),
        "index.png": _pillow(LABELS, "PNG", indexed=True, transparency=1),
        "clear.png": _pillow(COLOURS, "PNG", transparency=(1, 2, 3)),
        "photo.jpg": _pillow(COLOURS, "JPEG"),
        "views.jpg": _pillow(COLOURS, "MPO", save_all=True),
        "index.gif": _pillow(LABELS, "GIF"),
        "rgb.bmp": _pillow(COLOURS, "BMP"),
        "rgb.webp": _pillow(COLOURS, "WEBP", lossless=True),
        "rgb.jp2": _pillow(COLOURS, "JPEG2000"),
        "rgb.tif": _tiff(COLOURS, **contig),
        "grey.tif": _tiff(LABELS),
        "deep.tif": _tiff(deep, compression="zlib", **contig),
        "planes.tif": _tiff(planes, photometric="rgb", planarconfig="separate"),
        "floats.tif": _tiff(
            np.float32(grey / 255), tile=(16, 16), extratags=[(42113, "s", 0, "0")]
        ),
        "lzw.tif": _pillow(COLOURS, "TIFF", compression="tiff_lzw"),
        "index.tif": _pillow(LABELS, "TIFF", indexed=True),
        "a.ome.tif": _tiff(planes, metadata={"axes": "CYX"}, ome=True, photometric="minisblack"),
        "pages.tif": _tiff(planes, photometric="minisblack", imagej=True),
        "rgb.npy": _npy(COLOURS),
        "floats.npy": _npy(grey / 255),
        "grey.pgm": b"P5 12 12 255\n" + LABELS.tobytes(),
        "plain.pgm": b"P2 12 12 9\n" + b" ".join(b"%d" % one for one in LABELS.flat),
        "rgb.ppm": b"P6 12 12 255\n" + COLOURS.tobytes(),
        "bits.pbm": b"P4 12 12\n" + np.packbits(LABELS > 0, axis=1).tobytes(),
        "grey.dcm": _dcm(grey, folder),
    }
    return found
