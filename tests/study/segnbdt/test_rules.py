"""Soft and hard decisions against loops, softmax, and the authors' package."""

import json
import sys
import types

import numpy as np
import pytest
import torch

from conceptseg.study.segnbdt.rules import Rules, entropy
from conceptseg.study.segnbdt.tree import star
from tests.study.segnbdt.nets import by_loops, trees


def logits(classes=9, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, classes, 5, 4, generator=generator, dtype=dtype)


@pytest.mark.parametrize("tree", trees())
def test_rules_equal_their_definition_pixel_by_pixel(tree):
    z = logits()
    soft, hard = Rules(tree, z).both(z)
    for i, y, x in np.ndindex(2, 5, 4):
        probabilities, leaf = by_loops(tree.nested(), z[i, :, y, x].numpy())
        assert soft[i, :, y, x].exp().numpy() == pytest.approx(probabilities, abs=1e-12)
        assert int(hard[i, y, x]) == leaf


@pytest.mark.parametrize("tree", trees())
def test_probabilities_sum_to_one_and_calls_agree(tree):
    z = logits(dtype=torch.float32) * 30
    rules = Rules(tree, z)
    soft, hard = rules.both(z)
    assert soft.exp().sum(1).numpy() == pytest.approx(1, abs=1e-5)
    assert torch.equal(soft, rules.soft(z)) and torch.equal(hard, rules.hard(z))
    edges = rules.log_edges(rules.scores(z))
    assert edges.shape == (2, len(tree.edges), 20)
    for node in tree.nodes:
        span = slice(node.edge, node.edge + len(node.branches))
        assert edges[:, span].exp().sum(1).numpy() == pytest.approx(1, abs=1e-6)


def test_a_star_is_softmax():
    z = logits()
    soft, hard = Rules(star(9), z).both(z)
    assert (soft - z.log_softmax(1)).abs().max() < 1e-12
    assert torch.equal(hard, z.argmax(1))


@pytest.mark.parametrize("tree", trees())
def test_choices_lead_to_the_hard_leaf(tree):
    z = logits(seed=4)
    rules = Rules(tree, z)
    chosen = rules.choices(rules.scores(z)).view(2, len(tree.nodes), 5, 4)
    hard = rules.hard(z)
    for i, y, x in np.ndindex(2, 5, 4):
        for node, branch in tree.path(int(hard[i, y, x])):
            assert chosen[i, node.number, y, x] == branch


def test_equal_scores_take_the_first_branch():
    z = torch.zeros(1, 9, 2, 2)
    assert [int(Rules(tree, z).hard(z)[0, 0, 0]) for tree in trees()] == [
        by_loops(tree.nested(), np.zeros(9))[1] for tree in trees()
    ]


def test_entropy_of_a_node():
    z = torch.zeros(1, 9, 1, 1, dtype=torch.float64)
    tree = star(9)
    rules = Rules(tree, z)
    found = entropy(rules.log_edges(rules.scores(z)), tree)
    assert float(found[0, 0, 0]) == pytest.approx(np.log(9))


@pytest.fixture
def nbdt(monkeypatch):
    """The authors' package; what its rules do not need (WordNet, classifiers) may be missing."""
    pytest.importorskip("nbdt")

    def stub(name, **content):
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    def nothing(*words):
        raise LookupError("no WordNet")

    wordnet = types.SimpleNamespace(synset_from_pos_and_offset=nothing)
    data = types.SimpleNamespace(find=lambda name: name)
    stub("nltk", corpus=stub("nltk.corpus", wordnet=wordnet), data=data)
    stub("nbdt.models", get_model_choices=list)
    return pytest.importorskip("nbdt.analysis", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_authors_package_decides_alike(nbdt, tmp_path, number):
    tree = trees()[number]
    names = [f"f{leaf:08d}" for leaf in range(9)]
    inner = [f"g{node.number:08d}" for node in tree.nodes]
    links = [
        {"source": inner[node.number], "target": inner[child] if child >= 0 else names[leaves[0]]}
        for node in tree.nodes
        for child, leaves in zip(node.children, node.branches, strict=True)
    ]
    nodes = [{"id": name, "label": name} for name in (*inner, *names)]
    graph = {"directed": True, "multigraph": False, "graph": {}, "nodes": nodes}
    (tmp_path / "graph.json").write_text(json.dumps(graph | {"links": links, "edges": links}))
    (tmp_path / "wnids.txt").write_text("\n".join(names))
    arguments = ("held", str(tmp_path / "graph.json"), str(tmp_path / "wnids.txt"), names)
    z = logits(seed=number)
    flat = z.movedim(1, -1).flatten(0, 2)
    soft, hard = Rules(tree, z).both(z)
    theirs = nbdt.SoftEmbeddedDecisionRules(*arguments).forward(flat.clone())
    mine = soft.exp().movedim(1, -1).flatten(0, 2)
    assert mine.numpy() == pytest.approx(theirs.numpy(), abs=1e-6)  # theirs is float32
    ends = nbdt.HardEmbeddedDecisionRules(*arguments).forward(flat.clone()).argmax(1)
    assert torch.equal(ends, hard.flatten())
