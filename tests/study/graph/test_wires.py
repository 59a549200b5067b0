"""Interventions on the constructed networks, whose way from stripes to the digit 3 is known."""

import numpy as np
import pytest
import torch

from conceptseg.config import ModelConfig
from conceptseg.network.model import load_model
from conceptseg.planted.constructed import CONTEXT, OBJECT
from conceptseg.planted.generator import BIASED_CLASS
from conceptseg.study.graph.atoms import Atom, Atoms
from conceptseg.study.graph.screen import looked
from conceptseg.study.graph.verify import patched
from conceptseg.study.graph.wires import Wires
from conceptseg.study.selftest.bench import EXACT, Planted
from conceptseg.study.shared.nulls import all_batches

LAYERS = ("encoder.waves", "bottleneck")
WAVES, CELLS = 8, 6


@pytest.fixture(scope="module")
def images():
    keys = {"layers": LAYERS, "min_images": 5}
    _, context = Planted().ready("graph", keys, network="constructed", scenes=EXACT, n=24, seed=3)
    return torch.cat([batch.images for batch in all_batches(context)])


def effects(images, w):
    model = load_model(ModelConfig(source="planted", name="constructed", arguments={"w": w}), [])
    wires = Wires(model, images, LAYERS)
    units = [(0, u) for u in range(WAVES)] + [(1, u) for u in range(CELLS)]
    mean = tuple(one.mean((0, 2, 3)).double().numpy() for one in wires.clean)
    spread = tuple(one.double().std((0, 2, 3)).numpy() for one in wires.clean)
    atoms = Atoms(LAYERS, tuple(Atom(at, u + 1, (u,)) for at, u in units), mean, spread)
    return wires, atoms, looked(wires, atoms, wires.targets((BIASED_CLASS,)))[0]


def test_the_way_of_the_stripes_grows_with_their_weight(images):
    """Size over images: ablating to the mean takes from those with stripes, gives to the others."""
    context, thing = [], []
    for w in (0.0, 0.25, 0.5, 0.75, 1.0):
        *_, found = effects(images, w)
        size = np.abs(found["direct"][..., 0]).mean(0)
        context.append(size[WAVES + CONTEXT])
        thing.append(size[WAVES + OBJECT])
    assert context[0] == 0 and thing[-1] == 0
    assert (np.diff(context) > 0).all()


def test_stripes_reach_the_digit_through_their_channel_alone(images):
    wires, atoms, found = effects(images, 0.5)
    size = np.abs(found["first"][..., 0]).mean(0)[:WAVES, WAVES:]  # [waves, channels]
    lines, rows = size[:4], size[4:]
    assert (lines[:, CONTEXT] > 0).all() and not rows.any()
    assert not np.delete(lines, CONTEXT, 1).any()
    ways = [(p, WAVES + q) for p in range(WAVES) for q in range(CELLS)]
    out, _ = patched(wires, atoms, wires.targets((BIASED_CLASS,)), ways)
    carried = np.abs(out[..., 0]).mean(0).reshape(WAVES, CELLS)
    np.testing.assert_array_equal(carried > 0, size > 0)
