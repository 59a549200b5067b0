"""The steps of a noise study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.noise.assess import assess
from conceptseg.study.noise.choose import DRAWN, Choose, draw
from conceptseg.study.noise.config import NoiseStudy
from conceptseg.study.noise.curves import Judge
from conceptseg.study.noise.fit import noise_of, parts
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 3


def steps(study: NoiseStudy) -> tuple[Step, ...]:
    """Images are dealt out, the noise network is fitted to some and judged on the others."""
    return (
        Choose(study),
        draw,
        *parts(study),
        Judge(study),
        assess,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: NoiseStudy, context: Context) -> None:
    """Refuse noise whose least is its most, and data of one group, which cannot do both."""
    try:
        noise_of(study)
    except InputError as error:
        raise InputError(f"low, high: {error}") from None
    if len(set(context.manifest.groups)) < 2:
        raise InputError(
            f"{context.manifest.where}: all {len(context.manifest.samples)} images are of one "
            "group, and some have to judge what others fit; give images of more groups, or a "
            "manifest without `group` if images are independent"
        )


def to_compare(study: NoiseStudy, context: Context, known: Known) -> Known:
    """The first images that judge."""
    return CHOSEN(known[DRAWN].judged[:COMPARED])
