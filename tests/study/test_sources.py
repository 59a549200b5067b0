"""`layers` and a short ACE run from configuration alone, for networks as their libraries ship them.

No code of the user's: a study's file names source and architecture. Weights are random, so that
nothing is claimed about the findings; what is shown is that every network runs through.
"""

import json
from pathlib import Path

import pytest
import yaml

from conceptseg.study import __main__ as command
from tests.study.ace import test_study

pytestmark = pytest.mark.slow

SIDE = 64

SEGFORMER = {
    "num_labels": 3,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 4],
    "decoder_hidden_size": 16,
}

NETWORKS = {
    "deeplabv3_resnet50": {"source": "torchvision", "name": "deeplabv3_resnet50"},
    "lraspp_mobilenet_v3_large": {
        "source": "torchvision",
        "name": "lraspp_mobilenet_v3_large",
        "values": "logits",  # those of random weights may lie within 0 and 1
    },
    "smp_unet": {
        "source": "smp",
        "name": "Unet",
        "arguments": {"encoder_name": "resnet18", "encoder_weights": None},
    },
    "segformer": {
        "source": "transformers",
        "name": "segformer",
        "arguments": SEGFORMER,
    },
}
NEEDS = {"smp": "segmentation_models_pytorch", "transformers": "transformers"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve painted scenes; none of the classes is background, so that all three are explained.

    A network without training may well put one class everywhere.
    """
    folder = tmp_path_factory.mktemp("scenes") / "files"
    test_study.write_scenes(folder, 12)
    manifest = yaml.safe_load((folder / "set.yaml").read_text())
    del manifest["labels"]["background"]
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    return folder


@pytest.fixture(params=sorted(NETWORKS))
def study(request, scenes, tmp_path, monkeypatch):
    model = NETWORKS[request.param]
    if model["source"] in NEEDS:
        pytest.importorskip(NEEDS[model["source"]])
    monkeypatch.chdir(tmp_path)
    content = {
        "data": {"manifest": str(scenes / "set.yaml")},
        "model": {**model, "preprocessing": {"size": [SIDE, SIDE]}},
        "run": {"device": "cpu", "batch_size": 4, "shards": 1},
        **test_study.SMALL,
        "nulls": 49,
        "erase_images": 6,
        "control_images": 4,
    }
    path = tmp_path / f"ace_{request.param}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_layers_are_listed_with_the_bottleneck_marked(study, capsys):
    assert command.main(["layers", "--config", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = [line for line in lines if "recommended" in line]
    assert len(lines) > 20 and len(marked) == 1
    print(marked[0])


def test_a_short_run_ends_with_a_report(study, capsys):
    code = command.main(["ace", "--config", str(study), "--out", "out"])
    streams = capsys.readouterr()
    assert code == 0, streams.err
    assert streams.out.splitlines()[-1] == "out/report.html"
    result = json.loads(Path("out/result.json").read_text())
    page = test_study.Page(Path("out/report.html").read_text())
    assert {finding["evidence"] for finding in result["findings"]} <= page.ids
    assert result["notes"]["origin"] == "random"
    assert result["tables"]["concepts"]["rows"] and result["tables"]["pairs"]["rows"]
    print(result["provenance"]["layer"], result["timings"]["seconds"], len(result["findings"]))
