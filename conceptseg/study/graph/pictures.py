"""Pass 4: images in which atoms respond most, and in which both ends of an edge do; and where."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import encode
from conceptseg.report.thumbnails import overlay
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.graph.assess import EDGES, Edge
from conceptseg.study.graph.atoms import ATOMS, CLASSES, HALVES
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.responses import atom_maps
from conceptseg.study.graph.screen import EFFECTS
from conceptseg.study.shared.packed import packed_by_name, together_by_name
from conceptseg.study.shared.sweep import One, Sweep

EXEMPLARS: Key[tuple[tuple[int, str], ...]] = Key("graph's exemplars", tuple)
"""Atoms, by their places, and images."""
WAYS: Key[tuple[tuple[Edge, str], ...]] = Key("graph's edges shown", tuple)
"""Edges, and images in which both of their ends respond."""
PICTURED = Key("graph pictured", SampleTable)
DRAWN: Key[dict[str, bytes]] = Key("graph drawn", dict)
"""Pictures by :func:`atom_key` and :func:`edge_key`."""
LIMIT = 2.5
"""Deviations at which the pictures' scale ends."""
MOST_EDGES = 60
"""Edges that have pictures, the largest."""
EDGE_IMAGES = 2


def atom_key(atom: int, sample: str) -> str:
    return f"atom-{atom}-{sample}"


def edge_key(one: Edge, sample: str) -> str:
    return f"edge-{one.source}-{one.target}-{one.class_id}-{sample}"


def choose_exemplars(study: Graph, context: Context, known: Known) -> Known:
    """The images in which each atom of a confirmed edge responds most somewhere, and those in which
    the weaker end of each edge does; of an edge to a class among the images that hold it."""
    ids, active = known[HALVES].sampling.ids, known[EFFECTS].column("active")
    edges = [one for one in known[EDGES] if one.confirmed]
    nodes = {p for one in edges for p in (one.source, one.target) if p is not None}
    atoms = tuple(
        (p, ids[i])
        for p in sorted(nodes)
        for i in np.argsort(-active[:, p], kind="stable")[: study.exemplars].tolist()
    )
    there, ways = known[EFFECTS].column("there"), list[tuple[Edge, str]]()
    for one in sorted(edges, key=lambda one: -one.size.value)[:MOST_EDGES]:
        both = active[:, one.source].astype(np.float64)
        if one.target is not None:
            both = np.minimum(both, active[:, one.target])
        both = np.where(there[:, known[CLASSES].index(one.class_id)], both, -np.inf)
        best = np.argsort(-both, kind="stable")[: min(EDGE_IMAGES, study.exemplars)]
        ways += [(one, ids[i]) for i in best.tolist() if np.isfinite(both[i])]
    return EXEMPLARS(atoms) | WAYS(tuple(ways))


@dataclass(frozen=True)
class Pictures(Sweep):
    """Each chosen atom's response over each of its images, and those of both ends of edges."""

    study: Graph

    name = "pictures"
    cost = "1 forward per image that is shown, of each layer up to it"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {name for _, name in known[EXEMPLARS]} | {name for _, name in known[WAYS]}

    def forwards(self, context: Context) -> float:
        return float(min(len(context.manifest.samples), 32 * self.study.exemplars))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        atoms = known[ATOMS]
        shown = [p for p, name in known[EXEMPLARS] if name == one.id]
        edges = [edge for edge, name in known[WAYS] if name == one.id]
        needed = {*shown, *(p for e in edges for p in (e.source, e.target) if p is not None)}
        image, maps = one.image[0].float().cpu().numpy(), dict[int, np.ndarray]()
        for layer in sorted({atoms.atoms[p].layer for p in needed}):
            activation = encode(context.model, one.image, atoms.layers[layer])
            own = atom_maps(activation.float(), atoms, layer)
            large = functional.interpolate(own, one.size, mode="bilinear", align_corners=False)[0]
            maps |= dict(zip(atoms.at(layer), large.cpu().numpy(), strict=True))
        side, regions = self.study.picture_px, self._regions(context, one, edges)
        drawn = [
            (atom_key(p, one.id), overlay(image, maps[p], -LIMIT, LIMIT, side=side)) for p in shown
        ]
        for edge in edges:
            drawn.append((edge_key(edge, one.id), _ends(image, maps, edge, regions, side)))
        return packed_by_name(drawn)

    def _regions(self, context: Context, one: One, edges: Sequence[Edge]) -> np.ndarray | None:
        """The prediction, if an edge leads straight to a class."""
        if all(edge.target is not None for edge in edges):
            return None
        with torch.no_grad():
            return np.asarray(label_map(context.model(one.image))[0].cpu().numpy())

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together_by_name(table))


def _ends(
    image: np.ndarray,
    maps: dict[int, np.ndarray],
    edge: Edge,
    regions: np.ndarray | None,
    side: int,
) -> bytes:
    """Where the first atom responds, and beside it where the second one does; of an edge to a class
    the first atom alone, the class outlined."""
    if edge.target is None:
        assert regions is not None
        mask = regions == edge.class_id
        return overlay(image, maps[edge.source], -LIMIT, LIMIT, mask=mask, side=side)
    both = np.concatenate([maps[edge.source], maps[edge.target]], 1)
    return overlay(np.concatenate([image, image], 2), both, -LIMIT, LIMIT, side=2 * side)
