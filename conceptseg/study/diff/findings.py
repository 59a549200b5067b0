"""The findings of a diff study, in words."""

from collections.abc import Sequence

from conceptseg.engine.known import Known
from conceptseg.result.finding import Finding
from conceptseg.study.diff.assess import CONCEPTS, MOVED, SHIFTS, Moved, Shift
from conceptseg.study.diff.tables import called


def findings(known: Known, classes: Sequence[str], by: str) -> list[Finding]:
    """Classes whose IoU changed, and concepts of which a class loses more or less than before.

    `by` says what the unit of drift is.
    """
    made = [_moved(one, classes[one.class_id], by) for one in known[MOVED] if one.shown]
    return made + [_shift(one, known, classes, by) for one in known[SHIFTS] if one.shown]


def _moved(one: Moved, name: str, by: str) -> Finding:
    way = "worse" if one.change.value < 0 else "better"
    return Finding.about(
        f"IoU of {name} changes by {one.change.value:+.3f}, from {one.before:.3f} to "
        f"{one.after:.3f}: {abs(one.drift):.1f} {by}.",
        one.change,
        one.test,
        class_name=name,
        evidence="classes",
        fault=one.change.value < 0,
        plain=f"{name[:1].upper() + name[1:]} is segmented {way} than before.",
        effect_name="change of IoU",
        drift=one.drift,
    )


def _shift(one: Shift, known: Known, classes: Sequence[str], by: str) -> Finding:
    name, concept = classes[one.class_id], called(known[CONCEPTS][one.concept])
    # The sign decides, not the size: of a concept whose erasure now raises IoU, nothing is owed.
    how = "less" if one.change.value > 0 else "more"
    return Finding.about(
        f"Without {concept}, IoU of {name} changes by {one.after:+.3f}, before by "
        f"{one.before:+.3f}: a change of {one.change.value:+.3f}, {abs(one.drift):.1f} {by}.",
        one.change,
        one.test,
        class_name=name,
        evidence=f"concept-{one.concept + 1}",
        plain=f"{name[:1].upper() + name[1:]} owes {how} to {concept} than before.",
        effect_name="change of what erasing the concept costs",
        concept=one.concept + 1,
        drift=one.drift,
    )
