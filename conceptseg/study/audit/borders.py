"""What an image's borders do to each class: of the same content, near to one and far from it."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.stats.crossed import reaching
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import GAPS
from conceptseg.stats.mergeable.sample_table import Tables
from conceptseg.study.audit.case import Case, Measured, Mechanism
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import ContextType
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.shift import PLACED, SHIFTED
from conceptseg.study.shared.studied import sampling_of

BORDERS = {
    (0, 0): "the upper border",
    (0, 1): "the lower border",
    (1, 0): "the left border",
    (1, 1): "the right border",
}
"""By axis and end."""


def placed(study: Audit, context: Context, known: Known) -> list[Measured]:
    """Each class and border, of the images in which there is room to go there and away."""
    found = []
    for c, ids in known[PLACED].items():
        tables = {name: _of_class(known[SHIFTED].tables[name], c) for name in ids}
        for (axis, end), name in BORDERS.items():
            able = {one: own for one, own in tables.items() if own["ends"][:, axis, end].any()}
            if len(able) >= study.min_images:
                border = ContextType(name, "place")
                found.append(_measured(study, context, known, c, border, (axis, end), able))
    return found


def shifts_of(known: Known, case: Case, image: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of an image the shift to a case's border, and one away, that do as those of their kind do."""
    own = _of_class(known[SHIFTED].tables[image], case.class_id)
    (at,) = [at for at, name in BORDERS.items() if name == case.context.name]
    found = []
    for kind in ("ends", "far"):
        rows = np.flatnonzero(own[kind][:, *at])
        iou = own["scores"][rows, 0]
        down, right = own["shift"][rows[np.abs(iou - iou.mean()).argmin()]].tolist()
        found.append((down, right))
    return found[0], found[1]


def _of_class(own: Tables, class_id: int) -> Tables:
    here = own["class"] == class_id
    return {key: values[here] for key, values in own.items() if key != "changed"}


def _measured(
    study: Audit,
    context: Context,
    known: Known,
    class_id: int,
    border: ContextType,
    at: tuple[int, int],
    able: dict[str, Tables],
) -> Measured:
    ids = tuple(able)
    sampling = sampling_of(context, ids, study.unit, (context.seed, 51))
    near = [own["scores"][own["ends"][:, *at]] for own in able.values()]
    off = [own["scores"][own["far"][:, *at]] for own in able.values()]
    means = [np.array([part.mean(0) for part in kind]) for kind in (near, off)]
    changes = means[0][:, 0] - means[1][:, 0]
    change = reaching(
        sampling.mean(changes, within=GAPS),
        (float(means[0][:, 0].mean()), float(means[1][:, 0].mean())),
        (sum(map(len, near)), sum(map(len, off))),
        0.0,
        1.0,
    )
    return Measured(
        class_id,
        context.model.classes[class_id],
        border,
        ids,
        changes,
        sampling,
        change,
        tuple(means[0].mean(0).tolist()),
        tuple(means[1].mean(0).tolist()),
        float(np.mean([own["scores"][0, 0] for own in able.values()])),
        margin=known[MARGIN],
        mechanisms=_padded(able, at, sampling),
    )


def _padded(
    able: dict[str, Tables], at: tuple[int, int], sampling: Sampling
) -> tuple[Mechanism, ...]:
    """What other padding costs at a border beyond what it costs far from it, where it was tried."""
    lost = []
    for own in able.values():
        each = own["scores"][:, 0] - own["padded"].mean(1)
        lost.append(each[own["ends"][:, *at]].mean() - each[own["far"][:, *at]].mean())
    tried = np.isfinite(lost)
    if not tried.any():
        return ()
    beyond = sampling.at(tried).mean(np.array(lost)[tried], within=GAPS)
    what = "other padding of the convolutions"
    return (Mechanism("ablated", what, "", beyond, beyond.value, ()),)
