"""How often a region is said to turn a class that is any place of the image like all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.counterfactual.assess import EDITED, SAMPLING, SHARES, Rows, assess
from conceptseg.study.counterfactual.conclude import findings
from conceptseg.study.counterfactual.config import ALL, Counterfactual
from conceptseg.study.counterfactual.control import (
    CONTROLS,
    TURNED,
    moved_to,
    placed,
    tabled,
    tried,
)
from conceptseg.study.counterfactual.fit import Fit
from conceptseg.study.counterfactual.posed import WHOLE, Posed
from conceptseg.study.counterfactual.survey import CONTEXT, PLAN, Plan
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, any_evidence, subset
from conceptseg.study.shared.sweep import One

SCENES = {"format": "planted", "context": "with", "digits": [3]}
IMAGES, DRAWN, PLACES = 20, 15, 3
"""Scenes and those of a draw, and places of each."""
REGIONS, ATTRIBUTES = 3, 2
"""What is asked of each draw: regions, and attributes of each."""


@dataclass(frozen=True)
class Bank:
    """Whether edits at each of some places of each scene flip its digit: `flipped` [s, places]."""

    study: Counterfactual
    context: Context
    plan: Plan
    flipped: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    """Places all over the image: those that fall on the tile flip, others do not."""
    keys = {
        "pairs": (("digit 3", "digit 9"),),
        "generator": {"kind": "layers", "attributes": ("exchange",)},
        "images": IMAGES,
        "steps": 1,
        "unit": "image",
    }
    options = {"network": "biased", "scenes": SCENES, "n": IMAGES + 10, "seed": 21_000 + seed}
    study, context = bench.ready("counterfactual", keys, **options)  # type: ignore[arg-type]
    assert isinstance(study, Counterfactual)
    known = bench.known_after(study, context, Fit)
    known |= WHOLE(context.manifest)
    flipped = []
    for name, was, to in known[PLAN].cases:
        pixels = torch.from_numpy(context.manifest.image(context.manifest.sample(name)))[None]
        posed = Posed(study, context, One(name, pixels, None), known, was, to)
        if CONTEXT in posed.subject.regions:
            flipped.append(_anywhere(posed, known))
    return Bank(study, context, known[PLAN], np.array(flipped, float))


def _anywhere(posed: Posed, known: Known) -> list[int]:
    """Whether an exchange flips where the tile was moved to, at each of some places."""
    subject, own = posed.subject, posed.flip.region
    tile = subject.regions[CONTEXT]
    names = [f"place {number}" for number in range(PLACES)]
    moved = {}
    for name in names:
        # Near nothing: all places of the image are alike.
        place = moved_to(tile, ~own, torch.zeros_like(own), f"{posed.key} {name}", tries=1)
        assert place is not None
        moved[name] = place
    whole = replace(
        subject,
        regions=dict.fromkeys(names, tile),
        limits={},
        donors=dict.fromkeys(names, subject.donors[CONTEXT]),
    )
    found = {row["region"]: row["flipped"] for row in tried(posed, placed(whole, moved), known)}
    return [int(str(found[name])) for name in names]


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Of some scenes any place is the region, and any other is elsewhere."""
    made = bank(bench, seed)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = subset(rng, len(made.flipped), DRAWN)
        context = replace(made.context, seed=number)
        shares = assess(made.study, context, _dealt(made, rows, rng, number))[SHARES]
        found = findings(shares, context.model.classes)
        passed = [one.test is not None and one.test.passed for one in shares]
        single = [ok for one, ok in zip(shares, passed, strict=True) if one.attribute != ALL]
        yield any_evidence(found), any(single)


def _dealt(made: Bank, rows: np.ndarray, rng: np.random.Generator, seed: int) -> Known:
    cases = [made.plan.cases[i] for i in rows.tolist()]
    (was, to), ids = cases[0][1:], [name for name, *_ in cases]
    columns, controls = list[tuple[str, str, str, int]](), SampleTable.empty()
    for row, name in zip(rows.tolist(), ids, strict=True):
        own = []
        for k in range(REGIONS * ATTRIBUTES):
            here, there = made.flipped[row, rng.permutation(PLACES)[:2]].tolist()
            labels = {"region": f"region {k % REGIONS}", "attribute": f"attribute {k // REGIONS}"}
            columns.append((name, *labels.values(), int(here)))
            own.append({"was": was, "to": to, **labels, "flipped": int(there)})
        controls = controls.merge(SampleTable.of(name, tabled(own)))
    owner, region, attribute, flips = (np.array(one) for one in zip(*columns, strict=True))
    ones, none = np.ones(len(flips)), np.full(len(flips), np.nan)
    found = {
        **{"was": was * ones, "to": to * ones, "region": region, "attribute": attribute},
        **{"groups": ones, "own": 0 * ones, "flipped": flips, "eight": flips, "held": 1.0 * flips},
        **{"size": ones, "by_chance": none, "plausible": none, "second": none},
    }
    turned = sorted({(was, to, str(one)) for one in region[flips == 1].tolist()})
    return (
        EDITED(Rows(tuple(owner.tolist()), 0 * ones, found))
        | PLAN(replace(made.plan, cases=tuple(cases)))
        | SAMPLING(Sampling(tuple(ids), tuple(ids), "images", seed, 40))
        | CONTROLS(controls)
        | TURNED(tuple(turned))
    )


def _found(result: Result) -> bool:
    """Whether what lies around digit 3 is said to turn it."""
    return any(
        one.class_ == "digit 3" and not one.details["own"] and one.standing == "evidence"
        for one in result.findings
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a region's edits turn a class, beyond those of as much elsewhere (signs of images, "
            "Holm)",
            "the known context, moved to two places of real scenes at random: the one is "
            "the region, the other is elsewhere",
            "all regions of a run",
        ),
        Claim(
            "the same by one attribute of a region",
            "the same",
            "all attributes of all regions of a run",
        ),
    ),
    draws=draws,
    seconds=25,
    power=Power(
        "what lies around digit 3 turns it",
        {
            "generator": {"kind": "layers", "attributes": ["exchange"]},
            "images": 8,
            "steps": 2,
            "regions": 2,
            "together": 0,
        },
        _found,
        classes=("digit 3",),
        scenes=60,
    ),
)
