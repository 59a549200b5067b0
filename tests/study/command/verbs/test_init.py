"""`conceptseg init`: from a folder and a checkpoint to files that run as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from conceptseg import catalogue
from conceptseg.config import DataConfig
from conceptseg.data.manifest import load_manifest
from conceptseg.settings import read_settings
from conceptseg.study.__main__ import main

MEAN, STD = 0.5, 0.1


class Bright(torch.nn.Module):
    """Class 1 where the normalised grey is positive: right only for images prepared by MEAN, STD
    as ImageNet's are nearly; of a first layer that takes three channels."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 1)
        self.head = torch.nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.first.weight.fill_(1 / 3)
            self.first.bias.zero_()
            self.head.weight[0], self.head.weight[1] = -1.0, 1.0
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(self.first(images))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Bright squares on dark ground, masks of 0 and 255, the ids of eight scenes."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    for index in range(16):
        name = f"scene{index // 2}_{index}.png"
        square = np.zeros((24, 24), bool)
        y, x = noise.integers(2, 12, 2)
        square[y : y + 9, x : x + 9] = True
        grey = np.where(square, 170, 60) + noise.integers(-20, 20, square.shape)
        for folder, values in (("images", np.stack([grey] * 3, -1)), ("masks", square * 255)):
            path = tmp_path / "squares" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(path)
    torch.save(Bright().state_dict(), "net.pth")
    return tmp_path / "squares"


NETWORK = ("--network", f"factory:{__name__}:Bright", "--weights", "net.pth")


def files():
    return yaml.safe_load(Path("squares.yaml").read_text()), Path("ace_squares.yaml").read_text()


def test_files_that_are_read_as_they_are(data, capsys):
    assert main(["init", "squares", *NETWORK]) == 0
    streams = capsys.readouterr()
    assert streams.out.split() == ["squares.yaml", "ace_squares.yaml"]
    assert "next: conceptseg check ace_squares.yaml" in streams.err
    manifest = load_manifest(Path("squares.yaml"))
    assert (len(manifest.samples), manifest.channels) == (16, 3)
    assert len(set(manifest.groups)) == 8
    image, labels = manifest.pair(manifest.samples[0])
    assert set(np.unique(labels)) == {0, 1} and image[0][labels == 1].min() > 0.5
    study = read_settings("ace", catalogue.load("study", "ace"), Path("ace_squares.yaml")).study
    assert study.model.weights == str(Path("net.pth").absolute())
    assert study.model.preprocessing is not None
    content, text = files()
    assert content["labels"]["names"] == ["background", "object"]
    assert "masks agree best with" in text and "as they are" in text


def test_editors_find_the_schemas(data):
    assert main(["init", "squares", *NETWORK]) == 0
    for name in ("squares.yaml", "ace_squares.yaml"):
        first = Path(name).read_text().splitlines()[0]
        file = first.removeprefix("# yaml-language-server: $schema=")
        assert file != first and "properties" in json.loads(Path(file).read_text())
    assert set(json.loads(Path(".conceptseg/ace.schema.json").read_text())["$defs"]) >= {
        DataConfig.__name__
    }


def test_preprocessing_is_the_one_that_the_masks_agree_with(data, capsys):
    """Without it all is foreground: no image is negative."""
    assert main(["init", "squares", *NETWORK]) == 0
    told = next(line for line in capsys.readouterr().err.splitlines() if "agree best" in line)
    best, own = (float(part.split()[0].strip("()")) for part in told.split("IoU ")[1].split(" ("))
    assert best > 0.9 and own < 0.3


def test_only_the_manifest_without_a_network(data, capsys):
    assert main(["init", "squares", "--classes", "ground, square", "--out", "new"]) == 0
    assert capsys.readouterr().out.split() == ["new/squares.yaml"]
    content = yaml.safe_load(Path("new/squares.yaml").read_text())
    assert content["labels"]["names"] == ["ground", "square"]
    assert content["root"] == str(data)  # outside the files' folder: in full
    assert load_manifest(Path("new/squares.yaml")).classes == ("ground", "square")


def test_nothing_is_replaced_unless_asked_and_nothing_is_left_of_a_failure(data, capsys):
    Path("squares.yaml").write_text("mine")
    assert main(["init", "squares"]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert Path("squares.yaml").read_text() == "mine"
    assert main(["init", "squares", "--force"]) == 0
    Path("squares.yaml").unlink()
    torch.save({"other": torch.zeros(3, 3, 1, 1)}, "net.pth")
    assert main(["init", "squares", *NETWORK]) == 2
    assert "does not fit the network" in capsys.readouterr().err
    assert not list(Path().glob("*.yaml"))


def test_names_of_files_stay_within_their_comment_and_value(data):
    """A name can neither end a comment nor add a key."""
    for folder in ("images", "masks"):
        for path in (data / folder).iterdir():
            path.rename(path.with_name(path.name.replace("_", ": [x] #\n evil: 1 _")))
    assert main(["init", "squares"]) == 0
    content = yaml.safe_load(Path("squares.yaml").read_text())
    assert set(content) <= {"name", "root", "channels", "group", "labels", "folders"}


@pytest.mark.parametrize(
    "words, told",
    [
        (["none"], "none: no such folder"),
        (["squares", "--weights", "net.pth"], "--weights: give --network too"),
        (["squares", "--network", "smp"], "write it as SOURCE:NAME"),
        (["squares", "--network", "smpp:Unet"], "did you mean 'smp'"),
        (["squares", "--study", "acee"], "did you mean 'ace'"),
        (["squares", "--classes", "a,b,c,d", "--argument", "x"], "--classes names 4 classes"),
    ],
)
def test_mistakes(data, capsys, words, told):
    assert main(["init", *words]) == 2
    err = capsys.readouterr().err.splitlines()
    assert told in err[-1] and not list(Path().glob("*.yaml"))
