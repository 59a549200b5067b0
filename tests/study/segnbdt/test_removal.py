"""Tests of removals: which can be shown, how they are corrected, what would have been detected."""

import numpy as np
import pytest

from conceptseg.config import DataConfig, ModelConfig
from conceptseg.stats.corrections import holm
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.removal import _tested

STUDY = Segnbdt(
    data=DataConfig(manifest="none.yaml"), model=ModelConfig(source="factory", name="none")
)


def measured(count, images, effect, seed):
    rng = np.random.default_rng(seed)
    names = [f"i{i}" for i in range(images)]
    return [({"edge": n}, effect + rng.normal(size=images), names) for n in range(count)]


def test_changes_in_too_few_images_have_no_p_and_cost_the_others_nothing():
    many, few = measured(3, 24, -2.0, 0), measured(40, 4, -2.0, 1)
    done = _tested(STUDY, [*few, *many], "less")
    assert all(row["p"] is None and row["p_holm"] is None for row in done[:40])
    assert all(row["detectable"] is None for row in done[:40])
    p = [row["p"] for row in done[40:]]
    assert [row["p_holm"] for row in done[40:]] == pytest.approx(holm(p).tolist())
    assert max(row["p_holm"] for row in done[40:]) <= 0.05
    assert [row["edge"] for row in done] == [*range(40), *range(3)]


def test_one_change_among_hundreds_can_be_shown():
    rows = [*measured(1, 30, 3.0, 2), *measured(700, 30, 0.0, 3)]
    shown = [row["p_holm"] <= 0.05 for row in _tested(STUDY, rows, "two")]
    assert shown[0] and sum(shown) <= 2


def test_what_would_have_been_shown_is_shown_four_times_in_five():
    found = []
    for seed in range(60):
        rows = measured(20, 40, 0.0, seed)
        size = _tested(STUDY, rows, "two")[0]["detectable"]
        drawn = np.random.default_rng(1000 + seed).normal(size=40) - size
        rows[0] = (rows[0][0], drawn, rows[0][2])
        found.append(_tested(STUDY, rows, "two")[0]["p_holm"] <= 0.05)
    assert 0.6 <= np.mean(found) <= 0.97
