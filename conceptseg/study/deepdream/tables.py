"""The tables of the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.result.table import Table
from conceptseg.stats.corrections import holm
from conceptseg.stats.intervals import bootstrap_interval
from conceptseg.study.deepdream.assess import Cue, Outside, mean_of, spread_of
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.survey import Found
from conceptseg.study.deepdream.travel import WALKS, Travelled


def path_table(found: Found, travelled: Travelled, classes: tuple[str, ...], seed: int) -> Table:
    """One row per kind of path and walk: how often, how soon, and where the image changed."""
    inside = list(NAMES).index("change_inside")
    alike = list(NAMES).index("similarity")
    rows = []
    for number, route in enumerate(found.routes):
        own = travelled.route == number
        members = [found.member[travelled.sample[i]] for i in np.flatnonzero(own)]
        for k, walk in enumerate(WALKS):
            reached = travelled.flipped[own, k, -1]
            low, high = bootstrap_interval(reached, members, seed=seed)
            last = mean_of(travelled.described[own, k, -1])
            rows.append(
                {
                    "path": route.name(classes),
                    "walk": walk,
                    "starts": int(own.sum()),
                    "flipped": reached.mean(),
                    "flipped_low": low,
                    "flipped_high": high,
                    "steps": np.median(travelled.ended[own, k]),
                    "length": travelled.length[own, k].mean(),
                    "inside": last[inside],
                    "region": travelled.share[own].mean(),
                    "similarity": last[alike],
                }
            )
    labels = {
        "flipped": "share of the region flipped",
        "flipped_low": "low",
        "flipped_high": "high",
        "steps": "steps (median)",
        "length": "length (RMS change)",
        "inside": "change inside the region",
        "region": "region's share of the image",
        "similarity": "structural similarity to the start",
    }
    return Table(rows, labels=labels, caption="Kinds of path, and their null paths")


def cue_table(told: Sequence[Cue], classes: tuple[str, ...]) -> Table:
    rows = [
        {
            "path": cue.route.name(classes),
            "descriptor": cue.descriptor,
            "what": NAMES[cue.descriptor],
            "conclusion": cue.word,
            **{walk: cue.change[walk] for walk in WALKS},
            "low": cue.interval[0],
            "high": cue.interval[1],
            "natural": cue.natural,
            "per_length": cue.per_length,
            "reach": cue.reach,
            "p": cue.p,
            "p_bh": cue.p_bh,
            "starts": cue.n,
        }
        for cue in told
    ]
    labels = {
        "what": "descriptor",
        "pixel": "change, pixel path (SD)",
        "phase": "change, phase path (SD)",
        "smooth": "change, random path (SD)",
        "shuffled": "change, shuffled network (SD)",
        "natural": "classes differ in the data by (SD)",
        "per_length": "change per length (SD)",
        "reach": "what null paths of this length change (SD)",
        "starts": "starts that flip in pixels",
        "p_bh": "p BH",
    }
    return Table(rows, labels=labels, caption="Every descriptor on every kind of path")


def curve_table(found: Found, travelled: Travelled, classes: tuple[str, ...]) -> Table:
    """Mean change of each descriptor at each point of each walk, in SD."""
    rows = []
    spread = spread_of(found, travelled)
    points = travelled.described.shape[2] - 1
    for number, route in enumerate(found.routes):
        own = travelled.described[travelled.route == number]
        for k, walk in enumerate(WALKS):
            for point in range(points + 1):
                change = (own[:, k, point] - own[:, k, 0]) / spread
                mean = mean_of(change)
                head = {"path": route.name(classes), "walk": walk, "part": point / points}
                rows.append(head | dict(zip(NAMES, mean.tolist(), strict=True)))
    return Table(rows, caption="Mean change along the paths, in standard deviations")


def start_table(found: Found, travelled: Travelled, classes: tuple[str, ...]) -> Table:
    rows = [
        {
            "path": found.routes[number].name(classes),
            "sample": sample_id,
            "borrowed": bool(travelled.borrowed[i]),
            "region": travelled.share[i],
            "steps": int(travelled.ended[i, 0]),
            "flipped": travelled.flipped[i, 0, -1],
            "score_start": travelled.score[i, 0, 0],
            "score_end": travelled.score[i, 0, -1],
        }
        for i, (number, sample_id) in enumerate(
            zip(travelled.route.tolist(), travelled.sample, strict=True)
        )
    ]
    return Table(rows, caption="Every start, on its pixel path")


def outside_table(rows: Sequence[Outside], classes: tuple[str, ...]) -> Table:
    corrected = holm([one.p for one in rows]).tolist()
    labels = {
        "share": "change far from the region",
        "shuffled": "the same, shuffled network",
        "p_holm": "p Holm",
    }
    return Table(
        [
            {
                "path": one.route.name(classes),
                "share": one.share,
                "low": one.interval[0],
                "high": one.interval[1],
                "shuffled": one.shuffled,
                "p": one.p,
                "p_holm": float(p),
                "starts": one.n,
            }
            for one, p in zip(rows, corrected, strict=True)
        ],
        labels=labels,
        caption="How much of the pixel paths' change lies outside the region and its ring",
    )
