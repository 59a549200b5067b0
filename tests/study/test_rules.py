"""`check --rules`: which composite suits the network, with what was measured."""

import re

import torch

from conceptseg.config import ModelConfig
from conceptseg.data.manifest import load_manifest
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.suited import Fit, fits, recommended
from conceptseg.network.model import load_model
from conceptseg.study import __main__ as command
from conceptseg.study.command.rules import _told, rules
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.permutation.config import Permutation
from tests.study.lcrp.test_study import write


def test_check_prints_what_a_comparison_by_hand_says(tmp_path, capsys):
    path = write(tmp_path / "files", composite="gamma")
    assert command.main(["check", "-c", str(path), "--rules"]) == 0
    text = capsys.readouterr().out
    (best, name, sample) = re.search(
        r"composite: (\w+) is recommended \((.+) in (\S+), 1 image", text
    ).groups()
    manifest = load_manifest(path.parent / "set.yaml")
    (one,) = [each for each in manifest.samples if each.id == sample]
    config = ModelConfig(source="planted", name="constructed", arguments={"w": 0.4})
    model = load_model(config, manifest.classes, "cpu")
    image = torch.from_numpy(manifest.image(one))[None]
    class_id = model.class_id(name)
    region = model(image).argmax(1) == class_id
    found = dict(fits(Engine(model, image, "gamma"), image, region, class_id))
    sound = {name: fit for name, fit in found.items() if isinstance(fit, Fit)}
    assert best == recommended(sound, "gamma")
    for name, fit in found.items():
        assert re.search(rf"  {name} .*{re.escape(_told(fit)[:50])}", text), name


def test_what_a_line_says():
    fit = Fit(212, 349, 1.0, 0.02, 0.4, 0.3, -0.1)
    assert _told(fit) == (
        "absolute growth 212, silent units 2.0%, grid 40%, occlusion 0.30, flipping -0.10; does "
        "not meet: absolute growth, silent units, flipping"
    )
    assert _told("no rule") == "cannot be taken: no rule"


def test_where_rules_are_used_and_not_compared_check_says_what_it_would_cost():
    data = {"manifest": "set.yaml"}
    model = {"source": "planted", "name": "clean"}
    (line,) = rules(Lcrp(data=data, model=model), None, 0.1, compare=False)
    assert line == ("LRP rules", "not compared; --rules does, in about 20 s")
    other = Permutation(data=data, model=model)
    assert rules(other, None, 0.1, compare=False) == []
    local = Permutation(data=data, model=model, compare=("deep_lift",))
    assert rules(local, None, 0.1, compare=False)
