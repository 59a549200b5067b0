"""Which edges there are: in both directions, over images, and against random groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, by_bh, few, judge
from conceptseg.stats.intervals import ALPHA, Floats
from conceptseg.stats.p_values import tail_p
from conceptseg.study.graph.atoms import ATOMS, CLASSES, HALVES, Atoms
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.screen import BY_UNIT, EFFECTS
from conceptseg.study.graph.verify import CHOSEN_WAYS, PATCHED


@dataclass(frozen=True)
class Edge:
    """From an atom to an atom, or (`target` None) straight to the class, for one class.

    `size` is by how much it moves the class's score, in log-odds: the mean over images of the
    smaller of ablation and restoration, 0 of an image in which the two have unlike signs. `out` and
    `back` are their means with signs, `signed` the mean of both, `away` the mean size of what they
    differ by; `first` the mean first estimate on the same images, nan of straight ones; `beyond`
    the corrected p of being as large among random groups of as many units, nan where each unit of
    the layer is an atom. `test` asks for more than the smallest size that counts.
    """

    source: int
    target: int | None
    class_id: int
    size: Estimate
    signed: float
    out: float
    back: float
    away: float
    first: float
    test: Test
    beyond: float

    @property
    def confirmed(self) -> bool:
        """Whether the class hangs on it: in both directions, over images, and enough."""
        return self.test.passed

    @property
    def specific(self) -> bool | None:
        """Whether it is confirmed and carries more than random groups of as many units do; None
        where there are no other groups."""
        return None if np.isnan(self.beyond) else self.confirmed and self.beyond <= ALPHA


@dataclass(frozen=True)
class Node:
    """An atom's own effect on a class, over all images that hold the class: its mean `size`, and
    with signs `total`, and the parts of that that go `straight` and `through` later atoms."""

    atom: int
    class_id: int
    size: Estimate
    total: float
    straight: float
    through: float


EDGES: Key[tuple[Edge, ...]] = Key("edges", tuple)
NODES: Key[tuple[Node, ...]] = Key("nodes", tuple)


@dataclass(frozen=True)
class Measured:
    """Numbers of one kind of edge on the judging half: `out` and `back` [n, m] (nan where the class
    is not), with what each of the m is: (source, target, class)."""

    of: Sequence[tuple[int, int | None, int]]
    out: Floats
    back: Floats
    first: Floats


def assess(study: Graph, context: Context, known: Known) -> Known:
    """All edges that were carried out, and those straight to classes, tested together."""
    atoms, halves, classes = known[ATOMS], known[HALVES], known[CLASSES]
    judging = np.flatnonzero(~halves.first)
    own = halves.sampling.at(judging)
    straight = _straight(known, judging)
    ways = _ways(known, judging)
    rng = np.random.default_rng([context.seed, 67])
    table = known[BY_UNIT]
    names = table.tables[table.ids[0]]
    by_unit = {name: table.column(name) for name in names}
    chance = beyond_random(study.random_groups, by_unit, atoms, len(classes), rng)
    edges = judged([straight, ways], own, chance, study.smallest_effect, context.seed)
    named = [replace(one, class_id=classes[one.class_id]) for one in edges]
    return EDGES(tuple(named)) | NODES(_nodes(known))


def judged(
    kinds: Sequence[Measured],
    sampling: Sampling,
    chance: Mapping[tuple[int, int | None, int], float],
    smallest: float,
    seed: int,
) -> list[Edge]:
    """Edges whose sizes are tested to be more than the `smallest` over images, Benjamini & Hochberg
    over all."""
    of = [one for kind in kinds for one in kind.of]
    if not of:
        return []
    out = np.concatenate([kind.out for kind in kinds], 1)
    back = np.concatenate([kind.back for kind in kinds], 1)
    first = np.concatenate([kind.first for kind in kinds])
    size = sizes(out, back)
    # No image was seen to be moved further: where an edge moves few, others may be, as far.
    largest = float(np.nanmax(size, initial=0.0))
    asked = [Question(own - smallest, sampling) for own in size.T]
    tests = judge(asked, side="greater", seed=seed, policy=few(by_bh))
    return [
        Edge(
            *one,
            size=sampling.pointed(size[:, n], 0, largest),
            signed=float(np.nanmean(out[:, n] + back[:, n]) / 2),
            out=float(np.nanmean(out[:, n])),
            back=float(np.nanmean(back[:, n])),
            away=float(np.nanmean(np.abs(out[:, n] - back[:, n]))),
            first=float(first[n]),
            test=test,
            beyond=chance.get(one, np.nan),
        )
        for n, (one, test) in enumerate(zip(of, tests, strict=True))
    ]


def sizes(out: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The smaller of two effects where they have the same sign, else 0; nan stays."""
    return np.where(out * back < 0, 0.0, np.minimum(np.abs(out), np.abs(back)))


def _straight(known: Known, judging: np.ndarray) -> Measured:
    """Of each atom and class, on the judging half: the layers behind the atom held."""
    effects = known[EFFECTS]
    there = effects.column("there")[judging]
    out, back = (effects.column(name)[judging] for name in ("direct", "restored"))
    moved = np.abs(out).max(0, initial=0) + np.abs(back).max(0, initial=0) > 0
    of = [(p, None, c) for p, c in np.argwhere(moved).tolist()]
    where = [np.where(there[:, [c]], v[:, [p], c], np.nan) for v in (out, back) for p, _, c in of]
    both = np.concatenate(where, 1) if where else np.empty((len(judging), 0))
    return Measured(of, both[:, : len(of)], both[:, len(of) :], np.full(len(of), np.nan))


def _ways(known: Known, judging: np.ndarray) -> Measured:
    chosen, table, effects = known[CHOSEN_WAYS], known[PATCHED], known[EFFECTS]
    pairs = [(m, c) for m, c in np.argwhere(chosen.asked).tolist()]
    of = [(*chosen.ways[m], c) for m, c in pairs]
    if not pairs:
        empty = np.empty((len(judging), 0))
        return Measured([], empty, empty, np.empty(0))
    m, c = np.array(pairs).T
    out, back = (table.column(name)[:, m, c] for name in ("out", "back"))
    first = effects.column("first")[judging]
    there = effects.column("there")[judging]
    means = [float(first[there[:, k], p, q, k].mean()) for p, q, k in of]
    return Measured(of, out, back, np.array(means))


def beyond_random(
    groups: int,
    by_unit: Mapping[str, np.ndarray],
    atoms: Atoms,
    classes: int,
    rng: np.random.Generator,
) -> dict[tuple[int, int | None, int], float]:
    """Of each way, and each straight edge, the p of its first estimate among random groups.

    The groups are of as many live units of the layer that the way leads to (of a straight edge: it
    comes from); the statistic is the mean size of the first estimate over images (`BY_UNIT`'s
    arrays, end to end), by :func:`tail_p`; corrected over all ways and straight edges (Benjamini &
    Hochberg), for the strongest of them are chosen. Those of layers in which each unit is an atom
    are left out: there is no other group.
    """
    found = dict[tuple[int, int | None, int], float]()
    for j in range(len(atoms.layers)):
        if atoms.alone(j) or not atoms.at(j):
            continue
        live = atoms.live(j)
        rows = [p for i in range(j) for p in atoms.at(i)]
        parts = [by_unit[f"ways {i} {j}"] for i in range(j) if atoms.at(i)]
        each = np.concatenate([*parts, by_unit[f"straight {j}"][:, None]], 1)  # [n, P + 1, c, u]
        for q in atoms.at(j):
            units = list(atoms.atoms[q].units)
            member = np.zeros((groups, each.shape[3]), np.float32)
            draws = rng.random((groups, len(live))).argpartition(len(units) - 1, 1)
            np.put_along_axis(member, live[draws[:, : len(units)]], 1.0, 1)
            for c in range(classes):
                own = each[:, :, c].astype(np.float32)
                own = own[np.isfinite(own).all((1, 2))]
                if not len(own):
                    continue
                null = np.mean([np.abs(one @ member.T) for one in own], 0)  # [P + 1, groups]
                seen = np.abs(own[..., units].sum(-1)).mean(0)
                for n, p in enumerate(rows):
                    found[p, q, c] = tail_p(float(seen[n]), null[n])
                found[q, None, c] = tail_p(float(seen[-1]), null[-1])
    corrected = benjamini_hochberg(np.array(list(found.values())))
    return dict(zip(found, corrected.tolist(), strict=True))


def _nodes(known: Known) -> tuple[Node, ...]:
    """Each atom's effect on each class, and the parts of it that go straight and through others."""
    atoms, effects, sampling = known[ATOMS], known[EFFECTS], known[HALVES].sampling
    there, total = effects.column("there"), effects.column("total")
    direct, first = effects.column("direct"), effects.column("first")
    nodes, largest = [], float(np.nanmax(np.abs(total), initial=0.0))
    for c, class_id in enumerate(known[CLASSES]):
        rows = np.flatnonzero(there[:, c])
        own = sampling.at(rows)
        for p in range(len(atoms.atoms)):
            through = float(first[rows, p, :, c].sum(1).mean())
            straight = float(direct[rows, p, c].mean())
            gone = total[rows, p, c]
            size = own.pointed(np.abs(gone), 0, largest)
            nodes.append(Node(p, class_id, size, float(gone.mean()), straight, through))
    return tuple(nodes)
