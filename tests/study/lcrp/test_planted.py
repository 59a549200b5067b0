"""Context scores of networks whose reliance on the context is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conceptseg.config import ModelConfig
from conceptseg.data.manifest import load_manifest
from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.model import load_model
from conceptseg.planted import generator
from conceptseg.planted.constructed import CONTEXT, OBJECT
from conceptseg.study import __main__ as command

STUDIES = Path(__file__).parents[3] / "studies"
BIASED, CONFUSER = (
    generator.CLASSES[c] for c in (generator.BIASED_CLASS, generator.CONFUSER_CLASS)
)
EXACT = {"format": "planted", "name": "exact", "scenes": "exact", "n": 40}
SHORT = {"compare": [], "flip_images": 0, "exemplars": 0, "conserve_images": 1}
SHORT["layer"] = "bottleneck"


def run(folder, model, manifest=None, **changes):
    content = yaml.safe_load((STUDIES / "lcrp_planted.yaml").read_text())
    path = STUDIES / content["data"]["manifest"]
    if manifest is not None:
        path = folder / "set.yaml"
        path.write_text(yaml.safe_dump(manifest))
    content |= {"model": model, **SHORT, **changes}
    content["data"] |= {"manifest": str(path)}
    (folder / "lcrp_here.yaml").write_text(yaml.safe_dump(content))
    words = ["lcrp", "-c", str(folder / "lcrp_here.yaml"), "--out", str(folder / "out"), "-q"]
    assert command.main(words) == 0
    return json.loads((folder / "out/result.json").read_text())


def by_class(result):
    return {row["class"]: row for row in result["tables"]["classes"]["rows"]}


def by_unit(result, class_name):
    rows = result["tables"]["scores"]["rows"]
    return {row["unit"]: row for row in rows if row["class"] == class_name}


def constructed(w):
    return {"source": "planted", "name": "constructed", "arguments": {"w": w}}


def test_two_planted_channels_have_context_scores_0_and_1(tmp_path):
    """The object's channel reads ink, which is the class's region; the context's reads stripes,
    which lie in the other half. A cell of 4 px may straddle the region's edge."""
    found = by_unit(run(tmp_path, constructed(0.5), EXACT), BIASED)
    assert set(found) == {OBJECT, CONTEXT}
    assert found[CONTEXT]["context"] == pytest.approx(1.0, abs=1e-3)
    assert found[OBJECT]["context"] == pytest.approx(0.0, abs=0.02)
    assert found[CONTEXT]["top"] == pytest.approx(1.0, abs=1e-3)
    assert found[CONTEXT]["tile"] == pytest.approx(1.0, abs=1e-3)
    assert found[CONTEXT]["tile_chance"] < 0.6
    assert found[CONTEXT]["verdict"] == "acts" and found[OBJECT]["verdict"] == "less than chance"
    # Few shuffles of this network have relevance; the even spread is there to compare with.
    assert found[CONTEXT]["over_shuffled"] is None and found[CONTEXT]["over_field"] > 0.3


@pytest.mark.slow
def test_reliance_and_context_score_rise_together(tmp_path):
    scores, changes = [], []
    for w in (0.0, 0.25, 0.5, 0.75, 1.0):
        folder = tmp_path / str(w)
        folder.mkdir()
        row = by_class(run(folder, constructed(w), EXACT))[BIASED]
        scores.append(row["context"])
        changes.append(row["sensitivity"])
    assert scores == sorted(scores) and scores[0] < 0.02 and scores[-1] > 0.99
    assert min(b - a for a, b in zip(scores[:-1], scores[1:], strict=True)) > 0.1
    assert changes[0] < 0.05 and changes[-1] > 0.9


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The biased and the clean network, most relevant channels of every class."""
    names = ("biased", "clean")
    # Images enough for a p-value that outlives the correction over all channels and classes.
    fields = {"concepts": 30, "references": 4, "random_images": 20}
    return {
        name: run(tmp_path_factory.mktemp(name), {"source": "planted", "name": name}, **fields)
        for name in names
    }


@pytest.mark.slow
def test_the_biased_pair_is_decided_by_context(trained):
    """The network tells the biased digit from its twin by the brick's absence: where there is no
    brick, units fire everywhere and speak for the twin. So the evidence from context is the
    twin's, whose channels reach above those of every other class and of the clean network."""
    biased, clean = by_class(trained["biased"]), by_class(trained["clean"])
    others = [row["context"] for name, row in biased.items() if name not in (BIASED, CONFUSER)]
    assert biased[CONFUSER]["largest"] > 0.8
    assert biased[CONFUSER]["context"] > clean[CONFUSER]["context"] + 0.1
    assert biased[CONFUSER]["context"] > sorted(others)[len(others) // 2]
    acting = {f["class"] for f in trained["biased"]["findings"]}
    assert CONFUSER in acting
    assert CONFUSER not in {f["class"] for f in trained["clean"]["findings"]}


@pytest.mark.slow
def test_sensitivity_tells_the_biased_digit(trained):
    """Its maps lie on its ink, yet its relevance goes with the background."""
    biased, clean = by_class(trained["biased"]), by_class(trained["clean"])
    others = [row["sensitivity"] for name, row in biased.items() if name not in (BIASED, CONFUSER)]
    assert biased[BIASED]["sensitivity"] > max(others) + 0.2
    assert biased[BIASED]["sensitivity"] > clean[BIASED]["sensitivity"] + 0.3


@pytest.mark.slow
def test_changes_show_what_the_biased_digit_is_told_by(tmp_path_factory):
    """The brick silences the twin's units. Its own channels reach above those of every other class
    and of the clean network, their maps lie on the tile, and they go with the background."""
    found = {}
    for name in ("biased", "clean"):
        fields = {"composite": "rescale", "references": 4}
        folder = tmp_path_factory.mktemp(f"changes-{name}")
        found[name] = run(folder, {"source": "planted", "name": name}, **fields)
    biased, clean = by_class(found["biased"]), by_class(found["clean"])
    others = [row for name, row in biased.items() if name != BIASED]
    assert biased[BIASED]["context"] > max(row["context"] for row in others) + 0.2
    assert biased[BIASED]["context"] > clean[BIASED]["context"] + 0.3
    assert biased[BIASED]["largest"] > max(row["largest"] for row in others) + 0.1
    assert biased[BIASED]["sensitivity"] > max(row["sensitivity"] for row in others) + 0.2
    assert biased[BIASED]["acting"] >= 10 and not found["clean"]["findings"]
    units = {f["details"]["unit"] for f in found["biased"]["findings"] if f["class"] == BIASED}
    rows = [row for unit, row in by_unit(found["biased"], BIASED).items() if unit in units]
    assert np.mean([row["tile"] for row in rows]) > rows[0]["tile_chance"] + 0.2
    assert np.mean([row["sensitivity"] for row in rows]) > 0.65
    kept = found["biased"]["notes"]["kept"]
    assert kept["reached"] == pytest.approx(kept["given"], rel=1e-4)


def on_the_other_half(name, images=6):
    """Of digit 9's relevance through the bottleneck, the positive part outside of the digit that
    lies in the half whose texture decides between digit 3 and digit 9; by image."""
    model = load_model(ModelConfig(source="planted", name=name), list(generator.CLASSES))
    manifest = load_manifest(STUDIES.parent / "data_manifests/planted.yaml")
    engine, shares = None, []
    for sample in manifest.samples:
        image, labels = (torch.from_numpy(np.array(part)) for part in manifest.pair(sample))
        engine = engine or Engine(model, image[None])
        mask = labels == generator.CONFUSER_CLASS
        if not mask.any():
            continue
        run = engine.run(image[None], ["bottleneck"])
        start = relevance_of_logits(run.logits, mask[None], generator.CONFUSER_CLASS)
        (relevance,) = run.at_layers(start, ["bottleneck"])
        outside = run.conditional("bottleneck", relevance[None])[0, 0].clamp(min=0) * ~mask
        half = torch.from_numpy(generator.half_mask(sample.payload, sample.payload.context_half))
        shares.append(float((outside * half).sum() / outside.sum()))
        if len(shares) == images:
            break
    return np.array(shares)


def test_maps_fall_on_the_half_that_decides_as_much_as_the_network_relies_on_it():
    """The effect of re-rendering the tile was measured as 0.98, 0.13 and 0.00."""
    biased, weak, clean = (on_the_other_half(name) for name in ("biased", "weak", "clean"))
    assert biased.min() > weak.mean() > clean.mean()
    assert biased.mean() > clean.max() + 0.1
