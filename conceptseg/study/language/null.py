"""How often words are said to tell attributes that were dealt to the images at random, and masks to
come out better or worse where each image's were dealt to the codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.language.assess import SEEDS, Seed, learn, score, tested
from conceptseg.study.language.conclude import findings
from conceptseg.study.language.config import Language
from conceptseg.study.language.objects import SPOKEN
from conceptseg.study.shared.nulls import Bench, Claim, Selftest

SCENES = {"format": "planted", "context": "balanced", "pair_share": 0.2}
IMAGES, ATTRIBUTES = 200, 3


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Languages of real objects; attributes of two to six values are dealt to the images."""
    keys = {"unit": "image", "seeds": 2, "steps": 200}
    options = {"network": "biased", "scenes": SCENES, "n": IMAGES}
    study, context = bench.ready("language", keys, seed=14_000 + seed, **options)  # type: ignore[arg-type]
    assert isinstance(study, Language)
    known = bench.known_after(study, context, learn)
    one, seeds = known[SPOKEN], known[SEEDS]
    images, owner = np.unique(one.ids, return_inverse=True)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        dealt = {
            f"column {a}": rng.integers(0, 2 + 2 * a, len(images))[owner] for a in range(ATTRIBUTES)
        }
        sampling = Sampling(one.ids, one.sampling.groups, one.sampling.of, (number, 71), 200)
        own = replace(one, sampling=sampling)
        scored, compared = score(own, exchanged(seeds, owner, rng), dealt, number)
        found = findings(compared, scored, tested(own, seeds[0], dealt, number))
        shown = [f.evidence for f in found if f.standing == "evidence"]
        yield "codes" in shown, "masks" in shown, "attributes" in shown


def exchanged(seeds: Sequence[Seed], owner: np.ndarray, rng: np.random.Generator) -> list[Seed]:
    """The languages and their rivals, of which each image's masks are dealt to them at random.

    `owner` [m] numbers the image of each object; an image is dealt alike in all seeds.
    """
    names = list(seeds[0].told)
    order = np.tile(np.arange(len(names)), (owner.max() + 1, 1))
    order, rows = rng.permuted(order, axis=1)[owner], np.arange(len(owner))
    made = []
    for seed in seeds:
        every = np.stack([seed.told[name].mask for name in names])
        told = {
            name: replace(seed.told[name], mask=every[order[:, place], rows])
            for place, name in enumerate(names)
        }
        made.append(replace(seed, told=told))
    return made


SELFTEST = Selftest(
    claims=(
        Claim(
            "words tell more, or less, of attributes than the best code (95 % interval)",
            "columns of values that were dealt to the images: no code tells any",
            "the one claim of a run",
        ),
        Claim(
            "masks are drawn better, or worse, than from the best code (95 % interval)",
            "real masks by the language and its rivals, dealt to them image by image",
            "the one claim of a run",
        ),
        Claim(
            "a word tells an attribute (values exchanged between images, Holm)",
            "columns of values that were dealt to the images: no code tells any",
            "all attributes of a run",
        ),
    ),
    draws=draws,
    seconds=300,
    power="it asks which attributes words tell, and nothing of what classes rely on",
)
