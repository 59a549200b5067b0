"""The dictionary study through the command: a plain network, and the planted ones."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study import __main__ as command
from conceptseg.study.dictionary import tables
from conceptseg.study.dictionary.assess import ATOMS, LOSSES, Atom, Loss
from conceptseg.study.dictionary.findings import findings
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.verdict import verdict
from conceptseg.study.shared.atoms import Name
from conceptseg.study.shared.verdicts import beside_random
from tests.study import dim

SMALL = {
    "finder": {"kind": "nmf", "counts": [2, 4, 6]},
    "images": 30,
    "recover_images": 6,
    "erase_images": 12,
    "random_edits": 4,
    "sobol_atoms": 2,
    "sobol_images": 4,
    "sobol_draws": 4,
    "refits": 2,
    "min_failures": 2,
    "exemplars": 2,
    "cards": 3,
    "compare": ["seg_grad_cam"],
}


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionary")
    path = dim.write(folder / "files", "dictionary", 30, **SMALL)
    assert dim.run("dictionary", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_the_fewest_atoms_that_recover_are_taken(finished):
    rows = finished[2]["tables"]["tried"]["rows"]
    enough = [row for row in rows if row["recovered"] >= 0.95]
    taken = next(row for row in rows if row["taken"])
    assert taken == (enough[0] if enough else max(rows, key=lambda row: row["recovered"]))
    assert len(finished[3]["atoms"]) == taken["atoms"]


def test_the_report_says_which_losses_are_beyond_single_random_directions():
    """Of atoms that are no more than further random directions one in twenty passes the rest."""
    test = Test(0.001, 0.01, 0.0, 0.0, 0.1, 0.05, 12, "images", "holm")
    made = [
        Loss(0, 0, 12, 0.8, Estimate(-0.3, -0.4, -0.2, 12), -0.1, p, test, p < 0.05, "used")
        for p in (0.01, 0.3)
    ]
    known = LOSSES(tuple(made)) | ATOMS((Atom(0, Name("wire", 0.5, 0.1), "", 1.0, 0, 0, 1, None),))
    told = beside_random(tables.losses(known, ["car"]), "random directions")
    assert told.startswith("2 of 2 pairs") and "the losses of 1 are also larger" in told


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "What failures hang on" in before and "Is the dictionary complete?" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert dim.run("dictionary", path, out, *[w for x in words for w in ("--set", x)]) == 0
        _, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, _, result, _ = finished
    assert dim.run("dictionary", path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


def test_what_does_not_recover_claims_nothing():
    learnt = SimpleNamespace(count=3, recovered=Estimate(0.8, 0.7, 0.99, 9))
    (finding,) = findings({LEARNT: learnt}, ("ground", "square"), 0.95)
    assert finding.warning and "at IoU 0.800" in finding.claim
    assert verdict(Result("dictionary", [finding], {}, notes={"recovers": False})).status == (
        "cannot tell"
    )


PLANTED = {**SMALL, "finder": {"kind": "nmf", "counts": [16]}, "images": 64, "compare": []}
PLANTED |= {"recover_images": 12, "erase_images": 8, "sobol_atoms": 0, "min_failures": 3}


@pytest.mark.parametrize("name", ["biased", "clean"])
def test_brick_is_what_digits_3_fail_without_and_nothing_is_to_repair_in_clean(tmp_path, name):
    manifest = {"format": "planted", "name": "scenes", "context": "balanced", "n": 64, "seed": 5}
    (tmp_path / "scenes.yaml").write_text(yaml.safe_dump({**manifest, "pair_share": 1.0}))
    content = {
        "data": {"manifest": "scenes.yaml", "classes": ["digit 3"]},
        "model": {"source": "planted", "name": name},
        "layer": "bottleneck",
        "run": {"device": "cpu", "batch_size": 16},
        **PLANTED,
    }
    (tmp_path / "dictionary.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert command.main(["dictionary", str(tmp_path / "dictionary.yaml"), "--out", str(out)]) == 0
    result, _ = read(out)
    rows = result["tables"]["repairs"]["rows"]
    if name == "clean":
        assert rows == [] and result["verdict"]["status"] == "cannot tell"
        return
    (row,) = rows
    assert row["regained"] >= 0.7 and row["by_placebo"] <= 0.05 and row["p_adjusted"] <= 0.05
    assert "known context" in row["name"] and result["verdict"]["status"] == "concern"
