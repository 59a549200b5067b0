"""The graph study through the command, on a network wired by hand."""

import json

import numpy as np
import pytest
import yaml

from conceptseg import catalogue
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.graph import drawing
from tests.study.graph import wired

SMALL = {
    "min_images": 5,
    "edges": 20,
    "random_groups": 999,
    "exemplars": 1,
    "compare": ["seg_grad_cam"],
}


def run(path, out, *words):
    return command.main(["graph", "-c", str(path), "--out", str(out), "-q", *words])


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


def drawn(result):
    rows = [row for row in result["tables"]["edges"]["rows"] if row["confirmed"]]
    return {(row["from"], row["to"]) for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    path = wired.write(folder / "files", **SMALL)
    assert run(path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def test_the_graph_is_the_wiring(finished):
    """Precision and recall are 1; what leads nowhere is on no edge."""
    result = finished[2]
    assert drawn(result) == wired.WAYS | wired.STRAIGHT
    edges = {row["atom"]: row["edges"] for row in result["tables"]["atoms"]["rows"]}
    assert {name for name, count in edges.items() if not count} == {"a/4", "b/3", "b/4", "c/2"}


def test_it_is_the_wiring_where_units_are_bent_too(tmp_path):
    path = wired.write(tmp_path / "files", **SMALL)
    bent = "model.arguments={bent: true}"
    assert run(path, tmp_path / "out", "--set", bent, "--set", "compare=[]") == 0
    assert drawn(read(tmp_path / "out")[0]) == wired.WAYS | wired.STRAIGHT


def test_ways_sum_to_the_total_of_a_linear_network(finished):
    rows = finished[2]["tables"]["nodes"]["rows"]
    assert max(abs(row["total"]) for row in rows) > 0.1
    for row in rows:
        assert row["straight"] + row["through"] == pytest.approx(row["total"], abs=1e-5)
    for row in finished[2]["tables"]["edges"]["rows"]:
        assert row["out"] == pytest.approx(row["back"], abs=1e-5) and row["away"] < 1e-5
        if row["first"] is not None:
            assert row["first"] == pytest.approx(row["signed"], abs=1e-5)


def test_a_finding_shows_images_in_which_both_ends_respond(finished):
    result = Result.load(finished[1])
    report = catalogue.load("study", "graph").report(result)
    told = [one for one in result.findings if "source" in one.details]
    assert told
    rows = result.tables["edges"].rows
    for finding in told:
        ends = finding.details["source"], finding.details["target"]
        (row,) = [row for row in rows if (row["from"], row["to"]) == ends]
        shown = report.illustrate(finding, ())
        assert [one.key for one in shown] == row["pictures"]
        assert row["pictures"] and set(row["pictures"]) <= set(result.images)


def test_pointing_at_an_edge_or_atom_finds_its_picture(finished):
    """Every point of the drawing knows its own place among the pictures."""
    result = Result.load(finished[1])
    figure = drawing.pictures(result).blocks[0]
    places = [place for trace in figure.figure.data for place in trace.customdata]
    assert places == list(range(len(figure.hover)))
    held = {row["atom"]: row["pictures"] for row in result.tables["atoms"].rows}
    by_edge = {(row["from"], row["to"]): row["pictures"] for row in result.tables["edges"].rows}
    lines = [trace for trace in figure.figure.data if trace.mode == "lines"]
    keys = [figure.hover[trace.customdata[1]].key for trace in lines]
    assert sorted(keys) == sorted(by_edge[one][0] for one in wired.WAYS | wired.STRAIGHT)
    (nodes,) = [trace for trace in figure.figure.data if trace.mode != "lines"]
    pictures = [figure.hover[place] for place in nodes.customdata]
    on_edges = [own[0] for own in held.values() if own]
    assert sorted(one.key for one in pictures if one) == sorted(on_edges)


@pytest.mark.slow
def test_atoms_are_called_by_what_they_show_on(tmp_path):
    """Of `biased`, with the brick beside digits 3 drawn at random, some atom is the brick's."""
    scenes = {"format": "planted", "n": 40, "context": "balanced", "pair_share": 1.0}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(scenes))
    content = {
        "data": {"manifest": "set.yaml", "classes": ["digit 3", "digit 9"]},
        "model": {"source": "planted", "name": "biased"},
        "run": {"device": "cpu", "batch_size": 16, "threads": 1},
        "compare": [],
        **{**SMALL, "layers": ["encoder.1", "bottleneck"], "min_images": 5, "exemplars": 1},
    }
    path = tmp_path / "graph.yaml"
    path.write_text(yaml.safe_dump(content))
    assert run(path, tmp_path / "out") == 0
    rows = read(tmp_path / "out")[0]["tables"]["atoms"]["rows"]
    named = [row for row in rows if row["name"] != "unnamed"]
    assert "known context" in {row["name"] for row in named}
    for row in named:
        assert row["called"] == f"{row['atom']} ({row['name']})"
        assert row["overlap"] >= max(0.1, 2 * row["by_chance"])


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "The graph" in before and "Atoms without a way to a class" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, result, arrays = finished
    words = ["run.batch_size=3", "run.shards=4"]
    assert run(path, tmp_path / "out", *[w for x in words for w in ("--set", x)]) == 0
    again, own = read(tmp_path / "out")
    assert drawn(again) == drawn(result)
    for name, array in arrays.items():
        np.testing.assert_allclose(own[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "min_images=90"], "no class is predicted in 90 images of either half"),
        (["--set", "layers=[a]"], "a graph needs two layers or more, there is a"),
        (["--set", "layers=[a, bb]"], "'bb'"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, capsys, words, said):
    assert run(finished[0], tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


def grouped(folder, pattern, **changes):
    """The same images in other groups."""
    path = wired.write(folder, **SMALL, **changes)
    manifest = yaml.safe_load((folder / "set.yaml").read_text())
    (folder / "set.yaml").write_text(yaml.safe_dump({**manifest, "group": pattern}))
    return path


def test_of_groups_that_are_too_few_in_half_of_the_images_images_count(tmp_path):
    """Ten groups would do for a test of all images; five of them judge."""
    path = grouped(tmp_path / "files", r"g\d(\d)")
    assert run(path, tmp_path / "out", "--set", "compare=[]") == 0
    result, _ = read(tmp_path / "out")
    assert result["notes"]["unit"] == "image" and {f["of"] for f in result["findings"]} == {
        "images"
    }
    assert drawn(result) == wired.WAYS | wired.STRAIGHT
    assert result["notes"]["testable"] == result["notes"]["tested"]


def test_where_no_test_could_pass_the_verdict_says_so(tmp_path):
    path = grouped(tmp_path / "files", r"g(\d)\d", unit="group")
    assert run(path, tmp_path / "out", "--set", "compare=[]") == 0
    result, _ = read(tmp_path / "out")
    assert result["notes"]["testable"] == 0 and not result["findings"]
    said = result["verdict"]["sentence"]
    assert "could have been shown to hold: a test takes" in said and "groups in the half" in said
    assert all("groups" in row["needs"] for row in result["tables"]["edges"]["rows"])
    page = (tmp_path / "out/report.html").read_text()
    assert "The graph</h2>" not in page and "What atoms respond to</h2>" not in page
    assert "The largest edges" in page
