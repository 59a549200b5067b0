"""The result of a deepdream study: findings in words, tables, arrays and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg import local_maps
from conceptseg.compare import Comparison
from conceptseg.contracts import Carry, Context
from conceptseg.deepdream.assess import ALPHA, FAR, Cue, Outside, cues, mean_of, outside, spread_of
from conceptseg.deepdream.descriptors import NAMES
from conceptseg.deepdream.survey import Found
from conceptseg.deepdream.travel import WALKS, Travelled
from conceptseg.result import Finding, Result, Table, ranked, safe_key
from conceptseg.significance import bootstrap_interval, holm

if TYPE_CHECKING:
    from conceptseg.study.deepdream import DeepDream

COMPARED = 4
CLAIMED = ("as in the data", "against the data", "absent in the data", "not known in the data")


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: one with each target class, where there is one."""
    found: Found = carry["found"]
    classes = dict.fromkeys(route.target for route in found.routes)
    chosen = [(found.holders[c][0], c) for c in classes if found.holders.get(c)]
    return chosen[:COMPARED]


def conclude(study: DeepDream, context: Context, carry: Carry) -> Result:
    found: Found = carry["found"]
    travelled: Travelled = carry["travelled"]
    comparison: Comparison = carry["comparison"]
    classes = context.model.classes
    told = cues(study, found, travelled, context.seed)
    elsewhere = outside(found, travelled, context.seed)
    images, strips = _strips(found, travelled, classes)
    images |= local_maps.pictures(comparison)
    tables = {
        "paths": _paths(found, travelled, classes, context.seed),
        "cues": _cues(told, classes),
        "outside": _outside(elsewhere, classes),
        "curves": _curves(found, travelled, classes),
        "starts": _starts(found, travelled, classes),
        "strips": Table(strips, caption="Pictures along some paths"),
        "saliency": local_maps.table(comparison, classes),
    }
    return Result(
        study="deepdream",
        findings=ranked([*_findings(told, classes), *_context(elsewhere, classes)]),
        tables=tables,
        arrays={
            "described": travelled.described.astype(np.float32),
            "score": travelled.score.astype(np.float32),
            "flipped": travelled.flipped.astype(np.float32),
            "length": travelled.length.astype(np.float32),
            "spread": spread_of(found, travelled).astype(np.float32),
        },
        images=images,
        skipped=[{"kind": "path", **one} for one in found.skipped],
        notes={
            "model": context.model.name,
            "origin": context.model.origin,
            "manifest": context.manifest.name,
            "images": len(context.manifest.samples),
            "starts": len(travelled.sample),
            "routes": [route.name(classes) for route in found.routes],
            "steps": study.steps,
            "step": study.step,
            "flip": study.flip,
            "points": study.points,
            "smallest": study.smallest,
            "unit": found.unit,
            "methods": list(comparison.methods),
            "borrowed": int(travelled.borrowed.sum()),
            "flip_pixel": int((travelled.flipped[:, 0, -1] >= study.flip - 1e-9).sum()),
            "flip_phase": int((travelled.flipped[:, 1, -1] >= study.flip - 1e-9).sum()),
        },
    )


def _paths(found: Found, travelled: Travelled, classes: tuple[str, ...], seed: int) -> Table:
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


def _cues(told: Sequence[Cue], classes: tuple[str, ...]) -> Table:
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


def _curves(found: Found, travelled: Travelled, classes: tuple[str, ...]) -> Table:
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


def _starts(found: Found, travelled: Travelled, classes: tuple[str, ...]) -> Table:
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


def _strips(
    found: Found, travelled: Travelled, classes: tuple[str, ...]
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    images: dict[str, bytes] = {}
    rows = []
    for (start, walk), parts in sorted(travelled.strips.items()):
        keys = []
        for point, data in enumerate(parts):
            keys.append(safe_key(f"start-{start}-{walk}-{point}"))
            images[keys[-1]] = data
        rows.append(
            {
                "path": found.routes[int(travelled.route[start])].name(classes),
                "sample": travelled.sample[start],
                "walk": walk,
                "pictures": keys,
                "outline": travelled.outlines[start],
                "flipped": travelled.flipped[start, WALKS.index(walk), -1],
                "borrowed": bool(travelled.borrowed[start]),
            }
        )
    return images, rows


def _findings(told: Sequence[Cue], classes: tuple[str, ...]) -> list[Finding]:
    result = []
    for cue in told:
        if cue.word not in CLAIMED:
            continue
        change = cue.change["pixel"]
        verb = "raise" if change > 0 else "lower"
        claim = (
            f"Where {cue.route.name(classes)}, paths {verb} the {NAMES[cue.descriptor]} by "
            f"{abs(change):.2f} standard deviations ({abs(cue.change['phase']):.2f} in phases), "
            f"random paths change it by {cue.change['smooth']:+.2f}, "
        )
        if cue.word == "as in the data":
            claim += f"and so do the classes in the data ({cue.natural:+.2f})."
        elif cue.word == "against the data":
            claim += f"while in the data the classes differ the other way ({cue.natural:+.2f})."
        elif cue.word == "absent in the data":
            claim += "though in the data the classes hardly differ in it."
        else:
            claim += "and the data hold nothing to compare with."
        result.append(
            Finding(
                claim=claim,
                class_=classes[cue.route.target],
                effect=change,
                ci=cue.interval,
                p=cue.p,
                p_adjusted=cue.p_bh,
                n=cue.n,  # starts that flip
                evidence="cues",
                details={
                    "effect_name": "change on the pixel path (SD)",
                    "descriptor": cue.descriptor,
                    "conclusion": cue.word,
                    "path": cue.route.name(classes),
                },
            )
        )
    return result


def _outside(rows: Sequence[Outside], classes: tuple[str, ...]) -> Table:
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


def _context(rows: Sequence[Outside], classes: tuple[str, ...]) -> list[Finding]:
    """Paths that change the surroundings rather than the region."""
    result = []
    corrected = holm([one.p for one in rows]).tolist()
    for one, p in zip(rows, corrected, strict=True):
        if p > ALPHA or one.interval[0] <= FAR:
            continue
        result.append(
            Finding(
                claim=f"Where {one.route.name(classes)}, {one.share:.0%} of the change lies "
                f"far from the region whose class is to change (with the network's weights "
                f"shuffled, {one.shuffled:.0%}): its surroundings matter.",
                class_=classes[one.route.target],
                effect=one.share,
                ci=one.interval,
                p=one.p,
                p_adjusted=float(p),
                n=one.n,
                evidence="paths",
                details={
                    "effect_name": "share of the change far from the region",
                    "path": one.route.name(classes),
                },
            )
        )
    return result
