"""The steps of the study, in order."""

from collections.abc import Sequence

from conceptseg.engine.contract import Context, Step, Work
from conceptseg.engine.known import Known
from conceptseg.network.preprocess import input_size
from conceptseg.study.dissect.ablate import ABLATIONS, Ablate, judge_losses
from conceptseg.study.dissect.chosen_sources import UNLEARNT, sources
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.cost import computed
from conceptseg.study.dissect.detect import DETECTION, detect
from conceptseg.study.dissect.mistaken import SeenConcepts
from conceptseg.study.dissect.pictures import Pictures
from conceptseg.study.dissect.pilot import TESTS, Pilot, make_plan, open_sources
from conceptseg.study.dissect.published import Published, check_sizes, count_published, find_levels
from conceptseg.study.dissect.remaining import read_what_remains
from conceptseg.study.dissect.tally import Tally
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.mistaken import mistake_steps
from conceptseg.study.shared.verdicts import unreachable


def steps(study: Dissect) -> tuple[Step, ...]:
    """Values are counted with concepts, units get theirs, and are then ablated."""
    published = (find_levels, Published(study), count_published) if study.published else ()
    return (
        Pilot(study),
        make_plan,
        open_sources,
        Tally(study),
        detect,
        read_what_remains,
        *published,
        Ablate(study),
        judge_losses,
        *mistake_steps(SeenConcepts.of(study)),
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Dissect, context: Context) -> None:
    """Refuse concepts that the data do not hold, and images that a published rule cannot take."""
    sources(study, context, UNLEARNT)
    if "bioexp" in study.published:
        manifest, entry = context.manifest, context.model.preprocessing
        check_sizes({input_size(manifest.size(sample), entry) for sample in manifest.samples})


def remarks(study: Dissect, context: Context) -> list[tuple[str, str]]:
    """Whether there are images or groups enough for any use to be shown."""
    ids, groups = context.manifest.ids, context.manifest.groups
    return [("tests", one) for one in unreachable(ids, groups, study.unit, TESTS)]


def work(study: Dissect, context: Context, shape: Sequence[int]) -> list[Work]:
    """What grows with classes: of 150 it takes longer than passes of a small network."""
    return computed(study, context, shape)


COMPARED = 4


def to_compare(study: Dissect, context: Context, known: Known) -> Known:
    """Images for the local saliency maps, one for each class that uses some concept's units most.

    It is an image that holds the class, one on which that concept's best unit is highest if there
    is one; classes that use nothing follow.
    """
    detection, ablations = known[DETECTION], known[ABLATIONS]
    held = detection.held.classes
    background = context.manifest.background
    chosen: dict[int, str] = {}
    for loss in sorted(
        ablations.concept_losses, key=lambda loss: (loss.change.value, loss.class_id)
    ):
        if loss.used and loss.class_id not in chosen:
            best = int(detection.best_units(ablations.concepts[loss.edit][0], 1)[0])
            own = [name for name, classes in held.items() if loss.class_id in classes]
            high = [name for name, _ in detection.exemplars(best) if name in own]
            if own:
                chosen[loss.class_id] = (high or sorted(own))[0]
    for name in sorted(held):
        for class_id in sorted(held[name]):
            if context.model.classes[class_id] != background:
                chosen.setdefault(class_id, name)
    return CHOSEN(tuple((name, class_id) for class_id, name in chosen.items())[:COMPARED])
