"""Second sweep: the mean amplitudes of the data set's images. No network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.stats.mergeable.spectrum import Spectrum
from conceptseg.study.actmax.survey import Survey
from conceptseg.study.shared.spectrum import Template, colour_mixing, decorrelated, window

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.actmax.config import Actmax


@dataclass(frozen=True)
class Amplitudes(Pass):
    """One window of each of at most `spectrum_images` images, in colours that are decorrelated."""

    study: Actmax

    name = "spectrum"
    cost = "a Fourier transform per image, no network"
    labels = "none"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        ranked = sorted(
            context.manifest.samples, key=lambda s: (sample_priority(context.seed, s.id), s.id)
        )
        chosen = {sample.id for sample in ranked[: self.study.spectrum_images]}
        return [sample for sample in context.manifest.samples if sample.id in chosen]

    def forwards(self, context: Context) -> float:
        return 0.0

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        found: Survey = carry["survey"]
        mix, side = colour_mixing(found.covariance), found.side
        total = Spectrum.empty(len(mix), side, side)
        for sample_id, image in zip(batch.ids, batch.images, strict=True):
            rng = np.random.default_rng(sample_priority(context.seed, f"cut/{sample_id}") % 2**63)
            cut = window(image.double().cpu().numpy(), side, side, rng)
            total = total.merge(Spectrum.of(decorrelated(cut[None], found.mean, mix)))
        return {"spectrum": total}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        found: Survey = carry["survey"]
        spectrum = state["spectrum"]
        assert isinstance(spectrum, Spectrum)
        mix = colour_mixing(found.covariance)
        return {"template": Template(found.mean, mix, spectrum.amplitude, found.side)}
