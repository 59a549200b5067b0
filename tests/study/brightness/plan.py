"""The steps of a brightness study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.shared.compare import CHOSEN, Compare
from tests.study.brightness.config import Brightness
from tests.study.brightness.measure import MEASURED, Measure, assess


def steps(study: Brightness) -> tuple[Step, ...]:
    """Images are measured, classes are assessed, and local methods stand beside them."""
    return (Measure(), assess, to_compare, Compare(study.compare, picture_px=128))


def check(study: Brightness, context: Context) -> None:
    """Refuse, before the first pass, fewer images than a class has to be in."""
    images = len(context.manifest.samples)
    if images < study.min_images:
        raise InputError(f"min_images: {study.min_images}, but there are {images} images")


def to_compare(study: Brightness, context: Context, known: Known) -> Known:
    """The first image in which a class is predicted, and that class."""
    there = [(name, t["class"]) for name, t in sorted(known[MEASURED].tables.items())]
    return CHOSEN(tuple((name, int(c[0])) for name, c in there if len(c))[:1])
