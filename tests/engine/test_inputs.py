"""Further files that a study's file names: by their contents, wherever they are named."""

import numpy as np
import pytest
from PIL import Image

from conceptseg import catalogue
from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.engine.inputs import inputs, masks, stamps
from conceptseg.settings import FILES
from tests.data.test_batch import Numbered


@pytest.fixture
def manifest(tmp_path):
    samples = tuple(Sample(f"{n:02d}", metadata={"ink": f"deep/{n}.png"}) for n in range(3))
    for n in range(3):
        for path in (tmp_path / f"marks/{n:02d}.png", tmp_path / f"deep/{n}.png"):
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 5), 255, np.uint8)).save(path)
    return Manifest("set", LabelBlock(("a", "b")), 1, samples, Numbered([(4, 5)] * 3), tmp_path)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "directions.npy").write_bytes(b"numbers")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier/result.json").write_text("{}")
    return {
        "units": [{"kind": "file", "path": str(tmp_path / "directions.npy")}],
        "dissection": str(tmp_path / "earlier"),
        "masks": {"mark": "marks/{id}.png", "ink": "{ink}"},
        "names": "no file",
        "steps": 3,
        "nothing": None,
    }


def everything(config, manifest):
    """What a run's key knows of further files."""
    return inputs(config) | stamps(masks(config, manifest), manifest)


def test_what_is_named_is_found_wherever_it_stands(manifest, config):
    found = everything(config, manifest)
    assert set(found) == {"units[0].path", "dissection", "masks.mark", "masks.ink"}
    assert everything(config, manifest) == found
    assert inputs({"names": "no file", "words": ["long " * 2000, "/" + "x" * 300]}) == {}
    assert masks({"masks": None}, manifest) == {}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("directions.npy", "units[0].path"),
        ("earlier/result.json", "dissection"),
        ("marks/01.png", "masks.mark"),
        ("deep/2.png", "masks.ink"),
    ],
)
@pytest.mark.parametrize("gone", [False, True])
def test_other_contents_are_another_input(manifest, config, tmp_path, path, key, gone):
    before = everything(config, manifest)
    if gone:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes() + b" ")
    after = everything(config, manifest)
    assert {k for k in before if before[k] != after.get(k)} == {key}


@pytest.mark.parametrize("study", catalogue.names("study"))
def test_every_file_that_a_study_names_is_an_input(study, manifest, tmp_path):
    """Whichever of the keys that hold a path it has, in its own part or in a method's."""
    file = tmp_path / "named.npy"
    file.write_bytes(b"before")
    fields = catalogue.load("study", study).model_fields
    config = {key: str(file) for key in FILES if key in fields}
    config |= {"compare": [{"kind": "lrp", "directions": str(file)}]}
    config |= {"masks": {"mark": "marks/{id}.png"}} if "masks" in fields else {}
    before = everything(config, manifest)
    expected = {*config} - {"compare", "masks"} | {"compare[0].directions"}
    assert set(before) == expected | ({"masks.mark"} if "masks" in fields else set())
    file.write_bytes(b"behind")
    after = everything(config, manifest)
    assert {key for key in before if before[key] != after[key]} == expected
