"""How wide a margin has to be: how far around a pixel its own prediction mostly looks."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.draw import drawn, sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.methods import failing
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.survey import HOLDINGS
from conceptseg.study.shared.sweep import One, Sweep

IMAGES, PIXELS = 4, 6
HELD = 2 / 3
"""Part of the gradient that the radius holds."""
LEAST, MOST = 2.0, 1 / 8
"""Of the margin, in pixels and of the shorter side."""
REACHES = Key("reaches", SampleTable)
MARGIN = Key("margin", float)


@dataclass(frozen=True)
class Reach(Sweep):
    """A few pixels' gradients, if the margin is not given."""

    study: Audit

    name = "reach"
    cost = f"{PIXELS} forward and backward passes of {IMAGES} images, unless margin is given"
    rows = REACHES

    def forwards(self, context: Context) -> float:
        return 3.0 * IMAGES * PIXELS if self.study.margin == "auto" else 0.0

    def wanted(self, known: Known) -> Collection[str]:
        # The same whatever the seed: the margin is a property of the network.
        return drawn(0, known[HOLDINGS].ids, IMAGES) if self.study.margin == "auto" else ()

    def look(self, context: Context, one: One, known: Known) -> Tables:
        radii = [radius(context, one, *pixel) for pixel in _pixels(one)]
        return {"radius": np.array(radii), "side": np.array([min(one.size)])}

    def gathered(self, table: SampleTable, known: Known) -> Known:
        if self.study.margin != "auto":
            return MARGIN(float(self.study.margin))
        found = float(np.median(table.column("radius")))
        most = MOST * float(table.column("side").min())
        return MARGIN(float(np.ceil(max(LEAST, min(found, most)))))


def radius(context: Context, one: One, y: int, x: int) -> float:
    """The distance from a pixel within which `HELD` of the absolute gradient of its largest logit
    lies, summed over channels. Raises InputError where there is no gradient."""
    image = one.image.detach().clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            logits = context.model(image)[0, :, y, x]
            (slope,) = torch.autograd.grad(logits.max(), image)
    except Exception as error:
        if (reason := failing(error)) is None:
            raise
        raise InputError(f"margin: auto cannot be measured ({reason}); give it in pixels") from None
    amount = slope.abs().sum((0, 1)).double().cpu().numpy()
    if not amount.any():
        raise InputError(
            "margin: auto cannot be measured, because the network's logits have no slope at the "
            "image; give it in pixels"
        )
    rows, columns = np.indices(amount.shape)
    distance = np.hypot(rows - y, columns - x).ravel()
    order = np.argsort(distance, kind="stable")
    within = np.cumsum(amount.ravel()[order]) / amount.sum()
    return float(distance[order][np.searchsorted(within, HELD)])


def _pixels(one: One) -> list[tuple[int, int]]:
    rng = np.random.default_rng(sample_priority(0, one.id) % 2**63)
    height, width = one.size
    # Not at the rim, beyond which nothing can be looked at.
    rows = rng.integers(height // 8, max(height // 8 + 1, height - height // 8), PIXELS)
    columns = rng.integers(width // 8, max(width // 8 + 1, width - width // 8), PIXELS)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
