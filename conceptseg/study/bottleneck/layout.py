"""The maps of the images, laid out beside the passes in a process of their own."""

import numpy as np

from conceptseg.engine.beside import Beside
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.judge import JUDGED
from conceptseg.study.bottleneck.maps import LEAST
from conceptseg.study.bottleneck.measure import shown_ids

MAPS, SHOWN = Key("maps", Beside), Key("shown", np.ndarray)
"""The process, and which of the judged images [m] the maps show."""


def warm_maps(study: Bottleneck, context: Context, known: Known) -> Known:
    """Starts the process that draws the maps; it warms up while images are measured."""
    seeds = [str(study.seed + number) for number in range(study.map_seeds)]
    enough = len(context.manifest.samples) >= LEAST
    return MAPS(Beside("conceptseg.study.bottleneck.maps", *seeds, warm=enough))


def lay_out_maps(study: Bottleneck, context: Context, known: Known) -> Known:
    """Gives the process the rows of the images that are shown."""
    judged, drawn = known[JUDGED], shown_ids(study, context)
    shown = np.array([i for i, name in enumerate(judged.ids) if name in drawn], dtype=np.int64)
    known[MAPS].give(judged.features["layer"].rows[shown])
    return SHOWN(shown)
