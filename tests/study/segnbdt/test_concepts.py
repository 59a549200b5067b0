"""Concepts that the user has drawn, among the parts that decisions are tested against."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.study import __main__ as command
from conceptseg.study.segnbdt.columns import given_first
from conceptseg.study.segnbdt.removal import part_name
from tests.study.segnbdt.test_study import PATCH, PatchNet, rows, write

CORNERS = {"badge": (slice(0, PATCH), slice(0, PATCH)), "empty": (slice(-PATCH, None),) * 2}


class Badge(PatchNet):
    """Roads win, and pavements lose, as the upper left corner is red."""

    def __init__(self):
        super().__init__()
        own, self.head = self.head, nn.Conv2d(4, 6, 1)
        lean = torch.tensor([6.0, -6.0, 0.0, 0.0, 0.0, 0.0])[:, None, None, None]
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([own.weight, lean], 1))
            self.head.bias.copy_(own.bias)

    def forward(self, images):
        corner = images[:, :1, :PATCH, :PATCH].mean((2, 3), keepdim=True)
        return self.head(torch.cat([self.body(images), corner.expand_as(images[:, :1])], 1))


def test_parts_are_named_and_ordered():
    names = [part_name(p, ("road", "tree"), ("badge", "letters")) for p in (1, -1, -2, -3)]
    assert names == ["tree", "known context", "concept: badge", "concept: letters"]
    assert sorted(names, key=given_first)[0] == "known context" and given_first("tree") == 2


def run(folder, network, masks=tuple(CORNERS), images=24):
    study = write(folder / "files", images=images, evidence_images=images)
    for name, corner in CORNERS.items():
        (folder / "files" / name).mkdir()
        for number in range(images):
            where = np.zeros((24, 24), np.uint8)
            where[corner] = 255
            Image.fromarray(where).save(folder / f"files/{name}/s{number:02d}.png")
    content = yaml.safe_load(study.read_text())
    content["model"]["name"] = network
    content["masks"] = {name: f"{name}/{{id}}.png" for name in masks}
    study.write_text(yaml.safe_dump(content))
    out = folder / "out"
    code = command.main(["segnbdt", "-c", str(study), "--out", str(out), "-q"])
    return code, out


def test_a_concept_that_a_node_depends_on_is_a_finding_and_no_other(tmp_path):
    code, out = run(tmp_path, "tests.study.segnbdt.test_concepts:Badge")
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    told = [f for f in result["findings"] if f["details"].get("part", "").startswith("concept: ")]
    assert told and {f["details"]["part"] for f in told} == {"concept: badge"}
    assert all("changes with the concept badge" in f["claim"] for f in told)
    parts = {(r["branch"], r["part"]): r for r in rows(result, "parts")}
    # The margin of roads over pavements changes by twice 6 (fill - red of the corner).
    pair = parts["road", "concept: badge"], parts["pavement", "concept: badge"]
    assert pair[0]["effect"] == pytest.approx(-pair[1]["effect"], abs=3)
    assert pair[0]["size"] > 4 * max(pair[0]["elsewhere"], 0.1)
    assert abs(parts["road", "concept: empty"]["effect"]) < 0.2
    assert "concept that you have drawn" in (out / "report.html").read_text()


def test_a_network_that_reads_single_pixels_depends_on_none(tmp_path):
    code, out = run(tmp_path, "tests.study.segnbdt.test_study:PatchNet")
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    assert not [f for f in result["findings"] if "part" in f["details"]]
    changes = [r["size"] for r in rows(result, "parts") if r["part"].startswith("concept: ")]
    assert changes and np.nanmax(np.array(changes, float)) < 1e-3


def test_a_mask_that_no_image_has_is_refused_at_once(tmp_path, capsys):
    code, _ = run(tmp_path, "tests.study.segnbdt.test_study:PatchNet", masks=("letters",))
    assert code == 2 and "masks.letters: no image has a file" in capsys.readouterr().err
