"""Where maps follow nothing, few families claim that one does."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.landmarks import assess
from conceptseg.study.landmarks.conclude import findings
from conceptseg.study.landmarks.config import Landmarks

CLASSES = ("ground", "pole", "fence")


def marks(rng, groups, shift=0.0):
    """Landmarks of unlike groups, whose anisotropy lies symmetrically about `shift`."""
    held = np.repeat(np.arange(groups), rng.integers(2, 9, groups))
    n = len(held)
    scale = rng.exponential(1, groups)[held]
    ids = tuple(f"s{i}" for i in range(n))
    names = tuple(f"g{one}" for one in held)
    along = shift + scale * (rng.normal(size=groups)[held] + rng.normal(size=n))
    return assess.Listed(
        ids,
        np.zeros(n, int),
        np.arange(n) % 2 + 1,
        rng.integers(0, 4, n),
        np.zeros((n, 2), int),
        rng.exponential(3, n),
        along,
        np.ones(n),
        rng.random((n, 5)),
        Sampling(ids, names, "groups", 0, draws=200),
    )


def claims(made):
    study = Landmarks.model_construct(min_landmarks=10)
    known = assess.assess(study, SimpleNamespace(seed=0), assess.LISTED(made))
    every = findings(known[assess.FOLLOWED], CLASSES)
    return [one for one in every if one.standing == "evidence"], known


@pytest.mark.parametrize(("groups", "sets"), [(12, 60), (40, 40)])
def test_findings_of_nothing_are_rare(groups, sets):
    false = sum(
        bool(claims(marks(np.random.default_rng([groups, s]), groups))[0]) for s in range(sets)
    )
    assert false <= (0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)) * sets


def test_what_follows_is_found_and_thickness_is_not():
    found, known = claims(marks(np.random.default_rng(1), 40, shift=1.5))
    assert {one.class_ for one in found} == {"pole", "fence"}
    assert all(one.effect > 1 for one in found)
    for one in known[assess.TIED]:
        assert one.anisotropy.low < 0 < one.anisotropy.high
