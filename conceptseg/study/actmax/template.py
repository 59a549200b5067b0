"""Second sweep: the mean amplitudes of the data set's images. No network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.spectrum import Spectrum
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.survey import SURVEY
from conceptseg.study.shared.spectrum import Template, colour_mixing, decorrelated, window

SPECTRUM, TEMPLATE = Key("spectrum", Spectrum), Key("template", Template)


@dataclass(frozen=True)
class Amplitudes(Pass):
    """One window of each of at most `spectrum_images` images, in colours that are decorrelated."""

    study: Actmax

    name = "spectrum"
    cost = "a Fourier transform per image, no network"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        limit, seed = self.study.spectrum_images, context.seed
        return context.manifest.select(limit=limit, seed=seed).samples

    def forwards(self, context: Context) -> float:
        return 0.0

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        survey = known[SURVEY]
        mix, side = colour_mixing(survey.covariance), survey.side
        total = Spectrum.empty(len(mix), side, side)
        for sample_id, image in zip(batch.ids, batch.images, strict=True):
            rng = np.random.default_rng(sample_priority(context.seed, f"cut/{sample_id}") % 2**63)
            cut = window(image.double().cpu().numpy(), side, side, rng)
            total = total.merge(Spectrum.of(decorrelated(cut[None], survey.mean, mix)))
        return SPECTRUM(total)


def describe_template(study: Actmax, context: Context, known: Known) -> Known:
    """What the data set's images have in common: colours, and the amplitudes of their waves."""
    survey = known[SURVEY]
    mix = colour_mixing(survey.covariance)
    return TEMPLATE(Template(survey.mean, mix, known[SPECTRUM].amplitude, survey.side))
