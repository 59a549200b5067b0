"""Every study on a network that fails for images which its examination does not look at."""

import re

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg import catalogue
from conceptseg.data.draw import drawn
from conceptseg.data.manifest import load_manifest
from conceptseg.engine import examine
from conceptseg.errors import EXIT_INPUT
from conceptseg.network import choice
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_strange import run, write

COUNT = 60
"""Of these those that layers are weighed on and that are looked at before are as they should be."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes of which most have a pixel as no other has; and the names of these."""
    names = NETWORKS["plain"].classes
    path = write_scenes(tmp_path_factory.mktemp("scenes"), COUNT, names)
    ids = [one.id for one in load_manifest(path).samples]
    spread = {ids[(2 * i + 1) * COUNT // (2 * n)] for n in (4, 8) for i in range(n)}
    examined = {*drawn(0, ids, 5), *spread, ids[0]}
    spoilt = {name for name in ids if name not in examined}
    for name in spoilt:
        file = path.parent / f"images/{name}.png"
        pixels = np.asarray(Image.open(file)).copy()
        pixels[0, 0] = (255, 0, 255)
        Image.fromarray(pixels).save(file)
    return {names: path}, spoilt


@pytest.mark.parametrize("network", ["Failing", "FailingEarly"])
@pytest.mark.parametrize("study", catalogue.names("study"))
def test_it_is_refused_and_names_an_image(study, network, scenes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(examine, "MORE", 8)
    for name in ("MOST", "FIRST"):
        monkeypatch.setattr(choice, name, 5)
    path = write(tmp_path, study, "plain", scenes[0])
    content = yaml.safe_load(path.read_text())
    content["model"]["name"] = f"tests.strange_models:{network}"
    content["compare"] = []
    path.write_text(yaml.safe_dump(content))
    assert run(path, study, tmp_path / "out") == EXIT_INPUT
    told = capsys.readouterr().err
    (name,) = re.findall("NaN or infinity for sample '(.*)'; check", told)
    assert told.count("\n") == 1 and name.split()[-1] in scenes[1]
    assert not (tmp_path / "out/result.json").exists()


def test_of_two_networks_that_are_compared_the_other_is_watched_as_well(scenes, tmp_path, capsys):
    path = write(tmp_path, "diff", "plain", scenes[0])
    content = yaml.safe_load(path.read_text())
    content["other"]["name"] = "tests.strange_models:Failing"
    path.write_text(yaml.safe_dump(content | {"compare": []}))
    assert run(path, "diff", tmp_path / "out") == EXIT_INPUT
    (name,) = re.findall(
        "Failing' returns NaN or infinity for sample '(.*)';", capsys.readouterr().err
    )
    assert name in scenes[1]
