"""The steps of a SegNBDT study, in order."""

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Context, Step, Work
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.cost import computed
from conceptseg.study.segnbdt.evidence import Evidence
from conceptseg.study.segnbdt.grown import grow_tree, halves
from conceptseg.study.segnbdt.head import find_last_layer
from conceptseg.study.segnbdt.judge import JUDGED, Judge, join_judgements
from conceptseg.study.segnbdt.names import load_names
from conceptseg.study.segnbdt.removal import assess
from conceptseg.study.segnbdt.survey import Survey
from conceptseg.study.segnbdt.tree import given_tree
from conceptseg.study.segnbdt.tune import parts, tuning_steps
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.user_masks import open_masks

COMPARED = 4


def steps(study: Segnbdt) -> tuple[Step, ...]:
    """A tree is grown, the network is tuned to it if asked, and both are judged on other images."""
    return (
        find_last_layer,
        load_names,
        open_masks,
        Survey(study),
        grow_tree,
        *tuning_steps(study),
        Judge(study),
        join_judgements,
        Evidence(study),
        assess,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Segnbdt, context: Context) -> None:
    """Refuse what no tree can say anything about, and images that are too few to judge it."""
    classes, manifest = context.model.classes, context.manifest
    if context.model.rest is not None:
        raise InputError(
            f"model {context.model.name!r} has independent classes, each a yes or no of its own: "
            "a tree is a decision between classes of which each pixel has one; use a study of "
            "concepts or saliency"
        )
    if len(classes) < 4:
        raise InputError(
            f"model {context.model.name!r} tells {len(classes)} classes apart: a tree over fewer "
            "than four is the network's own decision, or one step from it (and a head of one "
            "channel has no classes to join); use a study of concepts or saliency"
        )
    if (study.hierarchy == "given") != (study.tree is not None):
        raise InputError(
            "hierarchy: given and tree: go together; give both (nested lists of class names) or "
            "neither"
        )
    if study.tree is not None:
        given_tree(study.tree, classes)
    for name in study.data.classes:
        context.model.class_id(name)
    if study.evidence and not context.suiting(study.evidence):
        raise context.nothing_suits("evidence")
    halves(study, context)
    if study.tune != "none":
        if not manifest.any_labelled:
            raise InputError(
                f"tune: {study.tune} needs labels, and no image of {manifest.name} has a mask; "
                "take tune: none"
            )
        parts(study, context)


def work(study: Segnbdt, context: Context, shape: Sequence[int]) -> list[Work]:
    """What grows with classes: of hundreds it takes far longer than the passes."""
    return computed(study, context, shape)


def to_compare(study: Segnbdt, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of the classes that hold most wrong pixels, one each.

    The image is the one in which most of the class's predicted pixels are wrong, or, for a class
    without errors, in which it is predicted most.
    """
    judged, k = known[JUDGED], len(context.model.classes)
    counts = judged.against_reference("network", k)
    predicted = counts.sum(1)
    wrong = predicted - np.einsum("ikk->ik", counts)
    seen = [c for c in range(k) if predicted[:, c].any()]
    seen.sort(key=lambda c: (-wrong[:, c].sum(), -predicted[:, c].sum()))
    images = [np.lexsort((-predicted[:, c], -wrong[:, c]))[0] for c in seen[:COMPARED]]
    return CHOSEN(tuple((judged.ids[i], c) for i, c in zip(images, seen, strict=False)))
