"""Everything that the study refuses before its first step, given to run and to check."""

import re

import pytest
import yaml

from conceptseg.engine.store import FOLDER
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study import __main__ as command
from tests.study.refusals import refused_alike
from tests.study.segnbdt.test_study import write
from tests.study.test_bad_input import edit, one_line

ONE_GROUP, TWO_GROUPS = {"group": "(s)"}, {"group": "(s0?0?)"}
NO_MASKS = {"folders": [{"images": "images/{id}.png"}]}
TREE = [["road", "pavement"], ["tree", "grass"], "sky"]
TWO_HEADS = {"source": "factory", "name": "tests.study.segnbdt.test_refusals:TwoHeads"}

REFUSALS = [
    ({"hierarchy": "given"}, {}, "hierarchy: given and tree: go together"),
    ({"tree": TREE}, {}, "hierarchy: given and tree: go together"),
    ({"hierarchy": "given", "tree": TREE}, {}, "tree: class 'water' comes not at all"),
    ({"hierarchy": "given", "tree": ["rode"]}, {}, "tree: 'rode' is no class"),
    ({"tune": "head"}, NO_MASKS, "tune: head needs labels"),
    ({"tune": "head"}, TWO_GROUPS, "tune: head needs labelled images of at least three groups"),
    ({"hierarchy": "confusion"}, ONE_GROUP, "the 4 images come from 1 group"),
    ({"head": "nosuch"}, {}, "head: 'nosuch' is no convolution or linear layer of 6 outputs"),
    ({"model": TWO_HEADS, "layer": "main"}, {}, "hierarchy: no layer of .* puts out its logits"),
    ({"model": TWO_HEADS, "layer": "main", "hierarchy": "confusion", "dissection": "d"}, {},
     "dissection: names of units need a network with a linear last layer"),
    ({"names": "wordnet"}, {}, "names: wordnet needs the package nltk"),
    ({"dissection": "nowhere"}, {}, "nowhere"),
    ({"dissection": "stem"}, {}, "dissection: .*/files/stem is of layer 'stem'.* dissect that"),
    ({"dissection": "none"}, {}, "dissection: .*/files/none has no unit of 'body' that detects"),
    ({"evidence": [{"kind": "grad_pam", "layer": "nosuch"}]}, {}, "nosuch"),
    ({"evidence": ["activations_x_predictions"]}, {}, "explains classes alone"),
]  # fmt: skip


def TwoHeads():
    """Two layers that are added: neither puts out the logits."""
    from torch import nn

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.side = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)

        def forward(self, images):
            return self.main(images) + self.side(images)

    return Sum()


def dissected(folder, layer):
    """A dissection in which no unit detects anything."""
    from conceptseg.report.unit_cards import COLUMNS

    units = Table([{**dict.fromkeys(COLUMNS), "unit": 0, "detector": False}])
    Result("dissect", tables={"units": units}, notes={"layer": layer}).save(folder)


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, monkeypatch, keys, data, words):
    monkeypatch.setitem(__import__("sys").modules, "nltk", None)
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "files", 4)
    dissected(tmp_path / "files/stem", "stem")
    dissected(tmp_path / "files/none", "body")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | keys))
    if data:
        edit(file, **data)
    lines = []
    for verb in (["segnbdt", "--out", "out"], ["check", "--study", "segnbdt"]):
        code = command.main([*verb, "--config", str(file)])
        streams = capsys.readouterr()
        lines.append(one_line(code, streams.out, streams.err))
    assert re.search(words, lines[0])
    assert lines[0] == lines[1]
    assert not list(tmp_path.rglob(FOLDER)), "a pass was begun"


def test_check_and_run_refuse_three_classes_alike(capsys, tmp_path):
    line = refused_alike(capsys, tmp_path, "segnbdt", {})
    assert "tells 3 classes apart" in line
