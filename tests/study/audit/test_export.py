"""A test set of what an audit has shown: read again, it is what the audit looked at."""

import numpy as np
import pytest
import torch
import yaml

from conceptseg.config import ModelConfig
from conceptseg.data.manifest import load_manifest
from conceptseg.network.model import load_model
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from tests.study.audit.exported import MARGIN, MODEL, exported, finish, table
from tests.study.audit.test_swap import audited, distances, grounds


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("export"))


def test_it_is_read_again_and_holds_what_the_audit_measured(finished, tmp_path, capsys):
    out = tmp_path / "set"
    assert exported(finished, out, "--images", "3") == 0
    rows, own = table(out), Result.load(finished / "out").tables["composites"].rows
    assert f"{len(rows)} composites of 2 verdicts" in capsys.readouterr().out
    assert len(rows) == 2 * 3 * 4  # verdicts, images, donors
    measured = {(row["class"], row["image"], row["donor"]): row["iou"] for row in own}
    manifest, scenes = (
        load_manifest(str(path)) for path in (out / "reliances.yaml", finished / "exact.yaml")
    )
    net = load_model(ModelConfig(**MODEL), list(manifest.classes), "cpu")
    for row, sample in zip(rows, manifest.samples, strict=True):
        image, labels = manifest.image(sample), manifest.labels(sample)
        inside, donor = (scenes.image(scenes.sample(row[key])) for key in ("of", "donor"))
        truth = scenes.labels(scenes.sample(row["of"]))
        class_id = manifest.classes.index(row["class"])
        far = distances(truth, class_id)
        near, beyond = far <= MARGIN, far >= MARGIN + 2
        np.testing.assert_allclose(image[:, near], inside[:, near], atol=1 / 510)
        np.testing.assert_allclose(image[:, beyond], donor[:, beyond], atol=1 / 510)
        assert (labels[near] == truth[near]).all() and (labels[~near] == -1).all()
        assert sample.group == scenes.sample(row["of"]).group and sample.split == row["split"]
        with torch.no_grad():
            predicted = net(torch.from_numpy(image)[None]).argmax(1)[0].numpy()[near]
        found, region = predicted == class_id, truth[near] == class_id
        iou = (found & region).sum() / (found | region).sum()
        assert float(row["iou"]) == pytest.approx(iou, abs=1e-4)
        assert measured[row["class"], row["of"], row["donor"]] == pytest.approx(iou, abs=0.02)


def test_both_kinds_of_surroundings_and_what_they_do(finished, tmp_path):
    out = tmp_path / "set"
    assert exported(finished, out) == 0
    means = {
        (name, split): np.mean(
            [float(r["iou"]) for r in table(out) if (r["class"], r["split"]) == (name, split)]
        )
        for name in ("digit 3", "digit 9")
        for split in ("placebo", "treatment")
    }
    assert means["digit 3", "placebo"] > 0.9 and means["digit 3", "treatment"] < 0.1
    assert means["digit 9", "placebo"] < 0.1 and means["digit 9", "treatment"] > 0.9
    content = {"data": {"manifest": str(out / "reliances.yaml"), "split": "treatment"}}
    content |= {"model": MODEL, "compare": []}
    study = tmp_path / "ability_set.yaml"
    study.write_text(yaml.safe_dump(content))
    assert command.main(["check", "-c", str(study)]) == 0


def test_channels_that_no_picture_holds_are_written_as_numbers(tmp_path):
    model = {"source": "factory", "name": "tests.study.audit.test_swap:Ground"}
    keys = {"masks": {"light": "light/{id}.png"}, "known": False, "feather_px": 0, "layer": "body"}
    path = grounds(tmp_path)
    for file in (tmp_path / "images").iterdir():
        from PIL import Image

        np.save(file.with_suffix(".npy"), np.asarray(Image.open(file)) / np.float32(251))
        file.unlink()
    path.write_text(path.read_text().replace("{id}.png\n    masks", "{id}.npy\n    masks"))
    content = yaml.safe_load(path.read_text())
    content["folders"][0]["images"] = "images/{id}.npy"
    path.write_text(yaml.safe_dump(content))
    audited(tmp_path, model, path, look_images=2, images=16, **keys)
    assert exported(tmp_path, tmp_path / "set", "--images", "2") == 0
    rows = table(tmp_path / "set")
    assert rows and all(row["image"].endswith(".npy") for row in rows)
    manifest = load_manifest(str(tmp_path / "set" / "reliances.yaml"))
    assert manifest.image(manifest.samples[0]).shape == (1, 40, 40)
