"""The noise study through the command: who fits and who judges, what its run is good for."""

import json

import numpy as np
import pytest
import torch
import yaml

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.explain.explainers.u_noise import UNoise
from conceptseg.explain.metrics.trainable_noise import TrainableNoise
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.model import load_model
from conceptseg.study.noise import fit
from tests.explain.metrics.judging import trial
from tests.study import dim

SMALL = {
    "images": 24,
    "judged": 8,
    "steps": 6,
    "batch": 4,
    "points": 4,
    "min_region_fraction": 0.01,
    "beside": [{"kind": "rise", "masks": 8}],
    "fills": ["black", "grey"],
    "gallery": 2,
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    path = dim.write(folder / "files", "noise", 30, **SMALL)
    assert dim.run("noise", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def network(path):
    content = yaml.safe_load(path.read_text())["model"]
    return load_model(ModelConfig(**content), ["ground", "square"], "cpu")


def test_no_group_both_fits_and_judges(finished):
    _, _, result, arrays = finished
    notes = result["notes"]
    assert notes["images"] + notes["fit_images"] <= 24 and notes["images"] >= 8
    assert arrays["dice"].shape == (notes["images"], 5, 2, 5)
    assert notes["judged_methods"][0] == "u_noise"


def test_a_curve_begins_at_the_fill_and_ends_at_the_whole_image(finished):
    _, _, result, arrays = finished
    assert (arrays["dice"][..., 0] == 0).all()  # nothing is bright in a fill of black or grey
    assert (arrays["dice"][..., -1] == 1).all()


def test_dilated_predictions_are_known_beforehand(finished):
    """The network sees each pixel alone: with half visible, the square is, and nothing else is."""
    _, _, result, arrays = finished
    place = result["notes"]["judged_methods"].index("dilated_prediction")
    assert (arrays["dice"][:, place, :, 2] == 1).all()
    rows = {(r["fill"], r["other"]): r for r in result["tables"]["against"]["rows"]}
    row = rows["black", "dilated_prediction"]
    found = arrays["dice"][:, 0, 0, 2] - arrays["dice"][:, place, 0, 2]
    assert row["difference"] == pytest.approx(found.mean(), abs=1e-6)


def test_its_run_explains_and_judges_the_same_network_and_no_other(finished):
    path, out, result, arrays = finished
    net, x = network(path), torch.rand(2, 3, 24, 32)
    target = Target(1)
    level = 1 - UNoise(weights=out).on(Scene(net, x), [target])[0]
    made = torch.from_numpy(arrays["fitted-head.bias"])
    assert level.shape == (2, 24, 32) and made.shape == (len(result["notes"]["classes"]),)
    score = TrainableNoise(weights=out).measure(trial(net, x, torch.ones(2, 24, 32), target))
    torch.testing.assert_close(score.value, level.mean((1, 2)), rtol=1e-3, atol=1e-5)
    other = network(path)
    with torch.no_grad():
        other.module.head.bias += 1
    with pytest.raises(InputError, match="made for other weights"):
        UNoise(weights=out).on(Scene(other, x), [target])


def test_a_run_of_another_study_is_no_noise_network(finished, tmp_path):
    path = dim.write(tmp_path / "files", "permutation", 24, images=8, repeats=2, compare=[])
    assert dim.run("permutation", path, tmp_path / "out") == 0
    with pytest.raises(InputError, match="holds no u_noise; fit one"):
        UNoise(weights=tmp_path / "out").on(
            Scene(network(path), torch.rand(1, 3, 24, 32)), [Target(1)]
        )


def test_fitted_in_parts_is_fitted_at_once(finished, tmp_path, monkeypatch):
    path, _, _, arrays = finished
    monkeypatch.setattr(fit, "EACH", 2)
    assert dim.run("noise", path, tmp_path / "out") == 0
    again = read(tmp_path / "out")[1]
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    words = ("--set", "run.batch_size=3", "--set", "run.shards=4")
    assert dim.run("noise", path, tmp_path / "out", *words) == 0
    again = read(tmp_path / "out")[1]
    for name, array in arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_report_is_rendered_again_without_the_model(finished):
    from conceptseg.study import __main__ as command

    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "What is left when little is visible?" in before and "The maps" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": 0.6}, "low, high: noise: low 0.6 has to lie in [0, high), high 0.5"),
        ({"min_region_fraction": 0.9}, "is predicted to hold"),
        ({"beside": ["rize"]}, "rize"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, capsys, changes, words):
    path = dim.write(tmp_path / "files", "noise", 24, **{**SMALL, **changes})
    assert dim.run("noise", path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


def test_one_group_cannot_both_fit_and_judge(tmp_path, capsys):
    path = dim.write(tmp_path / "files", "noise", 12, groups=12, **SMALL)
    assert dim.run("noise", path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "all 12 images are of one group, and some have to judge" in error


def test_context_is_what_a_fit_is_seeded_by():
    """Another seed draws other images for a step, the same seed the same ones."""
    from conceptseg.study.noise.choose import Drawn
    from conceptseg.study.noise.config import NoiseStudy

    drawn = Drawn((1, 2), (tuple("abcdef"), tuple("ghijkl")), ())
    study = NoiseStudy.model_construct(batch=16)
    first = fit.pair(study, 0, 3, drawn)
    assert first == fit.pair(study, 0, 3, drawn) != fit.pair(study, 1, 3, drawn)
    assert {m for _, m in first} == {0, 1}
    assert all((name in "abcdef") == (m == 0) for name, m in first)
