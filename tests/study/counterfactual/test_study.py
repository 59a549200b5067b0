"""The counterfactual study through the command: a network whose one cue is known, and its size."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study import __main__ as command
from conceptseg.study.counterfactual.assess import Share
from conceptseg.study.counterfactual.conclude import findings
from conceptseg.study.counterfactual.config import ALL
from conceptseg.study.counterfactual.edit import percentile
from conceptseg.study.counterfactual.report import edits, illustrate
from tests.study.counterfactual.corner import TURN, write


def run(path, out, *words):
    sets = [w for word in words for w in ("--set", word)]
    return command.main(["counterfactual", "-c", str(path), "--out", str(out), "-q", *sets])


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counterfactual")
    path = write(folder / "files")
    assert run(path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def shares(result, table="regions"):
    rows = result["tables"][table]["rows"]
    return {(row["region"], row.get("attribute", "")): row["share"] for row in rows}


def test_only_the_mark_turns_a_into_b(finished):
    found = shares(finished[2])
    assert found == {("a", ""): 0, ("mark", ""): 1, ("ground", ""): 0}
    assert finished[2]["verdict"]["status"] == "concern"
    assert "a by mark" in finished[2]["verdict"]["sentence"]


def test_edits_elsewhere_do_not_turn_it(finished):
    """Six images, of which all turn by the mark, and one by as much elsewhere at most: 2^-5."""
    rows = {row["region"]: row for row in finished[2]["tables"]["regions"]["rows"]}
    assert rows["mark"]["elsewhere"] <= 1 / 6 and rows["mark"]["p_corrected"] <= 2**-5
    assert rows["ground"]["elsewhere"] is None and rows["ground"]["more"] is None
    (first, *others) = finished[2]["findings"]
    assert first["details"]["region"] == "mark" and first["p_adjusted"] <= 2**-5
    assert all(one["p_adjusted"] is None or one["p_adjusted"] == 1 for one in others)


def test_a_network_that_any_edit_turns_is_no_concern(tmp_path):
    own = {"kind": "layers", "attributes": ["colour"]}
    path = write(tmp_path / "files", net="AnywhereNet", generator=own, together=0, gallery=0)
    assert run(path, tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    (row,) = [one for one in result["tables"]["regions"]["rows"] if one["region"] == "mark"]
    assert row["share"] == row["elsewhere"] == 1 and row["p_corrected"] in (None, 1)
    assert result["verdict"]["status"] == "cannot tell"
    assert "a by mark" in result["verdict"]["sentence"]
    (told,) = [one for one in result["findings"] if one["details"]["region"] == "mark"]
    assert "edits elsewhere in 100%" in told["claim"]
    assert told["plain"].endswith("; not shown to be more often than when as much elsewhere is.")


@pytest.mark.parametrize(
    ("value", "n", "of", "said"),
    [
        (2 / 18, 18, "images", "in 2 of 18 images; not shown"),
        (1.0, 1, "images", "in 1 of 1 image; not shown"),
        (0.35, 7, "groups", "in 35% of 7 groups; not shown"),
    ],
)
def test_what_did_not_pass_is_told_with_its_count_and_not_as_a_rule(value, n, of, said):
    share, more = Estimate(value, 0.0, 1.0, n, of), Estimate(value, -0.1, 0.5, n, of)
    test = Test(0.4, 0.5, 0.01, 0.01, 0.3, 0.05, n, of, "holm")
    one = Share(0, 1, "sky", ALL, False, share, 0, 0, 0, 0, 0.0, more, test)
    (found,) = findings([one], ["a", "b"])
    assert found.plain.startswith(f"a becomes b when sky alone is edited {said}")
    assert "no more often" not in found.plain


def test_by_its_colour_or_another_image_s_mark_and_no_other_attribute(finished):
    found = {key: share for key, share in shares(finished[2], "attributes").items() if share}
    assert set(found) == {("mark", "colour"), ("mark", "exchange")}


def test_the_smallest_edit_is_as_large_as_the_margin_asks(finished):
    """From 0.7 until 60 (m - 0.4) = -0.5: 0.308 darker; a finding of at most 1/256 more."""
    edits = [row["edit"] for row in finished[2]["tables"]["cases"]["rows"]]
    assert len(edits) == 6
    needed = 100 * (178 / 255 - TURN + 0.5 / 60)
    for edit in edits:
        told = re.fullmatch(r"mark: (\d+) % of the range darker", edit)
        if told is None:  # the same by another image's mark, whose size is counted otherwise
            assert re.fullmatch(r"mark: by (\d+) % that of s\d\d", edit)
        else:
            assert needed - 1 <= int(told[1]) <= needed + 2


@pytest.mark.parametrize(
    ("together", "said"), [(4, "of one group, or of two, was"), (0, "of one group was")]
)
def test_a_case_that_nothing_flips_says_what_was_tried(together, said):
    row = {"class": "a", "to": "b", "sample": "s", "edit": "", "pictures": ["one"]}
    result = Result("counterfactual", [], {"cases": Table([row])}, notes={"together": together})
    (cards,) = edits(result).blocks
    assert said in cards.cards[0].text


def test_a_finding_is_pictured_by_edits_of_its_region_alone():
    """Not by those that name it: another image's sky may stand there, or it be one of two."""
    said = (
        ("sky", "sky: by 40 % that of car_07"),
        ("car + road", "car: darker; road: darker"),
        ("car", "car: darker"),
        ("", ""),
    )
    rows = [
        {"class": "tree", "to": "pole", "sample": f"s{n}", "region": region, "edit": edit,
         "pictures": [f"case-{n}-0", f"case-{n}-1", f"case-{n}-2"] if edit else []}
        for n, (region, edit) in enumerate(said)
    ]  # fmt: skip
    chosen = illustrate(SimpleNamespace(tables={"cases": SimpleNamespace(rows=rows)}))
    keys = {
        region: [
            one.key
            for one in chosen(
                SimpleNamespace(class_="tree", details={"to": "pole", "region": region}), ()
            )
        ]
        for region in ("car", "sky", "road")
    }
    assert keys == {"car": ["case-2-0", "case-2-1"], "sky": ["case-0-0", "case-0-1"], "road": []}


def test_what_holds_is_rounded_and_noisy(finished):
    _, _, _, arrays = finished
    assert (arrays["held"][arrays["holds"]] >= 0.8).all() and arrays["holds"].any()
    assert np.isnan(arrays["held"][arrays["flipped"] == 0]).all()


def test_another_network_takes_them_or_does_not(finished, tmp_path):
    """One that turns at 0.2 is not turned by the least edit of one that turns at 0.4."""
    content = yaml.safe_load(finished[0].read_text())
    for turn, share in ((TURN, 1.0), (0.2, 0.0)):
        second = {**content["model"], "arguments": {"turn": turn}}
        path = finished[0].parent / f"second-{turn}.yaml"
        path.write_text(
            yaml.safe_dump({**content, "second": second, "images": 3, "generator": {
                "kind": "layers", "attributes": ["colour"]}})
        )  # fmt: skip
        assert run(path, tmp_path / str(turn)) == 0
        rows = {
            row["region"]: row for row in read(tmp_path / str(turn))[0]["tables"]["regions"]["rows"]
        }
        assert rows["mark"]["second"] == share


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "Which part of the image suffices?" in before and "The smallest edits" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    assert run(path, tmp_path / "out", "run.batch_size=5", "run.shards=1") == 0
    again = read(tmp_path / "out")[1]
    for name, array in arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", ["pca", "autoencoder"])
def test_learnt_generators_are_fitted_to_images_that_are_not_edited(finished, tmp_path, kind):
    own = {"kind": kind, **({"steps": 300, "width": 8} if kind == "autoencoder" else {})}
    content = yaml.safe_load(finished[0].read_text())
    path = finished[0].parent / f"{kind}.yaml"
    path.write_text(yaml.safe_dump({**content, "generator": own, "recovered": 0.3, "images": 4}))
    assert run(path, tmp_path / "out") == 0
    result, _ = read(tmp_path / "out")
    assert [row["region"] for row in result["tables"]["regions"]["rows"]] == ["image"]
    (whole,) = result["tables"]["regions"]["rows"]  # of all parts of the image the most unlike one
    assert (whole["plausible"] is not None) == (whole["share"] > 0)
    assert result["verdict"]["status"] != "concern"  # what edits all says nothing of surroundings
    if kind == "pca":  # the mark is the first component
        assert shares(result) == {("image", ""): 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pairs=[[a, a]]"], "pairs: 'a' is given with itself"),
        (["pairs=[[a, c]]"], "'c'"),
        (["generator=renderer"], "renderer draws textured scenes of the planted benchmark alone"),
        (["generator=layer"], "layer"),
        (["min_region_fraction=0.9"], "is predicted to hold a on 90.00%"),
        (["generator={kind: autoencoder, steps: 1}"], "below recovered: 0.9; edits of what it"),
        (
            ["generator=pca", "images=24", "pairs=[[a, b], [b, a]]"],
            "generator: learnt ones are fitted to images of one size that are not edited",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, capsys, words, said):
    assert run(finished[0], tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


def test_unlikeness_is_the_share_of_real_ones_that_are_as_far():
    real = np.random.default_rng(0).normal(size=(400, 3)) * [1, 2, 3]
    inverse = np.linalg.inv(np.cov(real.T))
    one = np.array([0.5, -2.0, 4.0])
    far = [(row - real.mean(0)) @ inverse @ (row - real.mean(0)) for row in (*real, one)]
    expected = np.mean(np.array(far[:-1]) >= far[-1])
    assert percentile(real, one) == pytest.approx(expected, abs=0.02)
    assert percentile(real, real.mean(0)) == 1 and percentile(real, np.full(3, 99.0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "turns"), [("biased", "tile"), ("clean", "digit 3")])
def test_the_planted_truth_by_recipes_and_by_layers(tmp_path, name, turns):
    """Of `biased` the tile alone turns a 3 into a 9, of `clean` the glyph alone; where layers
    flip an image, recipes do so by the same part."""
    parts = {"the known context": "tile", "background": "other half"}
    (tmp_path / "set.yaml").write_text("{format: planted, context: with, digits: [3], n: 24}")
    found, verdicts = {}, set()
    for generator in ("renderer", "layers"):
        content = {
            "data": {"manifest": "set.yaml"},
            "model": {"source": "planted", "name": name},
            "run": {"device": "cpu", "batch_size": 16, "threads": 1},
            "pairs": [["digit 3", "digit 9"]],
            "images": 8,
            "generator": generator,
            "compare": [],
        }
        path = tmp_path / f"{generator}.yaml"
        path.write_text(yaml.safe_dump(content))
        assert run(path, tmp_path / generator) == 0
        result, _ = read(tmp_path / generator)
        found[generator] = shares(result)
        verdicts.add(result["verdict"]["status"])
    assert verdicts == {"concern" if turns == "tile" else "none shown"}
    truth = {region for (region, _), share in found["renderer"].items() if share > 0}
    assert truth == {turns}
    seen = {parts.get(r, r) for (r, _), share in found["layers"].items() if share > 0}
    assert seen <= truth
