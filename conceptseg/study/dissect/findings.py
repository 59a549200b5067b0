"""What is claimed, and on what evidence."""

from collections.abc import Sequence
from typing import Any

from conceptseg.result.finding import Finding
from conceptseg.stats.family import Test
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection


def findings(detection: Detection, ablations: Ablations, classes: Sequence[str]) -> list[Finding]:
    """For each concept with a detector the classes that use its units, or that none does."""
    result = []
    for edit, concept in enumerate(ablations.concepts):
        name = detection.plan.vocabulary.names[concept]
        own = [loss for loss in ablations.concept_losses if loss.edit == edit]
        used = [loss for loss in own if loss.used]
        units, size = len(detection.detectors(concept)), len(ablations.sets[edit])
        counts = {"concept": name, "detectors": units, "ablated": size}
        for loss in used:
            claim = (
                f"{classes[loss.class_id]} uses the units that detect {name}: without the "
                f"{count(size)} that overlap it most, the class loses {cost(loss.change.value)} "
                f"IoU; without random sets of as many, {cost(loss.random)}."
            )
            result.append(_finding(claim, loss, loss.test, classes, counts))
        if own and not used:
            able = [loss for loss in own if loss.test.testable]
            worst = min(able or own, key=lambda loss: (loss.change.value, loss.class_id))
            shown = "no class was shown to use that" if able else "their use could not be tested"
            among = "of the classes that could be tested, " if 0 < len(able) < len(own) else ""
            claim = (
                f"{count(units, capital=True)} {'detects' if units == 1 else 'detect'} {name}, but "
                f"{shown}: without the {count(size)} that overlap it most, {among}"
                f"{classes[worst.class_id]} loses most, {cost(worst.change.value)} IoU."
            )
            # A loss that passed is too small to count as use: its p says nothing of this claim.
            test = None if worst.test.passed else worst.test
            result.append(_finding(claim, worst, test, classes, counts))
    return result


def _finding(
    claim: str, loss: Loss, test: Test | None, classes: Sequence[str], counts: dict[str, Any]
) -> Finding:
    return Finding.about(
        claim,
        loss.change,
        test,
        evidence="causal",
        class_name=classes[loss.class_id],
        effect_name="change of IoU when the units are ablated",
        **counts,
        images=loss.images,
        random=loss.random,
        used=loss.used,
    )


def count(units: int, capital: bool = False) -> str:
    one = "One unit" if capital else "one unit"
    return one if units == 1 else f"{units} units"


def cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"
