"""Passes 2 to n: the noise network, fitted some steps at a time, so that little is ever lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch

from conceptseg.data.batch import Batch, batches
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import laid_out
from conceptseg.explain.fitted import Fitted
from conceptseg.explain.noise import generator
from conceptseg.explain.noise_model import (
    Begun,
    Draw,
    Noise,
    NoiseNet,
    Part,
    advance,
    begun,
    fitted,
    fresh,
)
from conceptseg.study.noise.choose import DRAWN, Drawn
from conceptseg.study.noise.config import NoiseStudy

EACH = 50
"""Steps of a pass: what a run that is broken off has to do again at most."""
FITTED = Key("noise fitted", Begun)


def noise_of(study: NoiseStudy) -> Noise:
    """How the noise is fitted."""
    return Noise(study.low, study.high, study.price, study.smooth, study.edge)


def pair(study: NoiseStudy, seed: int, step: int, drawn: Drawn) -> list[tuple[str, int]]:
    """The images of a step with the map of each: classes take turns by lot, then their images."""
    source, found = generator(seed, "images", step), list[tuple[str, int]]()
    for _ in range(study.batch):
        m = int(torch.randint(len(drawn.classes), (1,), generator=source))
        found.append(
            (drawn.fit[m][int(torch.randint(len(drawn.fit[m]), (1,), generator=source))], m)
        )
    return found


@dataclass(frozen=True)
class Fit(Pass):
    """Some steps of the fit. It reads its images itself, in the order of the steps."""

    study: NoiseStudy
    part: int
    name: str

    cost = "2 forwards and 2 backwards for each image of a step"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return ()

    def forwards(self, context: Context) -> float:
        return 4.0 * self.study.batch * (self.until - self.part * EACH)

    @property
    def until(self) -> int:
        return min(self.study.steps, (self.part + 1) * EACH)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        return Known()

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        study, drawn = self.study, known[DRAWN]
        net = blank(study, context, drawn)
        at = begun(net) if self.part == 0 else known[FITTED]
        options = {"steps": study.steps, "until": self.until, "rate": study.rate}
        reading = self._reading(context, drawn)
        return FITTED(
            advance(net, context.model, reading, noise_of(study), at, seed=context.seed, **options)  # type: ignore[arg-type]
        )

    def _reading(self, context: Context, drawn: Drawn) -> Draw:
        def read(step: int) -> list[Part]:
            pairs = pair(self.study, context.seed, step, drawn)
            samples = [context.manifest.sample(name) for name, _ in pairs]
            parts, first, size = list[Part](), 0, len(pairs)
            for one in batches(context.manifest, samples, size, context.run.device):
                own = [m for _, m in pairs[first : first + len(one)]]
                first += len(one)
                of = [drawn.classes[m] for m in own]
                parts.append(Part(laid_out(one.images, context.run), own, of))
            return parts

        return read


def blank(study: NoiseStudy, context: Context, drawn: Drawn) -> NoiseNet:
    """The network before the fit, on the run's device."""
    image = torch.from_numpy(context.manifest.image(context.manifest.sample(drawn.fit[0][0])))
    like = image[None].to(context.run.device)
    return fresh(context.model, like, len(drawn.classes), context.seed)


def parts(study: NoiseStudy) -> tuple[Fit, ...]:
    """All passes of the fit."""
    count = ceil(study.steps / EACH)
    return tuple(Fit(study, n, f"fit {n + 1} of {count}") for n in range(count))


def result_of(study: NoiseStudy, context: Context, known: Known) -> Fitted:
    """What was fitted, bound to the network."""
    drawn = known[DRAWN]
    images = len({name for own in drawn.fit for name in own})
    weights = known[FITTED].weights
    return fitted(context.model, weights, drawn.classes, noise_of(study), images)
