"""The tables of the result."""

import numpy as np

from conceptseg.result.columns import Column
from conceptseg.result.table import Table
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.deepdream.assess import mean_of
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.survey import Survey
from conceptseg.study.deepdream.travel import WALKS, Travelled

PATH = Column("path", of=lambda one: one.route.name)
FLIPPED = Column("flipped", "share of the region flipped", interval=True, brief="flipped")
PIXEL = Column(
    "pixel", "change, pixel path (SD)", interval=True, brief="pixel path", ends=("low", "high")
)
NATURAL = Column("natural", "classes differ in the data by (SD)")
P_CORRECTED = Column("p_bh", "p corrected", of=lambda cue: cue.test and cue.test.adjusted)
CUES = (
    PATH,
    "descriptor",
    Column("what", "descriptor", of=lambda cue: NAMES[cue.descriptor]),
    Column("conclusion", of="word"),
    PIXEL,
    Column("phase", "change, phase path (SD)", of=lambda cue: cue.change["phase"]),
    Column("smooth", "change, random path (SD)", of=lambda cue: cue.change["smooth"]),
    Column("shuffled", "change, shuffled network (SD)", of=lambda cue: cue.change["shuffled"]),
    NATURAL,
    Column("per_length", "change per length (SD)"),
    Column("reach", "what null paths of this length change (SD)"),
    Column("p", of=lambda cue: cue.test and cue.test.p),
    P_CORRECTED,
    Column("starts", "starts that flip in pixels", of="n"),
    Column("needs", "not testable: needs"),
)
OUTSIDE = (
    PATH,
    Column("share", "change far from the region", interval=True, ends=("low", "high")),
    Column("shuffled", "the same, shuffled network"),
    Column("p", of=lambda one: one.test.p),
    Column("p_holm", "p corrected", of=lambda one: one.test.adjusted),
    Column("starts", of="n"),
)


def paths(survey: Survey, travelled: Travelled) -> Table:
    """One row per kind of path and walk: how often, how soon, and where the image changed."""
    inside, alike = (list(NAMES).index(name) for name in ("change_inside", "similarity"))
    starts = survey.sampling.named(travelled.sample)
    rows = []
    for number, route in enumerate(survey.routes):
        own = travelled.route == number
        for k, walk in enumerate(WALKS):
            last = mean_of(travelled.described[own, k, -1])
            rows.append(
                {
                    "path": route.name,
                    "walk": walk,
                    "starts": int(own.sum()),
                    **FLIPPED.cells(starts.at(own).mean(travelled.flipped[own, k, -1])),
                    "steps": np.median(travelled.ended[own, k]),
                    "length": finite_mean(travelled.length[own, k], 0),
                    "inside": last[inside],
                    "region": travelled.share[own].mean(),
                    "similarity": last[alike],
                }
            )
    labels = {
        **FLIPPED.labels,
        "steps": "steps (median)",
        "length": "length (RMS change)",
        "inside": "change inside the region",
        "region": "region's share of the image",
        "similarity": "structural similarity to the start",
    }
    return Table(rows, labels=labels, caption="Kinds of path, and their null paths")


def curves(survey: Survey, travelled: Travelled, spread: np.ndarray) -> Table:
    """Mean change of each descriptor at each point of each walk, in SD."""
    rows = []
    points = travelled.described.shape[2] - 1
    for number, route in enumerate(survey.routes):
        own = travelled.described[travelled.route == number]
        for k, walk in enumerate(WALKS):
            for point in range(points + 1):
                mean = mean_of((own[:, k, point] - own[:, k, 0]) / spread)
                head = {"path": route.name, "walk": walk, "part": point / points}
                rows.append(head | dict(zip(NAMES, mean.tolist(), strict=True)))
    return Table(rows, caption="Mean change along the paths, in standard deviations")


def starts(survey: Survey, travelled: Travelled) -> Table:
    columns = {
        "path": [survey.routes[number].name for number in travelled.route],
        "sample": travelled.sample,
        "borrowed": travelled.borrowed.tolist(),
        "region": travelled.share,
        "steps": travelled.ended[:, 0].tolist(),
        "step": (travelled.length[:, 0] / np.maximum(travelled.ended[:, 0], 1)).tolist(),
        "flipped": travelled.flipped[:, 0, -1],
        "score_start": travelled.score[:, 0, 0],
        "score_end": travelled.score[:, 0, -1],
    }
    return Table.of_columns(columns, "Every start, on its pixel path")
