"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection


def findings(found: Detection, ablations: Ablations, classes: Sequence[str]) -> list[Finding]:
    names = found.plan.vocabulary.names
    result = []
    for edit, concept in enumerate(ablations.concepts):
        own = [loss for loss in ablations.concept_losses if loss.edit == edit]
        used = [loss for loss in own if loss.used]
        units, size = len(found.detectors(concept)), len(ablations.sets[edit])
        for loss in used:
            claim = (
                f"{classes[loss.class_id]} uses the units that detect {names[concept]}: without "
                f"the {count(size)} that overlap it most it loses {cost(loss.change)} IoU; "
                f"random sets of as many cost {cost(loss.random)}."
            )
            result.append(finding(loss, claim, classes, names[concept], units, size))
        if own and not used:
            worst = min(own, key=lambda loss: (loss.change, loss.class_id))
            claim = (
                f"{count(units, capital=True)} {'detects' if units == 1 else 'detect'} "
                f"{names[concept]}, but no class was shown to use that: without the {count(size)} "
                f"that overlap it most, {classes[worst.class_id]} loses most, "
                f"{cost(worst.change)} IoU."
            )
            result.append(finding(worst, claim, classes, names[concept], units, size))
    return result


def finding(
    loss: Loss, claim: str, classes: Sequence[str], concept: str, units: int, size: int
) -> Finding:
    return Finding(
        claim=claim,
        class_=classes[loss.class_id],
        effect=loss.change,
        ci=loss.interval,
        p=loss.p,
        p_adjusted=loss.p_holm,
        n=loss.images,
        evidence="causal",
        details={
            "effect_name": "change of IoU when the units are ablated",
            "concept": concept,
            "detectors": units,
            "ablated": size,
            "random": loss.random,
            "used": loss.used,
        },
    )


def count(units: int, capital: bool = False) -> str:
    one = "One unit" if capital else "one unit"
    return one if units == 1 else f"{units} units"


def cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"
