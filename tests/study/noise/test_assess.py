"""How often the intervals of curves hold the truth, of Dice that is nothing in most images."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.noise.assess import ASSESSED, assess
from conceptseg.study.noise.config import OWN, NoiseStudy
from conceptseg.study.noise.curves import CURVES, Curves

IMAGES, SEEN = 20, 0.1
IDS = tuple(f"i{n:02d}" for n in range(IMAGES))


def curves(dice):
    """Dice [images, shares] of one class and fill, by the fitted method alone."""
    cases = tuple((name, 3) for name in IDS)
    return Curves(cases, (OWN,), dice[:, None, None], np.full((IMAGES, 2), 0.1), {}, {}, {})


@pytest.fixture(scope="module")
def found():
    """Of 120 data sets the line of a class that one image in ten shows with half of its pixels, and
    the ends of a bootstrap of the same Dice."""
    study = NoiseStudy.model_construct(fills=("blur",), points=2, visible=0.5, unit="image")
    manifest = SimpleNamespace(sample=lambda name: SimpleNamespace(group=name))
    found = []
    for seed in range(120):
        context = SimpleNamespace(manifest=manifest, seed=seed)
        seen = np.random.default_rng(seed).random(IMAGES) < SEEN
        dice = np.stack([np.zeros(IMAGES), seen, np.ones(IMAGES)], 1)
        (line,) = assess(study, context, CURVES(curves(dice)))[ASSESSED].lines
        found.append((line, Sampling(IDS, IDS, "images", seed, 400).mean(dice[:, 1])))
    return found


def test_the_interval_of_a_share_holds_what_few_images_show(found):
    held = [(line.dice[1].low <= SEEN <= line.dice[1].high, p.low <= SEEN <= p.high)
            for line, p in found]  # fmt: skip
    new, plain = np.mean(held, 0)
    assert new >= 0.92 and plain < 0.9


def test_the_interval_of_an_area_holds_what_few_images_show(found):
    truth = 0.25 * 0 + 0.5 * SEEN + 0.25 * 1
    held = [line.area.low <= truth <= line.area.high for line, _ in found]
    assert np.mean(held) >= 0.92
