"""The steps of a saliency study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import configured
from conceptseg.result.verdict import listed
from conceptseg.study.saliency.attack import Attack, join_attacks
from conceptseg.study.saliency.brush import Brushes
from conceptseg.study.saliency.choose import Choose, draw_cases
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.judge import Judge, find_dear, join_cases, parse_metrics, too_dear
from conceptseg.study.saliency.standing import assess
from conceptseg.study.shared.compare import passes_of


def steps(study: Saliency) -> tuple[Step, ...]:
    """Cases are drawn and explained by every method, and every metric judges each map."""
    judged = (Choose(study), draw_cases, find_dear, Judge(study), join_cases, assess)
    brushed = (Brushes(study),) if study.brushed else ()
    attacked = (Attack(study), join_attacks) if study.attack_steps else ()
    return (*judged, *brushed, *attacked)


DEAREST = 3


def remarks(study: Saliency, context: Context) -> list[tuple[str, str]]:
    """Where most of the passes go, and which metrics are left out because they would take more."""
    each = passes_of(context, study.local_methods())
    top = sorted(each, key=lambda label: -each[label])[:DEAREST]
    named = ", ".join(f"{label} {each[label]:.0f}" for label in top)
    text = (
        f"about {sum(each.values()):.0f} for a map of each method, of these {named}; name fewer or "
        "cheaper ones by compare"
    )
    told, dear = [("passes", text)], too_dear(study, each)
    for metric in parse_metrics(study.measures()):
        methods = [label for label, name in dear if name == metric]
        if methods:
            why = f"of {listed(methods)}: its further maps take more than again_passes"
            told.append(("left out", f"{metric} {why}: {study.again_passes}"))
    return told


def check(study: Saliency, context: Context) -> None:
    """Refuse a region that needs labels where there are none, maps that do not fit, and methods of
    which none suits the network."""
    if study.attack_steps and not study.gallery:
        raise InputError("attack_steps: the gallery's cases are attacked, and gallery is 0")
    manifest, region = context.manifest, configured(study.target, 0).where
    if region.needs_labels and not manifest.any_labelled:
        raise InputError(
            f"target.region: {study.target.region!r} needs labels, and none of the "
            f"{len(manifest.samples)} images of {manifest.name} has a mask; take 'predicted'"
        )
    if not context.suiting(study.local_methods()):
        raise context.nothing_suits("compare")
    image = first_images(manifest, context.run)
    Scene(context.model, image, memory_gib=study.memory_gib).check_room(1)
