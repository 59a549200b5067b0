"""Names of nodes beyond their classes: WordNet's words, and what a dissection found."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.report.unit_cards import load_units
from conceptseg.study.segnbdt.head import Head
from conceptseg.study.segnbdt.tree import Node, Tree

if TYPE_CHECKING:
    from conceptseg.study.segnbdt.config import Segnbdt

UNITS_NAMED = 4


def named(
    study: Segnbdt, context: Context, tree: Tree, head: Head | None
) -> tuple[Tree, dict[int, str]]:
    """The tree with names where they were asked for, and what units each node reads, by node."""
    if study.names == "wordnet":
        tree = with_wordnet(tree, context.model.classes)
    if study.dissection is None:
        return tree, {}
    if head is None:
        raise InputError("dissection: names of units need a network with a linear last layer")
    return tree, from_dissection(tree, head, Path(study.dissection), context.model.fingerprint())


def with_wordnet(tree: Tree, classes: tuple[str, ...]) -> Tree:
    """Inner nodes named by the lowest hypernym that the first senses of all their classes share."""
    try:
        wordnet = import_module("nltk.corpus").wordnet
        senses = [_first_noun(wordnet, name) for name in classes]
    except (ImportError, LookupError) as error:
        raise InputError(
            "names: wordnet needs the package nltk and its corpus (pip install nltk, then "
            f"python -m nltk.downloader wordnet): {str(error).strip().splitlines()[0]}"
        ) from None
    names = {}
    for node in tree.nodes:
        shared = senses[node.leaves[0]]
        for leaf in node.leaves[1:]:
            other = senses[leaf]
            found = shared.lowest_common_hypernyms(other) if shared and other else []
            shared = found[0] if found else None
        if shared is not None:
            names[frozenset(node.leaves)] = shared.name().split(".")[0].replace("_", " ")
    return Tree.of(tree.nested(), names)


def _first_noun(wordnet: Any, name: str) -> Any:
    found = wordnet.synsets(name.strip().replace(" ", "_"), pos="n")
    return found[0] if found else None


def from_dissection(
    tree: Tree, head: Head, folder: Path, weights: str | None = None
) -> dict[int, str]:
    """Per node, the concepts of the units of largest weight in its margin, in words.

    A node's margin reads unit d with the weight of its first branch minus the mean of the others.
    Raises InputError unless the folder holds a dissection, of the network with these `weights`,
    of a layer whose output enters the head.
    """
    from conceptseg.result.saved import Result

    result = Result.load(folder)
    layer = str(result.notes.get("layer", ""))
    if layer not in head.feeds:
        wanted = " or ".join(head.feeds) or "none of the network's layers alone"
        raise InputError(
            f"dissection: {folder} is of layer {layer!r}, and what enters {head.name!r} is the "
            f"output of {wanted}; dissect that layer"
        )
    concepts = {
        unit: known.label
        for unit, known in load_units(folder, layer, weights).items()
        if known.label
    }
    if not concepts:
        raise InputError(f"dissection: {folder} found no unit of {layer!r} that detects a concept")
    weight = head.weight.reshape(len(head.weight), head.inputs, -1).mean(2)
    found = {}
    for node in tree.nodes:
        reads = margin_rows(tree, node)[0] @ weight
        strongest = [u for u in np.argsort(-np.abs(reads)).tolist() if u in concepts]
        parts = [
            f"{'+' if reads[u] > 0 else '−'} unit {u} ({concepts[u]})"
            for u in strongest[:UNITS_NAMED]
        ]
        found[node.number] = ", ".join(parts)
    return found


def margin_rows(tree: Tree, node: Node) -> np.ndarray:
    """[b, k]: per branch, the weights of the logits in its score minus the mean of the others'."""
    rows = tree.averaging[node.edge : node.edge + len(node.branches)]
    others = (rows.sum(0, keepdims=True) - rows) / (len(rows) - 1)
    found: np.ndarray = rows - others
    return found
