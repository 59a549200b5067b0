"""A decision tree whose leaves are classes: its nodes, its paths, and where two paths part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from conceptseg.errors import InputError, nearest

Nested = int | tuple["Nested", ...]
"""A class, or the branches of a node."""
SHORT = 3


@dataclass(frozen=True)
class Node:
    """An inner node: `branches` are the classes below each child, in the children's order.

    `children` are numbers of inner nodes, or -1 for a child that is a class. `edge` is the number
    of its first branch when all branches of all nodes are counted in turn.
    """

    number: int
    depth: int
    branches: tuple[tuple[int, ...], ...]
    children: tuple[int, ...]
    edge: int
    name: str = ""

    @property
    def leaves(self) -> tuple[int, ...]:
        return tuple(sorted(leaf for branch in self.branches for leaf in branch))


@dataclass(frozen=True)
class Tree:
    """Inner nodes, the root first, every parent before its children; every class is one leaf.

    The root has depth 0. A node with a single branch decides nothing and is left out.
    """

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, nested: Nested, names: Mapping[frozenset[int], str] | None = None) -> Tree:
        """The tree of nested tuples of class numbers; `names` of nodes by the classes below."""
        names = names or {}
        nodes: list[Node] = []
        edges = 0

        def grow(part: Nested, depth: int) -> int:
            nonlocal edges
            while not isinstance(part, int) and len(part) == 1:
                part = part[0]
            if isinstance(part, int):
                return -1
            branches = tuple(tuple(sorted(leaves_of(child))) for child in part)
            number, below = len(nodes), frozenset(leaves_of(part))
            nodes.append(Node(number, depth, branches, (), edges, names.get(below, "")))
            edges += len(branches)
            children = tuple(grow(child, depth + 1) for child in part)
            nodes[number] = replace(nodes[number], children=children)
            return number

        grow(nested, 0)
        leaves = sorted(leaves_of(nested))
        if leaves != list(range(len(leaves))) or not nodes:
            raise ValueError(f"a tree holds each class 0..k-1 once, got {leaves}")
        return cls(tuple(nodes))

    @property
    def classes(self) -> int:
        return len(self.nodes[0].leaves)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(node, branch) of every edge in turn."""
        return tuple((n.number, b) for n in self.nodes for b in range(len(n.branches)))

    @cached_property
    def averaging(self) -> np.ndarray:
        """[e, k]: an edge's score is the mean of the logits of the classes below it."""
        rows = np.zeros((len(self.edges), self.classes))
        for row, (node, branch) in zip(rows, self.edges, strict=True):
            leaves = list(self.nodes[node].branches[branch])
            row[leaves] = 1 / len(leaves)
        return rows

    @cached_property
    def paths(self) -> np.ndarray:
        """[k, e]: 1 where an edge lies on the way from the root to a class."""
        return (self.averaging > 0).astype(np.float64).T

    @cached_property
    def branch_of(self) -> np.ndarray:
        """[n, k]: by which branch of a node a class is reached, -1 where it is not below it."""
        branches = np.full((len(self.nodes), self.classes), -1, dtype=np.int64)
        for node in self.nodes:
            for branch, leaves in enumerate(node.branches):
                branches[node.number, list(leaves)] = branch
        return branches

    @cached_property
    def meeting(self) -> np.ndarray:
        """[k, k]: the lowest node above both classes, where their paths part; -1 on the diagonal.

        A descent that ends in class b for a pixel of class a went wrong first at `meeting[a, b]`.
        """
        parting = np.full((self.classes, self.classes), -1, dtype=np.int64)
        for node in self.nodes:  # deeper nodes come later and overwrite
            below = list(node.leaves)
            parting[np.ix_(below, below)] = node.number
        np.fill_diagonal(parting, -1)
        return parting

    @cached_property
    def cophenetic(self) -> np.ndarray:
        """Number of classes below the node where two classes part, for each pair, [k (k-1) / 2]."""
        sizes = np.array([len(node.leaves) for node in self.nodes])
        return sizes[self.meeting[np.triu_indices(self.classes, 1)]].astype(np.float64)

    @property
    def groups(self) -> frozenset[frozenset[int]]:
        """The classes below each node, as sets."""
        return frozenset(frozenset(node.leaves) for node in self.nodes)

    @property
    def depths(self) -> np.ndarray:
        """Decisions on the way to each class, [k]."""
        return self.paths.sum(1).astype(np.int64)

    def path(self, leaf: int) -> Iterator[tuple[Node, int]]:
        """Each node on the way to a class, and the branch taken there."""
        for node in self.nodes:
            branch = int(self.branch_of[node.number, leaf])
            if branch >= 0:
                yield node, branch

    def nested(self, number: int = 0) -> Nested:
        """The tree as nested tuples again."""
        node = self.nodes[number]
        return tuple(
            self.nested(child) if child >= 0 else branch[0]
            for child, branch in zip(node.children, node.branches, strict=True)
        )

    def branch_name(self, number: int, branch: int, classes: Sequence[str]) -> str:
        """What a child is called: its own name, its class, or the classes below it."""
        node = self.nodes[number]
        child = node.children[branch]
        named = self.nodes[child].name if child >= 0 else ""
        return named or listed([classes[leaf] for leaf in node.branches[branch]])

    def node_name(self, number: int, classes: Sequence[str]) -> str:
        """The question a node asks: its children's names."""
        count = len(self.nodes[number].branches)
        parts = [self.branch_name(number, b, classes) for b in range(min(count, SHORT))]
        parts += [f"{count - SHORT} more"] if count > SHORT else []
        named = self.nodes[number].name
        return (f"{named}: " if named else "") + " | ".join(parts)


def listed(names: Sequence[str]) -> str:
    """A few names in full, of more the first and how many follow."""
    if len(names) <= SHORT:
        return ", ".join(names)
    return f"{', '.join(names[: SHORT - 1])} and {len(names) - SHORT + 1} more"


def leaves_of(part: Nested) -> list[int]:
    return [part] if isinstance(part, int) else [leaf for one in part for leaf in leaves_of(one)]


def star(classes: int) -> Tree:
    """One node whose children are the classes: softmax."""
    return Tree.of(tuple(range(classes)))


def random_tree(classes: int, rng: np.random.Generator) -> Tree:
    """A binary tree made by joining two parts, drawn at random, until one is left."""
    parts: list[Nested] = list(range(classes))
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False).tolist())
        parts.append((parts[i], parts.pop(j)))
        parts.pop(i)
    return Tree.of(parts[0])


def given_tree(given: Any, classes: Sequence[str]) -> Tree:
    """A user's tree: nested lists of class names, or mappings from a node's name to its children.

    `{vehicles: [car, bus], rest: {ground: [road, pavement], [..]}}`. Raises InputError for a name
    that is no class, and for a class that is missing or comes twice.
    """
    names: dict[frozenset[int], str] = {}

    def grow(part: Any) -> Nested:
        if isinstance(part, Mapping):
            children = []
            for name, below in part.items():
                child = grow(below)
                names[frozenset(leaves_of(child))] = str(name)
                children.append(child)
            return tuple(children)
        if isinstance(part, (list, tuple)):
            return tuple(grow(child) for child in part)
        if part not in classes:
            raise InputError(f"tree: {part!r} is no class; {nearest(str(part), classes)}")
        return list(classes).index(part)

    nested = grow(given)
    leaves = leaves_of(nested)
    for number, name in enumerate(classes):
        if leaves.count(number) != 1:
            how = "twice" if number in leaves else "not at all"
            raise InputError(f"tree: class {name!r} comes {how}; each class is one leaf")
    return Tree.of(nested, {key: name for key, name in names.items() if len(key) > 1})
