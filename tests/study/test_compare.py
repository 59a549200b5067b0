"""Every local method stands beside a study's result, or is left out with the reason."""

import json

import pytest
import yaml

from conceptseg import notebook
from conceptseg.catalogue import names
from conceptseg.config import ModelConfig
from conceptseg.network.model import load_model
from tests.study import dim

SMALL = {
    "counterfactual_segments": {"segments": 4},
    "metfa": {"draws": 6},
    "rise": {"masks": 20},
    "seg_sobol": {"grid": 2, "samples": 4},
    "shap": {"cells": 6, "samples": 20},
    "grid_saliency": {"steps": 2},
    "misure": {"steps": 2},
    "integrated_gradients": {"steps": 4, "tolerance": None},
    "smoothgrad": {"samples": 4},
    "score_maps": {"size_px": 48, "min_size": 20},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    path = dim.write(
        folder / "files", "permutation", 12, images=4, repeats=2, most_repeats=2, min_images=2
    )
    content = yaml.safe_load(path.read_text())
    network = load_model(ModelConfig(**content["model"]), dim.CLASSES, "cpu")
    shown = [dim.paint(n)[0].transpose(2, 0, 1) for n in range(4)]
    weights = notebook.fit_noise(network, shown, "square", out=folder / "noise", steps=2)
    every = [{"kind": name, **SMALL.get(name, {})} for name in names("explainers")]
    for one in every:
        if one["kind"] == "u_noise":
            one["weights"] = str(weights)
    path.write_text(yaml.safe_dump({**content, "data": {**content["data"], "classes": ["square"]},
                                    "compare": every}))  # fmt: skip
    assert dim.run("permutation", path, folder / "out") == 0
    return json.loads((folder / "out" / "result.json").read_text())


@pytest.mark.parametrize("name", names("explainers"))
def test_compare_works_with_each_method(finished, name):
    left = {row["method"]: row["reason"] for row in finished["skipped"] if row["kind"] == "method"}
    shown = finished["notes"]["methods"]
    assert (name in shown) != (name in left)
    if name in shown:
        rows = finished["tables"]["saliency"]["rows"]
        assert rows and all(f"images/{row[name]}.webp" in finished["files"] for row in rows)
    else:
        assert left[name]


def test_nearly_all_are_shown(finished):
    assert len(finished["notes"]["methods"]) >= 0.8 * len(names("explainers"))
