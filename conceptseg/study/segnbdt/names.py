"""Names of nodes beyond their classes: WordNet's words, and what its units detect."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.report.unit_cards import load_units
from conceptseg.result.saved import Result
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.head import LAST, Head
from conceptseg.study.segnbdt.tree import Node, Tree

UNITS_NAMED = 4


SENSES: Key[tuple[Any, ...]] = Key("senses", tuple)
"""WordNet's senses of the classes, where nodes are to be named by them."""
UNITS: Key[dict[int, str]] = Key("units", dict)
"""The concepts that units of what enters the head detect, where a dissection is given."""


def load_names(study: Segnbdt, context: Context, known: Known) -> Known:
    """What the configuration asks names to come from; InputError where it cannot be had."""
    names = Known()
    if study.names == "wordnet":
        names |= SENSES(word_senses(context.model.classes))
    if study.dissection is not None:
        if LAST not in known:
            raise InputError("dissection: names of units need a network with a linear last layer")
        folder, weights = Path(study.dissection), context.model.fingerprint()
        names |= UNITS(dissected_units(known[LAST], folder, weights))
    return names


def word_senses(classes: tuple[str, ...]) -> tuple[Any, ...]:
    """WordNet's first noun sense of each class, None for a class that it does not know."""
    try:
        wordnet = import_module("nltk.corpus").wordnet
        nouns = [wordnet.synsets(name.strip().replace(" ", "_"), pos="n") for name in classes]
    except (ImportError, LookupError) as error:
        raise InputError(
            "names: wordnet needs the package nltk and its corpus (pip install nltk, then "
            f"python -m nltk.downloader wordnet): {str(error).strip().splitlines()[0]}"
        ) from None
    return tuple(senses[0] if senses else None for senses in nouns)


def dissected_units(head: Head, folder: Path, weights: str | None = None) -> dict[int, str]:
    """The concepts of the units that detect one, by a dissection of what enters the head.

    Raises InputError unless the folder holds a dissection, of the network with these `weights`,
    of a layer whose output enters the head.
    """
    layer = str(Result.load(folder).notes.get("layer", ""))
    if layer not in head.feeds:
        wanted = " or ".join(head.feeds) or "none of the network's layers alone"
        raise InputError(
            f"dissection: {folder} is of layer {layer!r}, and what enters {head.name!r} is the "
            f"output of {wanted}; dissect that layer"
        )
    units = load_units(folder, layer, weights).items()
    concepts = {unit: known.label for unit, known in units if known.label}
    if not concepts:
        raise InputError(f"dissection: {folder} has no unit of {layer!r} that detects a concept")
    return concepts


def with_hypernyms(tree: Tree, senses: tuple[Any, ...]) -> Tree:
    """Inner nodes named by the lowest hypernym that the senses [k] of all their classes share."""
    names = {}
    for node in tree.nodes:
        shared = senses[node.leaves[0]]
        for leaf in node.leaves[1:]:
            other = senses[leaf]
            common = shared.lowest_common_hypernyms(other) if shared and other else []
            shared = common[0] if common else None
        if shared is not None:
            names[frozenset(node.leaves)] = shared.name().split(".")[0].replace("_", " ")
    return Tree.of(tree.nested(), names)


def units_read(tree: Tree, head: Head, concepts: dict[int, str]) -> dict[int, str]:
    """Per node, the concepts of the units of largest weight in its margin, in words.

    A node's margin reads unit d with the weight of its first branch minus the mean of the others.
    """
    weight = head.weight.reshape(len(head.weight), head.inputs, -1).mean(2)
    texts = {}
    for node in tree.nodes:
        reads = margin_rows(tree, node)[0] @ weight
        strongest = [u for u in np.argsort(-np.abs(reads)).tolist() if u in concepts]
        texts[node.number] = ", ".join(
            f"{'+' if reads[u] > 0 else '−'} unit {u} ({concepts[u]})"
            for u in strongest[:UNITS_NAMED]
        )
    return texts


def margin_rows(tree: Tree, node: Node) -> np.ndarray:
    """[b, k]: per branch, the weights of the logits in its score minus the mean of the others'."""
    rows = tree.averaging[node.edge : node.edge + len(node.branches)]
    others = (rows.sum(0, keepdims=True) - rows) / (len(rows) - 1)
    return np.asarray(rows - others)
