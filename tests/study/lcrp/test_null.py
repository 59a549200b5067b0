"""How often a study claims something where there is nothing, from its numbers to its findings."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.lcrp.assess import SCORES, assess
from conceptseg.study.lcrp.background import SENSITIVITY
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.findings import findings
from conceptseg.study.lcrp.maps import _NUMBERS, MAPS, ContextScores
from conceptseg.study.lcrp.shuffles import SHUFFLES, Shuffles

CLASSES, CHANNELS, NETWORKS, SEEN = (1, 2), 10, 8, 4


def shuffled(rng, spread):
    """Context scores of nine networks, [9, classes, channels, images seen], about 0.5."""
    level = rng.normal(0.5, spread, (NETWORKS + 1, 1, 1, 1))
    shape = (NETWORKS + 1, len(CLASSES), CHANNELS, 1)
    noise = rng.normal(0, spread / 5, (NETWORKS + 1, len(CLASSES), CHANNELS, SEEN))
    return level + rng.normal(0, spread / 5, shape) + noise


def without_effect_over_images(rng, images):
    """Channels whose excess is as often below zero as above, in images of very unlike spread."""
    shape = (len(CLASSES), CHANNELS, images)
    scale = rng.exponential(1, images)
    return 0.5 + scale * (rng.normal(size=shape) + rng.normal(size=images)) / 2


def without_effect_over_networks(rng, images, ninth):
    """One more network that has learnt nothing: its images all agree on its channels."""
    mean = ninth.mean(2, keepdims=True)
    return np.concatenate([ninth, mean + rng.normal(0, 0.01, (*mean.shape[:2], images - SEEN))], 2)


def dataset(seed, images, lacking):
    """What is known before the assessment; `lacking`: which effect channels lack, by class."""
    rng = np.random.default_rng(seed)
    networks = shuffled(rng, 0.1 if "networks" in lacking else 0.001)
    over_images = without_effect_over_images(rng, images)
    over_networks = without_effect_over_networks(rng, images, networks[-1])
    context = np.stack(
        [(over_images if what == "images" else over_networks)[c] for c, what in enumerate(lacking)]
    )
    ids = tuple(f"s{i:02d}" for i in range(images))
    pairs = [(c, k) for c in CLASSES for k in range(CHANNELS)]
    fields = dict.fromkeys(Chosen.__dataclass_fields__, {})
    fields |= {
        "classes": CLASSES, "units": 100, "sampling": Sampling(ids, ids, "groups", seed, draws=20),
        "concepts": dict.fromkeys(CLASSES, tuple(range(CHANNELS))),
        "mean": dict.fromkeys(CLASSES, np.full(100, 0.02)),
        "spread": dict.fromkeys(CLASSES, np.zeros(100)), "images": dict.fromkeys(CLASSES, ids),
        "through": dict.fromkeys(CLASSES, np.ones(images)), "relevant": dict.fromkeys(pairs, []),
    }  # fmt: skip
    rows = len(pairs) * images
    columns = {name: np.full(rows, np.nan) for name in _NUMBERS} | {
        "class": np.repeat([c for c, _ in pairs], images),
        "unit": np.repeat([k for _, k in pairs], images),
        "sample": np.array(ids * len(pairs), dtype=object),
        "context": context.ravel(),
        "mass": np.ones(rows),
    }
    # An even spread lies below what the networks show, so that only the tests decide.
    field = {(s, c): 0.0 for s in ids for c in CLASSES}
    scores = {
        (n, c): networks[n, place] for n in range(NETWORKS) for place, c in enumerate(CLASSES)
    }
    return (
        CHOSEN_PAIRS(Chosen(**fields))
        | MAPS(
            ContextScores(
                columns, np.full((rows, 3), np.nan), field, {}, {}, *(np.zeros((rows, 0)),) * 2, {}
            )
        )
        | SHUFFLES(Shuffles(scores, dict.fromkeys(CLASSES, ids[:SEEN])))
        | SENSITIVITY({})
    )


def false_claims(sets, images, lacking):
    """The share of data sets with any claim that counts as evidence; none of them is true."""
    study, claimed = Lcrp.model_construct(concepts=CHANNELS, random_images=images), 0
    for seed in range(sets):
        known = dataset(seed, images, lacking)
        scores = assess(study, SimpleNamespace(seed=seed), known)[SCORES]
        made = findings(scores, ["", "a", "b"], {})
        claimed += any(finding.standing == "evidence" for finding in made)
    return claimed / sets


SCENES = {
    "no effect over images": ("images", "images"),
    "no effect over networks": ("networks", "networks"),
    "half of each": ("images", "networks"),
}


def bar(sets):
    return 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)


@pytest.mark.parametrize("lacking", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("images", [8, 20])
def test_a_study_of_nothing_claims_something_in_5_percent(images, lacking):
    assert false_claims(20, images, lacking) <= bar(20)


if __name__ == "__main__":
    many = int(sys.argv[1])
    for name, lacking in SCENES.items():
        for images in (8, 9, 13, 30):
            share = false_claims(many, images, lacking)
            print(f"{name}, {images} groups: {share:.3f} of {many} (bar {bar(many):.3f})")
