"""How often the audit calls a class reliant on columns of random values, and finds real stripes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.result.saved import Result
from conceptseg.stats.crossed import Crossed
from conceptseg.stats.estimate import Sampling
from conceptseg.study.audit import null_ablations
from conceptseg.study.audit.assess import cases_of, crossed_with
from conceptseg.study.audit.case import Measured
from conceptseg.study.audit.config import SHOWN, Audit
from conceptseg.study.audit.contexts import ContextType
from conceptseg.study.audit.findings import findings
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.shared.nulls import (
    Bench,
    Claim,
    Power,
    Selftest,
    all_batches,
    any_evidence,
    subset,
)

CLASSES = (3, 9, 5)
IMAGES, DONORS, MARGIN = 16, 28, 6.0
DRAWN, OF_A_KIND, CONTEXTS = 12, 8, 4
"""Images, donors of either kind and contexts of one draw, drawn from those of the bank."""


@dataclass(frozen=True)
class Bank:
    """Of each class `scores` [4, n, m] of n images with m donors, and `before` [n] as they are."""

    study: Audit
    scores: dict[int, np.ndarray]
    before: dict[int, np.ndarray]


def bank(bench: Bench, seed: int) -> Bank:
    """Real swaps: of `biased`, for which donors with brick and without it differ greatly."""
    keys = {"known": False, "context_classes": (), "delta": 1e-6, "donors": OF_A_KIND}
    study, context = bench.ready("audit", keys, network="biased", n=160, seed=2000 + seed)
    assert isinstance(study, Audit)
    images, labels = (
        torch.cat([getattr(one, name) for one in all_batches(context)])
        for name in ("images", "labels")
    )
    scores, before = {}, {}
    for c in CLASSES:
        held = (labels == c).flatten(1).any(1).numpy()
        rows, others = np.flatnonzero(held)[:IMAGES], np.flatnonzero(~held)[:DONORS]
        each = [_swapped(context, images, labels, c, int(row), others) for row in rows]
        scores[c] = np.stack([own[1:].T for own in each], 1)
        before[c] = np.array([own[0, 0] for own in each])
    return Bank(study, scores, before)


def _swapped(
    context: Context,
    images: torch.Tensor,
    labels: torch.Tensor,
    class_id: int,
    row: int,
    donors: np.ndarray,
) -> np.ndarray:
    """`SCORES` [1 + m, 4] of an image as it is, and in the surroundings of each donor."""
    kept = Kept.of(labels[row], class_id, MARGIN, 2.0)
    mixed = [images[row : row + 1], kept.within(images[row : row + 1], images[donors])]
    with torch.no_grad():
        logits = context.model(torch.cat(mixed))
    return kept.scores(logits, labels[row], background(context))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Values of columns are dealt to the donors at random: none can matter; and neither what is
    taken out of the layer nor what is hidden has to do with them."""
    ablations = null_ablations.draws(bench, count, seed)
    made = bank(bench, seed)
    contexts = [ContextType(f"column {q}", "column") for q in range(CONTEXTS)]
    places = list(enumerate(contexts))
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        asked = [_dealt(made, c, q, one, number, rng) for c in CLASSES for q, one in places]
        claimed = any_evidence(findings(cases_of(made.study, contexts, asked, {}, number)))
        yield claimed, *next(ablations)


def _dealt(
    made: Bank,
    class_id: int,
    place: int,
    context: ContextType,
    seed: int,
    rng: np.random.Generator,
) -> Measured:
    scores = made.scores[class_id]
    rows = subset(rng, scores.shape[1], DRAWN)
    donors = rng.permutation(scores.shape[2])[: 2 * OF_A_KIND]
    first = np.arange(2 * OF_A_KIND) < OF_A_KIND
    ids = tuple(f"{row:03d}" for row in rows.tolist())
    names = tuple(f"donor {one:03d}" for one in donors.tolist())
    own = scores[:, rows][:, :, donors]
    sampling = Sampling(ids, ids, "images", (seed, class_id, place))
    crossed = Crossed(own[0], sampling, names, first)
    before = float(made.before[class_id][rows].mean())
    name = f"digit {class_id - 1}"
    return crossed_with(class_id, name, context, ids, crossed, own, before, seed, margin=MARGIN)


def _found(result: Result) -> bool:
    return any(
        row["class"] == "digit 3" and row["verdict"] in SHOWN
        for row in result.tables["verdicts"].rows
    )


SELFTEST = Selftest(
    claims=(
        Claim(
            "a class relies on a context (signs of images and kinds of donors, Holm)",
            "columns whose values are dealt at random to the donors of real swaps; no effect is "
            "too small to count",
            "all classes and contexts of an audit",
        ),
        *null_ablations.CLAIMS,
    ),
    draws=draws,
    seconds=28,
    power=Power(
        "digit 3 relies on the stripes",
        {"context_classes": (), "images": 12, "look_images": 0, "margin": 4, "min_images": 5},
        _found,
    ),
)
