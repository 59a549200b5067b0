"""Where the contexts lie in the images of a batch."""

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.found import FOUND
from conceptseg.study.shared.user_masks import MASKS

Place = np.ndarray | None


def places(context: Context, batch: Batch, known: Known) -> list[list[Place]]:
    """For each image of a batch with labels and each context where it lies, bool [h, w]; None of
    one that is not located, and where it is not known."""
    assert batch.labels is not None
    masks = {mask.name: mask for mask in known[MASKS]}
    shown = [found.shown(context, batch.images) for found in known[FOUND]]
    concepts = [one.name for one in known[CONTEXTS] if one.kind == "concept"]
    found: list[list[Place]] = []
    for i, labels in enumerate(batch.labels.cpu().numpy()):
        sample = context.manifest.sample(batch.ids[i])
        own: list[Place] = []
        for one in known[CONTEXTS]:
            place: Place = None
            if one.kind == "label":
                place = labels == one.class_id
            elif one.kind == "mask":
                place = masks[one.name].read(sample.id, (labels.shape[0], labels.shape[1]))
            elif one.kind == "concept":
                place = shown[0][i, concepts.index(one.name)]
            elif one.kind == "known":
                drawn = context.manifest.context(sample)
                place = np.zeros(labels.shape, bool) if drawn is None else drawn
            own.append(place if place is None else np.asarray(place, bool))
        found.append(own)
    return found
