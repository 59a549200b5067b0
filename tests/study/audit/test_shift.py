"""The same content elsewhere: where there is room, and networks whose answer is known exactly."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.study import __main__ as command
from conceptseg.study.audit.shift import SIDE, _ends, _far, shifts
from tests.study.audit.test_swap import audited
from tests.study.test_bad_input import one_line


@pytest.mark.parametrize(("size", "step"), [(64, 8), (64, 1), (50, 7), (40, 4)])
def test_shifts_keep_the_region_within_the_image_and_reach_both_borders(size, step):
    rng = np.random.default_rng(size)
    for _ in range(50):
        low = int(rng.integers(0, size))
        high = int(rng.integers(low, size))
        able = [s for s in range(-size, size) if s % step == 0 and low + s >= 0 and high + s < size]
        found = shifts(low, high, size, step)
        if found == [0]:
            assert max(able, default=0) - min(able, default=0) < size / 4 or len(able) == 1
            continue
        assert set(found) <= set(able) and len(found) <= SIDE
        assert (found[0], found[-1]) == (min(able), max(able)) and found == sorted(set(found))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_half_that_is_away_from_a_border(count):
    for i in range(count):
        near = _ends(i, count)
        assert near == (i == 0, i == count - 1)
        away = [i / (count - 1), 1 - i / (count - 1)]
        assert _far(i, count) == tuple(bool(part >= 0.5) for part in away) or count == 3
    assert _far(0, 1) == (False, False) == _ends(0, 1)


def squares(folder, count=24):
    """A bright square of class "high" or "low" in the upper or lower half of a dark image."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(count):
        pixels, labels = rng.integers(0, 30, (32, 32)), np.zeros((32, 32), np.uint8)
        top = int(rng.integers(0, 6)) + (16 if i % 2 else 0)
        left = int(rng.integers(0, 24))
        pixels[top : top + 8, left : left + 8] = 250
        labels[top : top + 8, left : left + 8] = 2 if i % 2 else 1
        for name, array in (("images", pixels), ("masks", labels)):
            Image.fromarray(array.astype(np.uint8)).save(folder / name / f"s{i:02d}.png")
    path = folder / "set.yaml"
    content = {
        "name": "squares",
        "channels": 1,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": ["ground", "high", "low"], "background": "ground"},
    }
    path.write_text(yaml.safe_dump(content))
    return path


class Placed(nn.Module):
    """Bright pixels are "high" in the upper half of the image, and "low" in the lower one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 2, 1, bias=False)
        self.body.weight.data = torch.tensor([[[[1.0]]], [[[1.0]]]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = self.body(images) - 0.5
        rows = torch.arange(images.shape[2]).to(images) < images.shape[2] / 2
        side = torch.where(rows, 1.0, -1.0)[None, None, :, None].expand_as(bright[:, :1])
        ground = torch.zeros_like(side)
        return torch.cat([ground, bright[:, :1] + 0.1 * side, bright[:, 1:] - 0.1 * side], 1)


class Round(nn.Module):
    """Of random weights, and padded all around: no place is like another."""

    def __init__(self, mode: str = "circular") -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 8, 5, padding=2, padding_mode=mode)
        self.head = nn.Conv2d(8, 3, 3, padding=1, padding_mode=mode)
        for layer in (self.body, self.head):
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(3))
            nn.init.zeros_(layer.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(images)))


class Zeros(Round):
    def __init__(self) -> None:
        super().__init__("zeros")


def run(folder, name, **keys):
    model = {"source": "factory", "name": f"tests.study.audit.test_shift:{name}"}
    given = {"layer": "body", "known": False, "place": True, "margin": 3, "look_images": 6}
    return audited(folder, model, squares(folder), **{**given, "images": 12, **keys})


def test_a_network_that_goes_by_place_is_shown_to(tmp_path):
    result = run(tmp_path, "Placed")
    rows = {(row["class"], row["context"]): row for row in result.tables["verdicts"].rows}
    assert len(rows) == 8
    for (name, border), row in rows.items():
        sign = {"the upper border": 1, "the lower border": -1}.get(border, 0)
        sign = -sign if name == "low" else sign
        assert row["effect"] == pytest.approx(sign)
        # It has no padding that could be another, so that no other line shows it.
        assert row["verdict"] == "behaviour only" if sign else row["verdict"] != "confirmed"
    told = rows["high", "the upper border"]["sentence"]
    assert "its IoU is 1.00 at the upper border, 0.00 far from it" in told
    pairs = [row for row in result.tables["examples"].rows if "border" in row["context"]]
    assert len(pairs) == 8 and not result.tables["composites"].rows
    assert not result.tables["padding"].rows


def test_where_padding_goes_all_around_no_place_differs_exactly(tmp_path):
    for name in ("round", "zeros"):
        (tmp_path / name).mkdir()
    round_, zeros = (run(tmp_path / name.lower(), name) for name in ("Round", "Zeros"))
    assert all(row["effect"] == 0 for row in round_.tables["verdicts"].rows)
    assert not round_.tables["padding"].rows  # there is no border
    changed = [row for row in zeros.tables["padding"].rows if row["padding"] == "reflect"]
    assert changed[0]["changed"] > 0
    # It sees three pixels far: an eighth of the image from its border nothing changes.
    assert [row["changed"] for row in changed if row["near"] >= 1 / 8] == [0, 0]


def test_a_class_that_has_no_room_is_told(tmp_path, capsys):
    path = squares(tmp_path)
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(np.full((32, 32), 1, np.uint8)).save(file)
    words = [f"data.manifest={path}", "known=false", "place=true", "context_classes=[]"]
    words += ["model={source: factory, name: 'tests.study.audit.test_shift:Placed'}"]
    words += ["margin=3", "layer=body"]
    given = [word for one in words for word in ("--set", one)]
    code = command.main(["audit", "--out", str(tmp_path / "out"), "-q", *given])
    streams = capsys.readouterr()
    assert "room to move it to a border" in one_line(code, streams.out, streams.err)
