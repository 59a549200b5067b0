"""How often pictures that have nothing to do with a unit are called like its real images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.embeddings import SPACES, observe, pooled
from conceptseg.study.actmax.exemplars import REAL, Exemplars
from conceptseg.study.actmax.findings import findings
from conceptseg.study.actmax.judge import JUDGED, assess
from conceptseg.study.actmax.optimise import MADE, Optimise, name_carriers
from conceptseg.study.actmax.survey import SURVEY
from conceptseg.study.actmax.template import Amplitudes, describe_template
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, all_batches

UNITS, COMPARED, IMAGES, EXEMPLARS, STRANGERS = 4, 128, 160, 8, 64


@dataclass(frozen=True)
class Bank:
    """The units' real images, as the study's own passes find them, and what fresh scenes are in the
    spaces of likeness, `strangers` [s, d] of each."""

    study: Actmax
    context: Context
    known: Known
    strangers: dict[str, np.ndarray]


def bank(bench: Bench, seed: int) -> Bank:
    keys = {"most": UNITS, "compared": COMPARED, "exemplars": EXEMPLARS}
    study, context = bench.ready("actmax", keys, n=IMAGES, seed=6000 + seed)
    assert isinstance(study, Actmax)
    dear = (Amplitudes, describe_template, name_carriers, Optimise)
    known = bench.known_after(study, context, Exemplars, but=dear)
    _, fresh = bench.ready("actmax", keys, n=STRANGERS, seed=6500 + seed)
    parts: dict[str, list[np.ndarray]] = {}
    for batch in all_batches(fresh):
        with torch.no_grad():
            seen = observe(known[SPACES], context, known[SURVEY].pool, batch.images)
        nowhere = torch.zeros(len(batch), 1, 1)
        for name in known[REAL].embeddings:
            parts.setdefault(name, []).append(pooled(seen[name], nowhere))
    strangers = {name: np.concatenate(each) for name, each in parts.items()}
    return Bank(study, context, known, strangers)


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Which unit is which is dealt anew, and each unit's picture is any fresh scene."""
    made = bank(bench, seed)
    survey, real = made.known[SURVEY], made.known[REAL]
    units = len(survey.pool.ids)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(units)
        feature = np.argsort(order)[real.feature]
        picked = rng.permutation(STRANGERS)[:UNITS]
        dealt = replace(
            survey,
            rows=survey.rows[order],
            names=tuple(f"unit {place}" for place in range(UNITS)),
        )
        pictures = {
            "feature": np.arange(UNITS),
            "before": np.zeros(UNITS),
            "after": np.ones(UNITS),
            **{name: rows[picked] for name, rows in made.strangers.items()},
        }
        known = SURVEY(dealt) | MADE(pictures)
        known |= REAL(replace(real, feature=feature))
        judged = assess(made.study, made.context, known)[JUDGED]
        found = findings(made.study, dealt, judged, [""] * UNITS, number)
        claimed = {one.evidence for one in found if one.standing == "evidence"}
        yield bool(claimed - {"likeness"}), "likeness" in claimed


SELFTEST = Selftest(
    claims=(
        Claim(
            "a picture is representative of its unit (rank among units, Benjamini-Hochberg)",
            "pictures are scenes that no unit chose, dealt to the units at random",
            "all pictures of a run",
        ),
        Claim(
            "pictures resemble their units' images (signs of units)",
            "the same",
            "the one claim of a run",
        ),
    ),
    draws=draws,
    seconds=7,
    power="it says what pictures may be read as, and nothing of context",
)
