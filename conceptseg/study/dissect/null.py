"""How often units detect what other images show, and pass the rules that were published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.saved import Result
from conceptseg.study.dissect.bins import Bins, Counter
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION, detect
from conceptseg.study.dissect.pilot import PLAN, Plan, observe, open_sources
from conceptseg.study.dissect.tally import COUNTER, Tally
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, all_batches

IMAGES, UNITS = 48, 24


@dataclass(frozen=True)
class Bank:
    """Maps [n, v, y, x] of units in n images, and what these show, `slots` [g, n, ...]."""

    study: Dissect
    context: Context
    known: Known
    images: Tensor
    maps: Tensor
    slots: Tensor


def bank(bench: Bench, seed: int) -> Bank:
    keys = {
        "concepts": ("classes", "context"),
        "permutations": 499,
        "rotations": 0,
        "formula_length": 1,
        "beam": 1,
        "kept_images": IMAGES,
        "min_images": 3,
        "label_px": 32,
        "bins": 64,
        "unit": "image",
    }
    study, context = bench.ready("dissect", keys, network="biased", n=IMAGES, seed=9000 + seed)
    assert isinstance(study, Dissect)
    known = bench.known_after(study, context, open_sources)
    live = np.random.default_rng(seed).permutation(known[PLAN].live)[:UNITS]
    keep = np.flatnonzero(np.isin(known[PLAN].live, live))
    known |= PLAN(_only(known[PLAN], keep))
    own = all_batches(context)
    seen = [observe(context, batch, known, study.label_px) for batch in own]
    maps, slots = torch.cat([one for one, _ in seen]), torch.cat([one for _, one in seen], 1)
    images = torch.cat([batch.images for batch in own])
    return Bank(study, context, known, images, maps, slots)


def _only(plan: Plan, keep: np.ndarray) -> Plan:
    """The plan of some of the live units, by their places [v]."""
    bins = Bins(*(getattr(plan.bins, name)[keep] for name in ("low", "scale", "cell")))
    return replace(plan, live=plan.live[keep], two_sided=plan.two_sided[keep], bins=bins)


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Each image gets what another shows; all of the study's counting and testing follows."""
    made = bank(bench, seed)
    ids = tuple(made.context.manifest.ids)
    counter = COUNTER(Counter(made.known[PLAN].bins, "cpu"))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        slots = made.slots[:, rng.permutation(len(ids)).tolist()]
        batch = Batch(ids, ids, made.images)
        tally, context = Tally(made.study), replace(made.context, seed=number)
        state = tally.counted(batch, made.known | counter, made.maps, slots)
        state |= tally.kept(context, batch, made.known[PLAN], made.maps, slots)
        found = detect(made.study, context, made.known | state)[DETECTION]
        unit = int(rng.integers(len(found.detector)))
        yield bool(found.detector.any()), bool(found.published_detector[unit])


def _found(result: Result) -> bool:
    """Whether digit 3 is said to use the units of the known context."""
    return any(
        one.class_ == "digit 3" and one.details.get("used") and "context" in one.details["concept"]
        for one in result.findings
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a unit detects a concept (exchanged label maps, Benjamini-Hochberg)",
            "label maps of other images; without a detector no use is claimed",
            "all units of a layer",
        ),
        Claim(
            "a unit detects a concept: IoU above 0.04 at its largest percent (Bau et al. 2020)",
            "label maps of other images",
            "one unit: the published rule corrects for none",
            "published",
        ),
    ),
    draws=draws,
    seconds=28,
    power=Power(
        "digit 3 uses the units that detect the stripes",
        {
            "concepts": ("classes", "context"),
            "permutations": 499,
            "rotations": 0,
            "formula_length": 1,
            "cards": 4,
        },
        _found,
    ),
)
