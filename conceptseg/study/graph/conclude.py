"""The result of a graph study: findings in words, tables, arrays and pictures."""

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.graph.assess import EDGES, NODES, Edge
from conceptseg.study.graph.atoms import ATOMS, CLASSES, HALVES, Atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.naming import NAMES, called
from conceptseg.study.graph.pictures import DRAWN, EXEMPLARS, WAYS, atom_key, edge_key
from conceptseg.study.graph.screen import EFFECTS
from conceptseg.study.graph.verify import CHOSEN_WAYS
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

SIZE = Column("size", "log-odds by which it moves the class", interval=True, brief="size")
MOVED = Column("moved", "log-odds moved without the atom", interval=True, brief="moved")
FIRST = Column("first", "first estimate, by gradients")
OUT = Column("out", "by ablation")
TOLD = 3
"""Edges of each class and kind that findings tell; all are in the table."""


def conclude(study: Graph, context: Context, known: Known) -> Result:
    atoms, edges, comparison = known[ATOMS], known[EDGES], known[COMPARISON]
    halves, classes, drawn = known[HALVES], context.model.classes, known[DRAWN]
    sampling, chosen = halves.sampling, known[CHOSEN_WAYS]
    return Result(
        study="graph",
        findings=ranked(findings(edges, atoms, called(known), classes)),
        tables={
            "edges": edge_table(known, classes),
            "atoms": atom_table(known, classes),
            "nodes": node_table(known, classes),
            "halves": Table(
                [
                    {"class": classes[c], "ways": int(chosen.asked[:, k].sum()), "agree": float(a)}
                    for k, (c, a) in enumerate(zip(known[CLASSES], chosen.agree, strict=True))
                ],
                labels={"ways": "ways carried out", "agree": "agreement of the halves (Jaccard)"},
                caption="What the two halves of the images choose",
            ),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "layer": np.array([one.layer for one in atoms.atoms], np.int32),
            "units": np.concatenate([np.array(one.units, np.int32) for one in atoms.atoms]),
            "sizes": np.array([len(one.units) for one in atoms.atoms], np.int32),
            "active": known[EFFECTS].column("active").astype(np.float32),
        },
        images={safe_key(key): data for key, data in drawn.items()}
        | local_maps.pictures(comparison),
        skipped=studied.left_out(context, sampling.ids, "not among those kept (images, min_share)"),
        notes=studied.notes(
            context,
            sampling.ids,
            sampling.groups,
            sampling.of.removesuffix("s"),
            comparison,
            layer=None,
            layers=list(atoms.layers),
            classes=[classes[c] for c in known[CLASSES]],
            atoms=len(atoms.atoms),
            tested=len(edges),
            confirmed=sum(one.confirmed for one in edges),
            testable=sum(one.test.testable for one in edges),
            needs=max((one.test.needs for one in edges if not one.test.testable), default=""),
            specific=sum(bool(one.specific) for one in edges),
            asked_specific=sum(one.specific is not None for one in edges),
            screening=int(halves.first.sum()),
            **study.model_dump(include={"random_groups", "smallest_effect", "alone"}),
        ),
    )


AGAINST_RANDOM = {
    True: ", more than random groups of as many units carry",
    False: "; random groups of as many units were not shown to carry less",
    None: "",
}
"""What an edge's sentence says by `Edge.specific`: nothing where no groups were compared."""
HOW = {1: "speaks for", -1: "speaks against", 0: "decides for or against"}


def way(signed: float, size: float) -> int:
    """1 or -1 where most of an edge's size has that sign, else 0."""
    return 0 if abs(signed) < 0.5 * size else 1 if signed > 0 else -1


def place_of(edge: Edge) -> tuple[int, int, int]:
    """What an edge is between, and of which class."""
    return edge.source, -1 if edge.target is None else edge.target, edge.class_id


def end(edge: Edge, atoms: Atoms, classes: Sequence[str]) -> str:
    return classes[edge.class_id] if edge.target is None else atoms.name(edge.target)


def findings(
    edges: Sequence[Edge], atoms: Atoms, names: Sequence[str], classes: Sequence[str]
) -> list[Finding]:
    """Of each class the largest confirmed edges, straight ones and ways between atoms apart."""
    found = list[Finding]()
    for class_id in dict.fromkeys(one.class_id for one in edges):
        for straight in (True, False):
            own = [
                one
                for one in edges
                if one.confirmed and one.class_id == class_id and (one.target is None) == straight
            ]
            own.sort(key=lambda one: (one.specific is False, -one.size.value))
            found += [_told(one, atoms, names, classes) for one in own[:TOLD]]
    return found


def _told(one: Edge, atoms: Atoms, names: Sequence[str], classes: Sequence[str]) -> Finding:
    name = classes[one.class_id]
    said = f"{names[one.source]} {HOW[way(one.signed, one.size.value)]} {name}"
    if one.target is None:
        said += " by itself, past all later layers looked at"
    else:
        said += f" through {names[one.target]}"
    return Finding.about(
        f"{said}: it moves it by {one.size.value:.2f} log-odds in the smaller of both directions "
        f"(mean of both {one.signed:+.2f}){AGAINST_RANDOM[one.specific]}.",
        one.size,
        one.test,
        evidence="edges",
        class_name=name,
        effect_name="log-odds by which the edge moves the class",
        source=atoms.name(one.source),
        target=end(one, atoms, classes),
    )


def edge_table(known: Known, classes: Sequence[str]) -> Table:
    edges, atoms, pictures = known[EDGES], known[ATOMS], dict[tuple[int, ...], list[str]]()
    for one, image in known[WAYS]:
        pictures.setdefault(place_of(one), []).append(safe_key(edge_key(one, image)))
    rows = [
        {
            "class": classes[one.class_id],
            "from": atoms.name(one.source),
            "to": end(one, atoms, classes),
            **SIZE.cells(one.size),
            "signed": one.signed,
            "out": one.out,
            "back": one.back,
            "away": one.away,
            "first": one.first,
            "p_adjusted": one.test.adjusted,
            "needs": one.test.needs,
            "beyond": one.beyond,
            "confirmed": one.confirmed,
            "specific": one.specific,
            "pictures": pictures.get(place_of(one), []),
        }
        for one in sorted(edges, key=lambda one: (not one.confirmed, -one.size.value))
    ]
    labels = {**SIZE.labels, **FIRST.labels, **OUT.labels, "p_adjusted": "p adjusted"}
    labels |= {"signed": "with its sign", "away": "by which both differ"}
    labels |= {"back": "by restoration", "beyond": "p among random groups, adjusted"}
    labels |= {"specific": "more than random groups"}
    return Table(rows, labels=labels, caption="Edges that were carried out")


def atom_table(known: Known, classes: Sequence[str]) -> Table:
    """A row for each atom: where it responds, and its exemplars."""
    atoms, effects, edges = known[ATOMS], known[EFFECTS], known[EDGES]
    on = effects.column("on").astype(np.float64)
    count = np.isfinite(on).sum(0)
    mean = np.nansum(on, 0) / np.maximum(count, 1)
    mean[count < 3] = -np.inf
    rows, names = [], called(known)
    for p, one in enumerate(atoms.atoms):
        best = int(np.argmax(mean[p]))
        mine = [e for e in edges if e.confirmed and p in (e.source, e.target)]
        to = dict.fromkeys(classes[e.class_id] for e in mine)
        rows.append(
            {
                "atom": atoms.name(p),
                "called": names[p],
                "layer": atoms.layers[one.layer],
                "units": len(one.units),
                "name": known[NAMES][p].name,
                "overlap": known[NAMES][p].overlap,
                "by_chance": known[NAMES][p].by_chance,
                "on": classes[best] if np.isfinite(mean[p, best]) else None,
                "responds": float(mean[p, best]) if np.isfinite(mean[p, best]) else None,
                "classes": list(to),
                "edges": len(mine),
                "pictures": [safe_key(atom_key(p, n)) for q, n in known[EXEMPLARS] if q == p],
            }
        )
    labels = {
        "overlap": "IoU with its name, other half",
        "by_chance": "IoU by chance",
        "on": "responds most on",
        "responds": "mean response there, deviations",
        "classes": "classes that it has a confirmed way to",
        "edges": "confirmed edges",
    }
    return Table(rows, labels=labels, caption="Atoms")


def node_table(known: Known, classes: Sequence[str]) -> Table:
    atoms = known[ATOMS]
    rows = [
        {
            "class": classes[one.class_id],
            "atom": atoms.name(one.atom),
            **MOVED.cells(one.size),
            "total": one.total,
            "straight": one.straight,
            "through": one.through,
        }
        for one in known[NODES]
    ]
    labels = {**MOVED.labels, "straight": "past later layers", "through": "through later atoms"}
    labels["total"] = "lost without the atom, with its sign"
    return Table(rows, labels=labels, caption="Each atom's effect on each class")
