"""Paths drawn at random, without a network: starts, and what descriptors do along the walks."""

from types import SimpleNamespace

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.survey import Route, Survey
from conceptseg.study.deepdream.travel import Travelled

CLASSES = ("ground", "car", "road")
KINDS = (("become", 1, 2), ("vanish", 2, 2), ("vanish", 1, 1))
ROUTES = tuple(Route.of(*kind, CLASSES) for kind in KINDS)
ROUTE = ROUTES[0]


def study_of(**keys):
    return SimpleNamespace(**{"smallest": 0.2, "flip": 0.9, **keys})


def drawn(groups, per_group, effect=0.0, *, routes=1, seed=0, common=0.5):
    """Starts on some routes, all of which flip: on each `per_group` in each group.

    Every walk changes each descriptor by noise of its group's own size, which descriptors share in
    part (`common`); the pixel path by `effect` more than the two null paths, a number or one for
    each of them, or arrays of these by descriptor. The phase path follows the pixel path.
    """
    rng = np.random.default_rng(seed)
    images, m = groups * per_group, len(NAMES)
    n = routes * images
    size = np.tile(np.repeat(rng.exponential(size=groups), per_group), routes)[:, None]
    noise = (1 - common) * rng.normal(size=(4, n, m)) + common * rng.normal(size=(4, n, 1))
    change = 0.5 * size * noise
    smooth, shuffled = np.broadcast_to(np.asarray(effect, float).T, (m, 2)).T
    change[2] -= smooth
    change[3] -= shuffled
    change[1] = change[0]
    described = np.zeros((n, 4, 2, m))
    described[:, :, 1] = change.transpose(1, 0, 2)
    names = tuple(f"i{k}" for k in range(images))
    counted = tuple(f"g{k // per_group:02d}" for k in range(images))
    survey = Survey(
        starts=dict.fromkeys(ROUTES[:routes], names),
        predictions={},
        holders={1: list(names), 2: list(names)},
        natural={1: np.zeros((2, m)), 2: np.ones((2, m))},
        sampling=Sampling(names, counted, "groups", seed, draws=100),
        skipped=(),
    )
    travelled = Travelled(
        route=np.repeat(np.arange(routes), images),
        sample=names * routes,
        described=described,
        score=np.zeros((n, 4, 2)),
        flipped=np.ones((n, 4, 2)),
        length=np.ones((n, 4)),
        ended=np.full((n, 4), 5),
        borrowed=np.zeros(n, bool),
        share=np.full(n, 0.1),
        strips=(),
    )
    return survey, travelled
