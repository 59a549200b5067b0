"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest
import yaml
from PIL import Image

from tests.study.refusals import refused_alike

REFUSALS = [
    ({"masks": {"lawn": "gone/{id}.png"}}, (), r"masks\.lawn: no image has a file"),
    ({"masks": {"lawn": "{nmae}.png"}}, (), r"masks\.lawn: nothing is called \{nmae\}"),
    ({"masks": {"lawn": "../{id}.png"}}, (), "leaves the root"),
    ({"concepts": ["context"]}, (), "concepts: the data hold none"),
    ({"concepts": []}, (), "concepts: the data hold none"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "dissect", keys, data))


def test_masks_where_the_data_have_no_folder(capsys, tmp_path):
    keys = {"data": {"manifest": "builtin:planted"}, "masks": {"lawn": "{id}.png"}}
    keys |= {"model": {"source": "planted", "name": "biased"}, "layer": "bottleneck"}
    line = refused_alike(capsys, tmp_path, "dissect", keys)
    assert "masks.lawn: manifest" in line and "no root folder" in line


def test_percentiles_at_each_position_of_images_of_two_sizes(capsys, tmp_path):
    for number, side in enumerate((32, 40)):
        Image.new("RGB", (side, 32)).save(tmp_path / f"i{number}.png")
    content = {"name": "two", "channels": 3, "labels": {"names": ["ground", "red", "green"]}}
    content["samples"] = [{"image": f"i{number}.png"} for number in range(2)]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(content))
    keys = {"data": {"manifest": str(tmp_path / "two.yaml")}, "published": ["bioexp"]}
    line = refused_alike(capsys, tmp_path, "dissect", keys)
    assert line.startswith("published: 'bioexp' takes a percentile at each position")
