import json

import numpy as np
import pytest

from conceptseg.data.manifest import check_files
from conceptseg.data.readers.label_studio import unpack
from conceptseg.errors import InputError
from tests.data.readers.shapes import BIG, SMALL, H, W, corners, pictures, region
from tests.files import manifest, write

KEYS = {
    "format": "label_studio",
    "classes": ["cell", "core"],
    "annotations": "export.json",
    "images": "images",
}


def pack(values, word=8, lengths=(3, 4, 8, 16), literal=3):
    """Bit-packed run lengths, written from the format's description; short runs unpacked."""
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{n - 1:04b}" for n in lengths)
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 2 ** lengths[3]:
            end += 1
        repeated = end - place > literal
        end = end if repeated else min(place + literal, len(values))
        code = next(i for i, n in enumerate(lengths) if end - place - 1 < 2**n)
        bits += f"{int(repeated)}{code:02b}{end - place - 1:0{lengths[code]}b}"
        bits += "".join(f"{v:0{word}b}" for v in values[place : place + 1 if repeated else end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def shape(kind, label, value, **more):
    size = {"original_width": W, "original_height": H, "image_rotation": 0}
    return {"type": kind, "value": {kind: [label], **value}} | size | more


def polygon(label, box, **more):
    points = [[100 * x / W, 100 * y / H] for x, y in corners(box)]
    return shape("polygonlabels", label, {"points": points, "closed": True}, **more)


def brush(label, inside, **more):
    levels = np.repeat(np.uint8(inside.ravel()) * 255, 4)
    return shape("brushlabels", label, {"format": "rle", "rle": pack(levels.tolist())}, **more)


def task(*results, image="/data/upload/3/0a1b2c3d-a.png", number=1):
    return {
        "id": number,
        "data": {"image": image},
        "annotations": [{"id": 9, "was_cancelled": False, "result": list(results)}],
    }


def export(folder, *tasks):
    write(folder / "export.json", json.dumps(tasks))


def test_run_lengths_come_back():
    rng = np.random.default_rng(0)
    for values in ([0] * 9, [1, 2, 3, 4, 4, 4, 4, 4, 0], rng.integers(0, 256, 50).tolist()):
        packed = np.array(pack(values), np.uint8)
        assert unpack(packed, len(values), "m").tolist() == values
        with pytest.raises(InputError, match="end early"):
            unpack(packed[:-2], len(values), "m")
        with pytest.raises(InputError, match="another size"):
            unpack(packed, len(values) + 1, "m")


def test_polygons_and_brushes_in_the_order_of_the_export(tmp_path):
    pictures(tmp_path, "images/a.png", "images/b c.png", "images/c.png")
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    export(
        tmp_path,
        task(choice, polygon("cell", BIG), brush("core", region(SMALL))),
        task(brush("core", region(SMALL)), polygon("cell", BIG),
             image="/data/local-files/?d=x/b%20c.png", number=2),
        task(image="s3://bucket/x/c.png", number=3),
    )  # fmt: skip
    whole = manifest(tmp_path, **KEYS)
    wanted = np.where(region(SMALL), 2, np.where(region(BIG), 1, 0))
    assert np.array_equal(whole.labels(whole.sample("a")), wanted)
    assert np.array_equal(whole.labels(whole.sample("b c")), np.where(region(BIG), 1, 0))
    assert not whole.labelled(whole.sample("c"))
    assert check_files(whole) == []


BAD = {
    "rotated": (polygon("cell", BIG, image_rotation=90), "rotated in the tool"),
    "box": (shape("rectanglelabels", "cell", {"x": 1}), "a rectangle outlines nothing"),
    "unknown": (polygon("sell", BIG), "no class 'sell'"),
    "labels": (polygon("cell", BIG) | {"value": {"polygonlabels": ["cell", "core"]}}, "needs one"),
    "points": (shape("polygonlabels", "cell", {"points": [[1], [2]]}), "pairs of numbers"),
    "far": (shape("polygonlabels", "cell", {"points": [[0, 0], [9e9, 0], [0, 5]]}), "near the"),
    "brush": (shape("brushlabels", "cell", {"format": "rle", "rle": [1, 999]}), "run lengths"),
    "short": (shape("brushlabels", "cell", {"format": "rle", "rle": [0, 0, 3, 192]}), "end early"),
    "size": (polygon("cell", BIG, original_width="20"), "is no size"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_shapes(tmp_path, name):
    pictures(tmp_path, "images/a.png")
    result, says = BAD[name]
    export(tmp_path, task(result))
    with pytest.raises(InputError, match=f"task 1: .*{says}"):
        manifest(tmp_path, **KEYS)


def test_bad_exports(tmp_path):
    pictures(tmp_path, "images/a.png")
    write(tmp_path / "export.json", "{")
    with pytest.raises(InputError, match="not JSON"):
        manifest(tmp_path, **KEYS)
    write(tmp_path / "export.json", '[{"image": "a.png", "label": []}]')
    with pytest.raises(InputError, match="export as JSON, not JSON-MIN"):
        manifest(tmp_path, **KEYS)
    twice = task(polygon("cell", BIG))
    twice["annotations"] *= 2
    export(tmp_path, twice)
    with pytest.raises(InputError, match="2 annotations of one image"):
        manifest(tmp_path, **KEYS)
    export(tmp_path, {"id": 1, "data": {"img": "a.png"}, "annotations": []})
    with pytest.raises(InputError, match="no address of an image in data.image; set field"):
        manifest(tmp_path, **KEYS)


def test_numbers_without_bounds_and_addresses_that_are_none(tmp_path):
    pictures(tmp_path, "images/a.png")
    endless = [[0, 0], [10**400, 0], [0, 9]]
    export(tmp_path, task(shape("polygonlabels", "cell", {"points": endless})))
    with pytest.raises(InputError, match="task 1: a polygon must be pairs of numbers"):
        manifest(tmp_path, **KEYS)
    export(tmp_path, task(image="http://[half/a.png"))
    with pytest.raises(InputError, match=r"task 1: data\.image is no address"):
        manifest(tmp_path, **KEYS)
    export(tmp_path, task(image="0a1b2c3d-" + "x" * 5000))
    with pytest.raises(InputError, match="the id 'xxx.*cannot be a file's name"):
        manifest(tmp_path, **KEYS)
