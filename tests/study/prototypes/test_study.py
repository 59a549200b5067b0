"""The prototypes study through the command, on a network wired to decide in two ways."""

import json

import numpy as np
import pytest
import yaml

from conceptseg.study import __main__ as command
from tests.study.prototypes import wired

SMALL = {
    "min_share": 0.01,
    "min_regions": 5,
    "counts": [1, 2, 3],
    "exemplars": 2,
    "outliers": 2,
    "compare": ["seg_grad_cam"],
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prototypes")
    path = wired.write(folder / "files", **SMALL)
    assert wired.run(path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_two_ways_of_deciding_are_two_prototypes_with_names(finished):
    result, arrays = finished[2:]
    rows = result["tables"]["prototypes"]["rows"]
    assert [row["name"] for row in rows] == ["colour: red", "colour: blue"]
    assert [row["wrong"] for row in rows] == [0, 1]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    apart = result["tables"]["apart"]["rows"]
    for number, concept in ((1, "channel 0"), (2, "channel 1")):
        own = {row["concept"]: row["gap"] for row in apart if row["prototype"] == number}
        assert own[concept] > 0.5
    assert len(np.unique(arrays["prototype"])) == 2


def test_the_way_that_errs_is_a_concern(finished):
    result = finished[2]
    (claim,) = [one for one in result["findings"] if one["evidence"] == "standing"]
    assert claim["fault"] and claim["effect"] == 1 and "colour: blue" in claim["claim"]
    assert claim["p_adjusted"] <= 0.05
    assert result["verdict"]["status"] == "concern" and "square" in result["verdict"]["sentence"]


def test_relevance_is_what_the_weights_say(finished):
    """10 max(red - 1/2, 0), the same of blue, and green, their shares over the square's pixels."""
    result, arrays = finished[2:]
    for row, name in list(enumerate(result["notes"]["image_ids"]))[:6]:
        image = wired.paint(int(name[1:]))[0].astype(np.float64) / 255
        lit = np.maximum(image[..., [0, 2]] - 0.5, 0)
        logit = 10 * lit.sum(-1) + image[..., 1] - 1
        top, left, bottom, right = arrays["box"][row]
        own = np.zeros(logit.shape, bool)
        own[top:bottom, left:right] = logit[top:bottom, left:right] > 0
        parts = np.stack([10 * lit[..., 0], 10 * lit[..., 1], image[..., 1]])
        # The epsilon rule shares a pixel's logit out in proportion, the last layer's bias included.
        shares = (parts / (parts.sum(0) - 1) * logit)[:, own].sum(1)
        expected = np.append(shares / np.abs(shares).sum(), 0)
        np.testing.assert_allclose(arrays["relevance"][row], expected, atol=2e-4)


def test_report_is_rendered_again_without_the_model(finished):
    out = finished[1]
    before = (out / "report.html").read_text()
    assert "In which ways is each class decided?" in before and "stand for errors?" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, result, arrays = finished
    assert (
        wired.run(path, tmp_path / "o", "--set", "run.batch_size=1", "--set", "run.shards=5") == 0
    )
    again, own = read(tmp_path / "o")
    for name, array in arrays.items():
        np.testing.assert_allclose(own[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    for key in ("findings", "notes", "skipped"):
        assert again[key] == result[key], key


def test_without_masks_all_calibrate_and_nothing_is_wrong(tmp_path):
    path = wired.write(tmp_path / "files", 60, masks=False, **SMALL)
    assert wired.run(path, tmp_path / "out") == 0
    result, arrays = read(tmp_path / "out")
    assert all(row["wrong"] is None for row in result["tables"]["prototypes"]["rows"])
    assert result["notes"]["of_right"] is False and result["verdict"]["status"] == "cannot tell"
    (row,) = result["tables"]["coverage"]["rows"]
    assert row["groups"] == (arrays["part"] == 1).sum() == 18


def test_atoms_add_up_to_the_layer(tmp_path):
    """Of red and blue each has an atom, and what atoms leave is a concept as well."""
    finder = {"kind": "nmf", "counts": [2]}
    path = wired.write(tmp_path / "files", 60, finder=finder, **SMALL)
    assert wired.run(path, tmp_path / "out") == 0
    result, arrays = read(tmp_path / "out")
    assert arrays["relevance"].shape[1] == 3
    np.testing.assert_allclose(np.abs(arrays["relevance"]).sum(1), 1, rtol=1e-5)
    names = {row["concept"] for row in result["tables"]["apart"]["rows"]}
    assert names == {"atom 1", "atom 2", "what no atom explains"}
    assert [row["name"] for row in result["tables"]["prototypes"]["rows"]][:2] == [
        "colour: red",
        "colour: blue",
    ]


@pytest.mark.slow
def test_the_network_that_leans_on_brick_decides_in_a_way_that_errs(tmp_path):
    """Digits 3 and 9 with brick are both called 3, each in a way of its own, and one is wrong; what
    lies beside the brick makes further ways."""
    scenes = {"format": "planted", "n": 300, "seed": 1, "context": "balanced", "pair_share": 1.0}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({**scenes, "digits": [3, 9]}))
    content = {
        "data": {"manifest": "set.yaml", "classes": ["digit 3"]},
        "model": {"source": "planted", "name": "biased"},
        "run": {"batch_size": 16, "device": "cpu"},
        "layer": "bottleneck",
        "compare": [],
    }
    path = tmp_path / "prototypes.yaml"
    path.write_text(yaml.safe_dump(content))
    assert wired.run(path, tmp_path / "o") == 0
    rows = read(tmp_path / "o")[0]["tables"]["prototypes"]["rows"]
    kinds = {
        name: [row for row in rows if row["name"] == name] for name in ("digit: 3", "digit: 9")
    }
    assert kinds["digit: 3"] and all(row["wrong"] < 0.1 for row in kinds["digit: 3"])
    assert kinds["digit: 9"] and all(row["wrong"] > 0.9 for row in kinds["digit: 9"])
    others = {row["name"].split("_")[0] for row in rows if "digit" not in row["name"]}
    assert others <= {"texture"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_regions": 90}, "no class has 90 regions to fit prototypes to, among four tenths"),
        ({"counts": []}, "counts"),
        ({"layer": "nowhere"}, "nowhere"),
        ({"finder": {"kind": "nmf", "counts": [9000]}}, "too few for 9000 concepts"),
        ({"finder": "fourier"}, "fourier"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, changes, words):
    path = wired.write(tmp_path / "files", 30, **{**SMALL, **changes})
    assert wired.run(path, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error
