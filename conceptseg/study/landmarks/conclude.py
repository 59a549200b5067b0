"""The result of a landmarks study: findings in words, tables, arrays and pictures."""

from collections.abc import Sequence

import numpy as np

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.landmarks.assess import EVERY, FOLLOWED, LISTED, TIED, Followed, Listed
from conceptseg.study.landmarks.config import KINDS, Landmarks
from conceptseg.study.landmarks.look import DRAWN, radii
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

ALONG = Column("anisotropy", "anisotropy, octaves", interval=True)
NEAR = Column("near", "share near the landmark", interval=True)
TIED_ALONG = Column("with anisotropy", "thickness with anisotropy", interval=True)
TIED_NEAR = Column("with near", "thickness with the share near", interval=True)


def conclude(study: Landmarks, context: Context, known: Known) -> Result:
    marks, followed, comparison = known[LISTED], known[FOLLOWED], known[COMPARISON]
    classes, drawn = context.model.classes, known[DRAWN]
    ids = list(dict.fromkeys(marks.ids))
    group = dict(zip(marks.ids, marks.sampling.groups, strict=True))
    keys = {place: f"landmark-{number}" for number, place in enumerate(drawn)}
    return Result(
        study="landmarks",
        findings=ranked(findings(followed, classes)),
        tables={
            "followed": followed_table(followed, classes),
            "reaches": reach_table(study, followed, classes),
            "tied": tied_table(known, classes),
            "shown": shown_table(marks, keys, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "class": marks.class_id.astype(np.int32),
            "kind": marks.kind.astype(np.int32),
            "place": marks.place.astype(np.int32),
            "thickness": marks.thickness.astype(np.float32),
            "anisotropy": marks.anisotropy.astype(np.float32),
            "turned": marks.share.astype(np.float32),
            "reaches": marks.reaches.astype(np.float32),
        },
        images={keys[place]: data for place, data in drawn.items()}
        | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "no landmark that is kept (images, thickest)"),
        notes=studied.notes(
            context,
            ids,
            [group[name] for name in ids],
            marks.sampling.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            classes=[classes[c] for c in np.unique(marks.class_id).tolist()],
            landmarks=len(marks.ids),
            method=choice_labels((study.method,))[0],
            **study.model_dump(
                include={"regions", "reach", "window_px", "margin_px", "turns", "thickest"}
            ),
        ),
    )


def findings(followed: Sequence[Followed], classes: Sequence[str]) -> list[Finding]:
    """Of each class, whether attribution follows the structure or shuns it; kinds are in tables."""
    found = []
    for one in followed:
        if one.kind is not None or not one.test.testable:
            continue
        name, times = classes[one.class_id], 2**one.along.value
        how = "follows" if one.along.value > 0 else "keeps off"
        said = f"Around landmarks of {name}, attribution {how} the structure"
        if not one.test.passed:
            said = f"Around landmarks of {name}, attribution was not shown to follow the structure"
        found.append(
            Finding.about(
                f"{said}: it holds {times:.2f} times what the same pixels hold when turned.",
                one.along,
                one.test,
                class_name=name,
                evidence="anisotropy",
                effect_name="log2 of attribution on the structure over that when turned",
                landmarks=one.landmarks,
            )
        )
    return found


def followed_table(followed: Sequence[Followed], classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            "kind": EVERY if one.kind is None else KINDS[one.kind],
            "landmarks": one.landmarks,
            **ALONG.cells(one.along),
            "p_adjusted": one.test.adjusted,
            **NEAR.cells(one.reaches[1]),
            "thickness": one.thickness,
        }
        for one in followed
    ]
    labels = {**ALONG.labels, **NEAR.labels, "p_adjusted": "p adjusted"}
    labels["thickness"] = "median thickness, px"
    return Table(rows, labels=labels, caption="Whether attribution follows the structure")


def reach_table(study: Landmarks, followed: Sequence[Followed], classes: Sequence[str]) -> Table:
    rows = [
        {
            "distance": float(distance),
            **{classes[one.class_id]: one.reaches[r].value for one in followed if one.kind is None},
        }
        for r, distance in enumerate(radii(study))
    ]
    names = {classes[one.class_id]: classes[one.class_id] for one in followed}
    return Table(rows, labels={"distance": "distance, px", **names}, caption="Share within so far")


def tied_table(known: Known, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            **TIED_ALONG.cells(one.anisotropy),
            **TIED_NEAR.cells(one.near),
        }
        for one in known[TIED]
    ]
    labels = {**TIED_ALONG.labels, **TIED_NEAR.labels}
    return Table(rows, labels=labels, caption="Rank correlations with thickness")


def shown_table(marks: Listed, keys: dict[tuple[str, int], str], classes: Sequence[str]) -> Table:
    at = {
        (name, int(row)): i for i, (name, row) in enumerate(zip(marks.ids, marks.row, strict=True))
    }
    rows = [
        {
            "class": classes[int(marks.class_id[at[place]])],
            "kind": KINDS[int(marks.kind[at[place]])],
            "sample": place[0],
            "y": int(marks.place[at[place], 0]),
            "x": int(marks.place[at[place], 1]),
            "thickness": float(marks.thickness[at[place]]),
            "anisotropy": float(marks.anisotropy[at[place]]),
            "turned": float(marks.share[at[place]]),
            "picture": key,
        }
        for place, key in keys.items()
    ]
    labels = {"turned": "share of angles that hold as much", "thickness": "thickness, px"}
    return Table(rows, labels=labels, caption="Landmarks that are shown")
