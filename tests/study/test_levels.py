"""Several layers studied as one: each of two concepts lives on a level of its own.

`tests.network.nets.skips` wires the network: red squares are read on the fine level, green ones on
the coarse one, and both meet at the scores. Whoever looks at one level misses the other's concept.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.study import __main__ as command
from tests.network.nets.skips import scenes

CLASSES = ("ground", "red", "green")
NETS = "tests.network.nets.skips:Skips"
SMALL = {
    "ace": {
        "scales": [12, 24],
        "min_images": 4,
        "concepts": {"kind": "kmeans", "counts": [4, 5], "draws": 2, "seeds": 2},
        "segments_per_concept": 10,
        "min_auc": 0.6,
        "nulls": 199,
        "calibration": 20,
        "erase_images": 12,
        "null_erasures": 10,
        "outside_pairs": 0,
        "control_images": 8,
        "exemplars": 3,
        "map_images": 8,
        "map_segments": 24,
        "picture_px": 64,
        "compare": [],
    },
    "dissect": {
        "concepts": ["classes"],
        "quantiles": [0.05, 0.1],
        "bins": 64,
        "permutations": 199,
        "rotations": 0,
        "ablate_images": 12,
        "random_sets": 10,
        "cards": 3,
        "exemplars": 1,
        "compare": [],
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with painted scenes and their manifest."""
    folder = tmp_path_factory.mktemp("skips")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    images, labels = scenes(24)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"images/s{i:02d}.png")
        Image.fromarray(label.byte().numpy()).save(folder / f"masks/s{i:02d}.png")
    content = {
        "name": "skips",
        "channels": 3,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": list(CLASSES), "background": CLASSES[0]},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return folder


def write(files, study, arguments=None, **keys):
    content = {
        "data": {"manifest": str(files / "set.yaml")},
        "model": {
            "source": "factory",
            "name": NETS,
            "arguments": {"units": 16, **(arguments or {})},
        },
        "run": {"device": "cpu", "batch_size": 8, "threads": 1},
        "seed": 1,
        **SMALL.get(study, {}),
        **keys,
    }
    path = files / f"{study}-{len(list(files.iterdir()))}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(files, study, **keys):
    path = write(files, study, **keys)
    out = path.with_suffix("")
    assert command.main([study, "--config", str(path), "--out", str(out), "-q"]) == 0
    return json.loads(Path(out, "result.json").read_text())


def used(result):
    """Of each class, the largest loss of IoU by what it was found to use."""
    found: dict[str, float] = {}
    for one in result["findings"]:
        if one["evidence"] and one["counts"].get("class"):
            name = one["counts"]["class"]
            found[name] = min(found.get(name, 0.0), one["effect"])
    return found
