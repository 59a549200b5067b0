"""Names of nodes from WordNet and from a dissection, both held by hand."""

import sys
import types

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.report.unit_cards import COLUMNS
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.segnbdt.head import Head
from conceptseg.study.segnbdt.names import dissected_units, units_read, with_hypernyms, word_senses
from conceptseg.study.segnbdt.tree import Tree

TREE = Tree.of(((0, 1), (2, 3)))
CLASSES = ("car", "bus", "oak", "no such word")


class Sense:
    """A word below others: its lowest common hypernym with another is the last that both share."""

    def __init__(self, *way):
        self.way = way

    def name(self):
        return f"{self.way[-1]}.n.01"

    def lowest_common_hypernyms(self, other):
        shared = [a for a, b in zip(self.way, other.way, strict=False) if a == b]
        return [Sense(*shared)] if shared else []


def test_nodes_are_named_by_what_their_classes_share(monkeypatch):
    words = {
        "car": Sense("entity", "motor_vehicle", "car"),
        "bus": Sense("entity", "motor_vehicle", "bus"),
        "oak": Sense("entity", "plant", "oak"),
    }
    corpus = types.ModuleType("nltk.corpus")
    corpus.wordnet = types.SimpleNamespace(
        synsets=lambda word, pos: [words[word]] if word in words else []
    )
    monkeypatch.setitem(sys.modules, "nltk", types.ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.corpus", corpus)
    tree = with_hypernyms(TREE, word_senses(CLASSES))
    assert tree.branch_name(0, 0, CLASSES) == "motor vehicle"
    assert tree.nodes[0].name == "" and tree.branch_name(0, 1, CLASSES) == "oak, no such word"
    assert tree.nested() == TREE.nested()


def dissected(folder, labels, layer="body"):
    rows = [
        {**dict.fromkeys(COLUMNS), "unit": unit, "label": label, "detector": label is not None}
        for unit, label in enumerate(labels)
    ]
    provenance = {"weights": "a" * 64}
    tables = {"units": Table(rows)}
    Result("dissect", tables=tables, notes={"layer": layer}, provenance=provenance).save(folder)
    return folder


def test_units_are_named_by_the_weight_that_a_node_gives_them(tmp_path):
    weight = np.array([[5.0, 0, 1], [1, 0, 1], [0, 2, 1], [0, -4, 1]])
    head = Head("head", weight, 3, ("act", "body"))
    folder = dissected(tmp_path / "d", ("wheel", "leaf", None))
    found = units_read(TREE, head, dissected_units(head, folder, "a" * 64))
    # Root: unit 0 has 3 - 0, unit 1 has 0 - (-1). Node 2: unit 1 has 2 - (-4).
    assert found[0] == "+ unit 0 (wheel), + unit 1 (leaf)"
    assert found[2].startswith("+ unit 1 (leaf)")
    with pytest.raises(InputError, match="is of layer 'stem', and .* of act or body; dissect that"):
        dissected_units(head, dissected(tmp_path / "s", ("wheel",), "stem"))
    with pytest.raises(InputError, match="no unit of 'body' that detects"):
        dissected_units(head, dissected(tmp_path / "n", (None, None)))
    with pytest.raises(InputError, match="other weights"):
        dissected_units(head, folder, "b" * 64)
