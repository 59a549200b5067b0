"""Letters and scale bars that a network takes for particles are the first finding, in the studies
that ask; of a network that does not, there is none."""

import json

import pytest
import torch
import yaml

from conceptseg.study import __main__ as command
from tests import microscope

IMAGES = 32
MASKS = {"text": "text/{id}.png"}
SMALL = {
    "dissect": {"permutations": 199, "rotations": 0, "textures": 6, "cards": 4},
    "ace": {"control_images": 0, "scales": [15, 50]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("microscope")
    microscope.write(path, IMAGES)
    for name, fooled in (("fooled", True), ("right", False)):
        torch.save(microscope.trained(fooled).state_dict(), path / f"{name}.pth")
    return path


def run(folder, study, network, **keys):
    config = {
        "data": {"manifest": "microscope.yaml"},
        "model": {"source": "factory", "name": "tests.microscope:Net", "weights": f"{network}.pth"},
        "layer": "up1",
        "compare": [],
        **SMALL[study],
        **keys,
    }
    out = folder / f"{study}-{network}-{len(keys)}"
    path = folder / f"{out.name}.yaml"
    path.write_text(yaml.dump(config))
    assert command.main([study, "--config", str(path), "--out", str(out), "--quiet"]) == 0
    return json.loads((out / "result.json").read_text()), (out / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "keys"),
    [(study, keys) for study in ("dissect", "ace") for keys in ({"masks": MASKS}, {})],
)
def test_false_alarms_and_their_cause_come_first(folder, study, keys):
    result, page = run(folder, study, "fooled", **keys)
    first = result["findings"][0]
    assert first["fault"]
    assert (first["class"], first["details"]["kind"]) == ("particle", "false")
    assert first["p_adjusted"] <= 0.05
    if keys:
        assert first["details"]["concept"] == "text"
        assert first["details"]["rate_on"] > 0.9
        assert first["details"]["rate_change_erased"] < -0.9
    pictured = result["tables"]["mistake_pictures"]["rows"]
    assert {row["picture"] for row in pictured}
    assert first["claim"] in page
    status, sentence = result["verdict"]["status"], result["verdict"]["sentence"]
    assert ("particle is seen where there is none on text" in sentence) == bool(keys)
    assert (status == "concern") == bool(keys)
    if not keys:  # a concept that was found is said, and leaves the answer as it is
        assert "Mistakes lie on one concept rather than on others: particle is seen" in sentence
    result, _ = run(folder, study, "right", **keys)
    assert not any(finding["fault"] for finding in result["findings"])
