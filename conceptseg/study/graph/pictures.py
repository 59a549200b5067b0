"""Pass 4: of each atom the images in which it responds most, and where."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from torch.nn import functional

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import encode
from conceptseg.report.thumbnails import overlay
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.graph.assess import EDGES
from conceptseg.study.graph.atoms import ATOMS, HALVES
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.screen import EFFECTS, atom_maps
from conceptseg.study.shared.packed import packed, unpacked
from conceptseg.study.shared.sweep import One, Sweep

EXEMPLARS: Key[tuple[tuple[int, str], ...]] = Key("graph's exemplars", tuple)
"""Atoms, by their places, and images."""
PICTURED = Key("graph pictured", SampleTable)
DRAWN: Key[dict[tuple[int, str], bytes]] = Key("graph drawn", dict)
LIMIT = 2.5
"""Deviations at which the pictures' scale ends."""


def choose_exemplars(study: Graph, context: Context, known: Known) -> Known:
    """The images in which each atom responds most somewhere; of atoms on a confirmed edge."""
    ids, active = known[HALVES].sampling.ids, known[EFFECTS].column("active")
    nodes = {p for one in known[EDGES] if one.confirmed for p in (one.source, one.target)}
    found = [
        (p, ids[i])
        for p in sorted(one for one in nodes if one is not None)
        for i in np.argsort(-active[:, p], kind="stable")[: study.exemplars].tolist()
    ]
    return EXEMPLARS(tuple(found))


@dataclass(frozen=True)
class Pictures(Sweep):
    """Each chosen atom's response over each of its images."""

    study: Graph

    name = "pictures"
    cost = "1 forward per image that is shown, of each layer up to it"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {name for _, name in known[EXEMPLARS]}

    def forwards(self, context: Context) -> float:
        return float(min(len(context.manifest.samples), 32 * self.study.exemplars))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        atoms = known[ATOMS]
        shown = [p for p, name in known[EXEMPLARS] if name == one.id]
        image, maps = one.image[0].float().cpu().numpy(), dict[int, np.ndarray]()
        for layer in sorted({atoms.atoms[p].layer for p in shown}):
            activation = encode(context.model, one.image, atoms.layers[layer])
            own = atom_maps(activation.float(), atoms, layer)
            large = functional.interpolate(own, one.size, mode="bilinear", align_corners=False)[0]
            maps |= dict(zip(atoms.at(layer), large.cpu().numpy(), strict=True))
        side = self.study.picture_px
        return packed((p, overlay(image, maps[p], -LIMIT, LIMIT, side=side)) for p in shown)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(
            {
                (p, name): data
                for name, own in sorted(table.tables.items())
                for p, data in unpacked(own)
            }
        )
