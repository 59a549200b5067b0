"""The result of a noise study: what the fitted order is worth, the fitted network, pictures."""

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.report.thumbnails import outlined, overlay, shared_limit
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.noise.assess import ASSESSED, Assessed
from conceptseg.study.noise.config import OWN, NoiseStudy
from conceptseg.study.noise.curves import CURVES, Curves
from conceptseg.study.noise.fit import FITTED, result_of
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

DICE = Column("dice", "Dice with the clean prediction", interval=True, brief="Dice")
AREA = Column("area", "mean Dice over all shares", interval=True, brief="mean")
GAP = Column("difference", "Dice by U-Noise less that by the other", interval=True, brief="less")
INSIDE = Column("inside", "mean noise level in the region", interval=True, brief="in")
OUTSIDE = Column("outside", "mean noise level elsewhere", interval=True, brief="elsewhere")
NAMES = {
    "random_map": "a random order",
    "dilated_prediction": "the dilated prediction",
    "centre_gaussian": "the distance to the middle",
}


def conclude(study: NoiseStudy, context: Context, known: Known) -> Result:
    curves, assessed, comparison = known[CURVES], known[ASSESSED], known[COMPARISON]
    classes, made = context.model.classes, result_of(study, context, known)
    ids = list(dict.fromkeys(name for name, _ in curves.cases))
    group = dict(zip((name for name, _ in curves.cases), assessed.sampling.groups, strict=True))
    gallery, pictures = drawn(study, curves, classes)
    return Result(
        study="noise",
        findings=ranked(findings(study, assessed, classes)),
        tables={
            "curves": curve_table(study, assessed, classes),
            "areas": area_table(assessed, classes),
            "against": against_table(assessed, classes),
            "levels": level_table(assessed, classes),
            "costs": cost_table(known[FITTED].costs),
            "shown": gallery,
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={**made.arrays, "dice": curves.dice.astype(np.float32)},
        images=pictures | local_maps.pictures(comparison),
        skipped=studied.left_out(
            context, ids, "fitted the noise, or was not kept (images, judged)"
        ),
        notes=studied.notes(
            context,
            ids,
            [group[name] for name in ids],
            assessed.sampling.of.removesuffix("s"),
            comparison,
            classes=[classes[c] for c in sorted(assessed.levels)],
            fitted=made.head,
            fit_images=made.facts["images"],
            visible=study.at / study.points,
            judged_methods=list(curves.methods),
            **study.model_dump(include={"fills", "steps", "low", "high", "price", "smooth"}),
        ),
    )


def findings(study: NoiseStudy, assessed: Assessed, classes: Sequence[str]) -> list[Finding]:
    """Whether the fitted order keeps more of a class, or less, than each plain one."""
    share, found = study.at / study.points, list[Finding]()
    for one in assessed.against:
        if one.test is None or not one.test.testable:
            continue
        name, other = classes[one.class_id], NAMES[one.method]
        how = "more" if one.difference.value > 0 else "less"
        said = f"U-Noise's order keeps {how} of {name} than {other} does"
        plain = f"{said}."
        if not one.test.passed:
            plain = f"U-Noise's order of {name} was not shown to beat {other}."
            said = f"U-Noise's order of {name} was not shown to differ from {other}"
        found.append(
            Finding.about(
                f"{said}: {one.difference.value:+.3f} Dice with {share:.0%} of the pixels visible "
                f"and the others filled ({one.fill}).",
                one.difference,
                one.test,
                class_name=name,
                evidence="against",
                plain=plain,
                effect_name="Dice by U-Noise less that by the other",
                fill=one.fill,
                other=one.method,
            )
        )
    return found


def curve_table(study: NoiseStudy, assessed: Assessed, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            "fill": one.fill,
            "method": one.method,
            "visible": point / study.points,
            **DICE.cells(dice),
        }
        for one in assessed.lines
        for point, dice in enumerate(one.dice)
    ]
    return Table(rows, labels=DICE.labels, caption="Dice at each visible share")


def area_table(assessed: Assessed, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            "fill": one.fill,
            "method": one.method,
            **AREA.cells(one.area),
        }
        for one in assessed.lines
    ]
    return Table(rows, labels=AREA.labels, caption="Mean Dice over all shares")


def against_table(assessed: Assessed, classes: Sequence[str]) -> Table:
    rows = [
        {
            "class": classes[one.class_id],
            "fill": one.fill,
            "other": one.method,
            **GAP.cells(one.difference),
            "p_adjusted": None if one.test is None else one.test.adjusted,
            "detectable": None if one.test is None else one.test.detectable,
        }
        for one in assessed.against
    ]
    labels = {**GAP.labels, "p_adjusted": "p adjusted", "detectable": "would have been shown"}
    return Table(rows, labels=labels, caption=f"{OWN} against the others, paired by image")


def level_table(assessed: Assessed, classes: Sequence[str]) -> Table:
    rows = [
        {"class": classes[c], **INSIDE.cells(inside), **OUTSIDE.cells(outside)}
        for c, (inside, outside) in assessed.levels.items()
    ]
    labels = {**INSIDE.labels, **OUTSIDE.labels}
    return Table(rows, labels=labels, caption="Noise that is let in, of the most that may be")


def cost_table(costs: Sequence[float]) -> Table:
    """The fit's cost, averaged over tenths of its steps."""
    parts = np.array_split(np.array(costs), min(10, len(costs)))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    rows = [
        {"step": end, "cost": float(part.mean())} for end, part in zip(ends, parts, strict=True)
    ]
    return Table(rows, caption="Cost of the fit: the prediction's loss and the price of silence")


def drawn(
    study: NoiseStudy, curves: Curves, classes: Sequence[str]
) -> tuple[Table, dict[str, bytes]]:
    """Each kept case's image with its region, and the map of each method over it."""
    rows, pictures = list[dict[str, object]](), dict[str, bytes]()
    for number, (case, maps) in enumerate(curves.maps.items()):
        image, region = curves.images[case[0]], curves.regions[case]
        plain, keys = f"case-{number}", [f"case-{number}-{m}" for m in range(len(maps))]
        pictures[plain] = outlined(image, region, study.picture_px)
        for key, own in zip(keys, maps, strict=True):
            own = np.nan_to_num(own)
            # Levels lie close together, and only their order is meant.
            own = own - own.min() if (own >= 0).all() else own
            limit = shared_limit([own])
            pictures[key] = overlay(image, own, -limit, limit, mask=region, side=study.picture_px)
        rows.append({"sample": case[0], "class": classes[case[1]], "picture": plain, "maps": keys})
    return Table(rows, caption="Maps that are shown"), pictures
