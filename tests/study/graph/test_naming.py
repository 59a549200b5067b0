"""What atoms are called, counted on maps that are the classes themselves."""

from types import SimpleNamespace

import numpy as np
import torch

from conceptseg.engine.known import Known
from conceptseg.stats.estimate import Sampling
from conceptseg.study.graph.atoms import ATOMS, BARS, HALVES, Atom, Atoms, Halves
from conceptseg.study.graph.naming import NAMES, called, name_atoms, together


def test_an_atom_is_called_by_the_class_or_context_that_it_shows_on():
    """Two layers of unlike grids; the third atom shows anywhere, the fourth on class 2 in one half
    of the images alone."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.repeat(np.repeat(rng.integers(0, 3, (8, 4, 4)), 2, 1), 2, 2))
    shown = torch.from_numpy(np.repeat(np.repeat(rng.random((8, 4, 4)) < 0.3, 2, 1), 2, 2))
    noise = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    half = (labels == 2) & (torch.arange(8) < 4)[:, None, None]
    ids = tuple("abcdefgh")
    atoms = Atoms(
        ("one", "two"),
        (Atom(0, 1, (0,)), Atom(0, 2, (1,)), Atom(0, 3, (2,)), Atom(1, 1, (0,))),
        (np.zeros(3), np.zeros(1)),
        (np.ones(3), np.ones(1)),
    )
    first = np.arange(8) < 4
    known = ATOMS(atoms) | BARS(np.full(4, 0.5))
    known |= HALVES(Halves(Sampling(ids, ids, "images", 0), first, first))
    context = SimpleNamespace(
        model=SimpleNamespace(classes=["ground", "road", "tram"]),
        manifest=SimpleNamespace(
            sample=ids.index, context=lambda place: shown[place].numpy()
        ),
    )  # fmt: skip
    clean = [torch.stack([labels == 1, shown, noise], 1).float(), half[:, None, ::2, ::2].float()]
    gathered = Known()
    for rows in ([0, 1, 2], [3, 4, 5, 6], [7]):
        batch = SimpleNamespace(ids=[ids[r] for r in rows], labels=labels[rows])
        found = together(context, batch, 0 * labels[rows], [one[rows] for one in clean], known)
        gathered = gathered.merge(found)
    known |= gathered
    known |= name_atoms(None, context, known)
    assert [one.name for one in known[NAMES]] == ["road", "known context", "unnamed", "unnamed"]
    assert known[NAMES][0].overlap == 1.0
    assert called(known) == ["one/1 (road)", "one/2 (known context)", "one/3", "two/1"]
