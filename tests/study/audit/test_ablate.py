"""A context's direction taken out of the layer: by loops, in closed form, and where it is known."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.config import ModelConfig
from conceptseg.engine.known import Known
from conceptseg.network.levels import Levels
from conceptseg.network.model import load_model
from conceptseg.planted.constructed import CONTEXT
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.audit.ablate import weighed
from conceptseg.study.audit.acting import ACTING
from conceptseg.study.audit.case import CASES, Mechanism
from conceptseg.study.audit.contexts import CONTEXTS, KNOWN, ContextType
from conceptseg.study.audit.found import FOUND, Found
from conceptseg.study.audit.learn import (
    ABLATIONS,
    SOURCED,
    _cells,
    choose_ablations,
)
from conceptseg.study.audit.removals.contract import Learnt
from conceptseg.study.audit.removals.direction import Direction, random_directions
from conceptseg.study.audit.removals.kinds import KINDS
from conceptseg.study.audit.survey import HOLDINGS, PLAN, Plan
from tests.study.audit.small import audit, holdings
from tests.study.audit.test_found import ACE, PAIRS
from tests.study.audit.test_swap import audited, exact_scenes

LAYER = Levels.of("body")
IT = Direction("it", np.zeros(1), 0.0, np.zeros((0, 1)))


def test_what_exceeds_the_component_is_taken_away_along_each_direction():
    rng = np.random.default_rng(0)
    activation, units = rng.normal(size=(1, 4, 2, 3)), np.eye(4)
    vector = np.array([0.6, 0.8, 0.0, 0.0])
    removal = Direction("it", vector, 0.1, units[2:])
    found = removal.edited(torch.from_numpy(activation), range(3)).numpy()
    assert found.shape == (3, 4, 2, 3)
    for y, x in np.ndindex(2, 3):
        own = activation[0, :, y, x]
        excess = max(0.0, float(own @ vector) - 0.1)
        for row, direction in zip(found, (vector, *units[2:]), strict=True):
            np.testing.assert_allclose(row[:, y, x], own - excess * direction)
        assert found[0, :, y, x] @ vector <= max(0.1, own @ vector - excess) + 1e-12


def test_random_directions_are_spread_as_the_layer_is_and_hold_nothing_of_the_context():
    rng = np.random.default_rng(1)
    cells, vector = rng.normal(size=(400, 3)) * [9.0, 1.0, 0.0] + 5, np.array([1.0, 0.0, 0.0])
    made = random_directions(cells, vector, 19, rng)
    assert made.shape == (19, 3)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1)
    np.testing.assert_allclose(made @ vector, 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(made[:, 1]), 1)  # the only other way in which it varies


def test_the_positions_that_a_context_takes():
    where = np.zeros((8, 8), bool)
    where[0:4, 0:4], where[4:5, 4:5] = True, True
    shown = _cells(where, (2, 2)).reshape(2, 2)
    np.testing.assert_array_equal(shown, [[True, False], [False, False]])
    small = np.zeros((8, 8), bool)
    small[7, 7] = True
    np.testing.assert_array_equal(_cells(small, (2, 2)), [False, False, False, True])


def test_what_is_lost_beyond_random_where_the_context_is_and_where_it_is_not():
    """Images that hold it lose 0.6, others 0.1; random directions cost 0.05 anywhere."""
    holds = np.arange(20) < 10
    iou = np.full((20, 2 + 3), 0.9)
    iou[:, 1] -= np.where(holds, 0.6, 0.1)
    iou[:, 2:] -= 0.05
    iou[holds, 4] -= 0.2
    ids = tuple(map(str, range(20)))
    found = weighed(iou, holds, Sampling(ids, ids, "images", 0), "ablated", IT)
    assert found.lost == pytest.approx(0.5)
    assert found.random == pytest.approx((0, 0, 0.2), abs=1e-9) and found.largest == pytest.approx(
        0.2
    )
    assert found.beyond.value == pytest.approx(0.5 - 0.2 / 3)
    assert found.agrees(0.3, 0.02) and not found.agrees(-0.3, 0.02)


@pytest.mark.parametrize(
    ("ends", "lost", "random", "agrees"),
    [
        ((0.1, 0.5), 0.3, (0.01, -0.02), True),
        ((0.01, 0.5), 0.3, (0.01, -0.02), False),  # not all of it is beyond delta
        ((0.1, 0.5), 0.3, (0.01, -0.4), False),  # one random direction does more
    ],
)
def test_it_agrees_where_its_interval_and_all_random_directions_do(ends, lost, random, agrees):
    one = Mechanism("ablated", "it", "out", "random", Estimate(lost, *ends, 20), lost, random)
    assert one.agrees(0.5, 0.02) == agrees
    less = Estimate(-lost, -ends[1], -ends[0], 20)
    other = Mechanism("ablated", "it", "out", "random", less, -lost, random)
    assert other.agrees(-0.5, 0.02) == agrees and not other.agrees(0.5, 0.02)


def chosen(shown, there=30, lacking=30, **keys):
    """What is chosen of two cases, of which the second is shown or not."""
    share = np.array([[0.5, 0.5]] * there + [[0.0, 0.0]] * lacking)
    held = holdings(share)
    contexts = tuple(ContextType(f"t{i}", "mask") for i in range(2))
    cases = tuple(
        SimpleNamespace(context=one, class_id=1, class_name="c", margin=4.0, shown=is_shown)
        for one, is_shown in zip(contexts, (False, shown), strict=True)
    )
    known = HOLDINGS(held) | ACTING(()) | CONTEXTS(contexts) | CASES(cases)
    known |= PLAN(Plan({1: held.ids[5:-5]}, {1: (0, 1)}))
    found = choose_ablations(audit(**keys), SimpleNamespace(seed=0, levels=LAYER), Known() | known)
    return found, held


def test_directions_are_learnt_of_images_on_which_they_are_not_tried():
    found, held = chosen(True)
    (one,) = found[ABLATIONS]
    assert (one.case, one.place, len(one.holding), len(one.lacking)) == (1, 1, 12, 12)
    there, lacking = found[SOURCED][1]
    assert not {*there, *lacking} & set(one.ids)
    share = dict(zip(held.ids, held.share[:, 1], strict=True))
    assert all(share[name] > 0 for name in (*there, *one.holding))
    assert all(share[name] == 0 for name in (*lacking, *one.lacking))


def test_which_cases_are_tried():
    assert not chosen(False)[0][ABLATIONS] and not chosen(True, ablate="none")[0][ABLATIONS]
    assert len(chosen(False, ablate="all")[0][ABLATIONS]) == 2
    few, _ = chosen(True, there=8)
    (why,) = few[_left_out()]
    assert not few[ABLATIONS] and "3 images that are swapped hold it" in why["reason"]


def _left_out():
    from conceptseg.engine.contract import left_out

    return left_out("ablate")


def test_a_network_whose_layer_holds_the_texture_loses_what_it_owes_to_it(tmp_path):
    """In the constructed network one channel is the texture, and all that it does goes through it:
    taking it out does what taking it from the image does, be it learnt or ACE's own vector."""
    model = {"source": "planted", "name": "constructed-1"}
    network = load_model(ModelConfig(**model), [], "cpu")
    saved = dataclasses.replace(
        ACE,
        tables={**ACE.tables, "pairs": Table(PAIRS[:1])},
        arrays={
            "cav": 3 * np.eye(6, dtype=np.float32)[[CONTEXT]],
            "absent": np.zeros(1, np.float32),
            "present": np.full(1, 3, np.float32),
        },
        provenance={"weights": network.fingerprint(), "layer": "bottleneck"},
    )
    saved.save(tmp_path / "ace")
    keys = {"margin": 8, "images": 24, "look_images": 0, "ablate_images": 8}
    keys |= {"found": str(tmp_path / "ace")}
    result = audited(tmp_path, model, exact_scenes(tmp_path), **keys)
    effects = {(row["class"], row["context"]): row for row in result.tables["verdicts"].rows}
    rows = {(row["class"], row["context"]): row for row in result.tables["looks"].rows}
    words = {KNOWN: f"the direction of {KNOWN}", "concept 1": "ACE's direction of concept 1"}
    assert set(rows) == {(name, one) for name in ("digit 3", "digit 9") for one in words}
    for pair, row in rows.items():
        assert row["agrees"] and row["ablated_of"] == words[pair[1]]
        assert effects[pair]["verdict"] == "confirmed"
        assert row["ablated"] == pytest.approx(effects[pair]["effect"], abs=0.15)
        assert f"with {words[pair[1]]} taken out of the layer" in effects[pair]["sentence"]


def test_a_concepts_own_vector_is_taken_out_down_to_where_it_is_absent():
    """Of any length; the layer is the one in which it was found, whichever is audited."""
    vectors = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])
    found = Found("deep", (4, 2), vectors, np.array([0.0, 5.0]), np.ones(2), frozenset())
    case = SimpleNamespace(context=ContextType("concept 2", "concept"))
    cells = np.random.default_rng(0).normal(size=(50, 3))
    kind, known = KINDS["concept"], FOUND((found,))
    assert kind.applies(case, known) and not KINDS["direction"].applies(case, known)
    assert kind.layer(None, known) == Levels.of("deep")
    learnt = Learnt(np.ones(3), np.zeros(3), cells)
    made = kind.removal(SimpleNamespace(random=19), case, learnt, known, np.random.default_rng(1))
    np.testing.assert_allclose(made.vector, [0.6, 0.0, 0.8])
    assert made.absent == pytest.approx(1.0) and made.null.shape == (19, 3)
    np.testing.assert_allclose(made.null @ made.vector, 0, atol=1e-12)
