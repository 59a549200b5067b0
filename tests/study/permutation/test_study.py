"""The permutation study through the command, on a network that reads one channel of three."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.study import __main__ as command
from tests.study import dim

SMALL = {
    "model": {"source": "factory", "name": "tests.study.permutation.test_study:GreenNet"},
    "channel_names": ["red", "green", "blue"],
    "schemes": ["swap", "conditional", "mean", "block"],
    "block_px": 8,
    "images": 12,
    "repeats": 2,
    "most_repeats": 3,
    "octaves": 2,
    "unit_groups": 2,
    "pairs": 2,
    "gallery": 1,
    "compare": ["seg_grad_cam"],
}


class GreenNet(nn.Module):
    """Calls a pixel `square` where green is above 0.601; blue and red have no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.weight[0, 1, 1, 1] = 1.0
            self.body.weight[1:, 0, 1, 1] = torch.tensor([0.5, 0.2, -0.3])
            self.body.bias.zero_()
            self.head.weight.zero_()
            self.head.weight[1, 0] = 20.0
            self.head.bias.copy_(torch.tensor([0.0, -12.02]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def read(out):
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return json.loads((out / "result.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("permutation")
    path = dim.write(folder / "files", "permutation", 21, **SMALL)
    assert dim.run("permutation", path, folder / "out") == 0
    return path, folder / "out", *read(folder / "out")


def rows(result, **wanted):
    table = result["tables"]["importance"]["rows"]
    return {r["part"]: r for r in table if all(r[k] == v for k, v in wanted.items())}


def test_an_ignored_channel_costs_exactly_nothing(finished):
    for scheme in ("swap", "conditional", "mean", "block"):
        by_part = rows(finished[2], scheme=scheme, **{"class": "square"})
        for name in ("red", "blue"):
            row = by_part[name]
            assert (row["value"], row["p"]) == (0, 1)
            # That none of so few images loses anything does not show that none ever does.
            assert -0.3 < row["low"] < 0 < row["high"] < 0.3
    assert rows(finished[2], scheme="swap", **{"class": "square"})["green"]["value"] > 0.3


def test_what_is_needed_is_found(finished):
    _, _, result, _ = finished
    parts = {finding["details"]["part"] for finding in result["findings"]}
    assert "green" in parts and not {"red", "blue", "red + blue"} & parts
    swap = rows(result, scheme="swap", **{"class": "square"})
    assert swap["all channels"]["value"] == pytest.approx(swap["green"]["value"])


def test_only_units_that_are_read_are_needed(finished):
    _, _, result, _ = finished
    units = list(rows(result, family="units of the layer", **{"class": "square"}).values())
    assert sorted(row["value"] > 0.3 for row in units) == [False, True]
    assert min(row["value"] for row in units) == 0


def test_report_is_rendered_again_without_the_model(finished):
    _, out, _, _ = finished
    before = (out / "report.html").read_text()
    assert "What the network needs of its images" in before and "Scheme by scheme" in before
    assert command.main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == before


def test_nothing_moves_with_batches_or_shards(finished, tmp_path):
    path, _, _, arrays = finished
    for words in (["run.batch_size=1", "run.shards=4"], ["run.batch_size=7", "run.shards=1"]):
        out = tmp_path / words[0]
        assert dim.run("permutation", path, out, *[w for x in words for w in ("--set", x)]) == 0
        _, own = read(out)
        for name, array in arrays.items():
            np.testing.assert_allclose(own[name], array, atol=1e-2, err_msg=name)
            assert (np.abs(np.nan_to_num(own[name] - array)) > 1e-5).mean() < 0.005, name


def test_same_command_twice_gives_the_same_result(finished, tmp_path):
    path, _, result, _ = finished
    assert dim.run("permutation", path, tmp_path / "again") == 0
    again, _ = read(tmp_path / "again")
    for key in ("findings", "tables", "notes", "skipped", "files"):
        assert again[key] == result[key], key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": 1}, "1 of the 21 images have masks"),
        ({"min_images": 12}, "no class is in 12 of the 12 images"),
        ({"channel_names": ["grey"]}, "channel_names: 1 names, but images have 3 channels"),
        ({"groups": {"far": [3]}}, "groups.far: channels [3], but images have channels 0 to 2"),
        ({"groups": {"red": [1, 2]}}, "the name 'red' is given to two parts"),
        ({"groups": {"red + blue": [0, 1]}}, "the name 'red + blue' is given to two parts"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, changes, words):
    named = changes.pop("groups", None)
    path = dim.write(tmp_path / "files", "permutation", 21, **{**SMALL, **changes})
    given = [] if named is None else ["--set", f"groups={json.dumps(named)}"]
    assert dim.run("permutation", path, tmp_path / "out", *given) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error
