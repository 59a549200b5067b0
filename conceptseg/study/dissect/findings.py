"""What is claimed, and on what evidence."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from conceptseg.result.finding import Finding
from conceptseg.stats.family import Test
from conceptseg.study.dissect.ablate import Ablations, Loss
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.remaining import Remaining
from conceptseg.study.shared.edits import rare


def findings(
    detection: Detection,
    ablations: Ablations,
    remaining: Sequence[Remaining],
    classes: Sequence[str],
) -> list[Finding]:
    """For each set of units the classes that use it, or what is known of their use.

    `remaining` says of each set what the rest of the layer still reads.
    """
    result = []
    for edit, concepts in enumerate(ablations.concepts):
        name = words([detection.plan.vocabulary.names[one] for one in concepts])
        detect, mostly, besides = _besides(detection, ablations.sets[edit], concepts)
        own = [loss for loss in ablations.concept_losses if loss.edit == edit]
        units = sum(len(detection.detectors(one)) for one in concepts)
        size, rest = len(ablations.sets[edit]), remaining[edit]
        counts = {"concept": name, "detectors": units, "ablated": size, "read": rest.auc}
        for loss in own:
            if loss.used:
                claim = (
                    f"{classes[loss.class_id]} uses the units that {detect} {name}: without the "
                    f"{most(size)}, the class loses {cost(loss.change.value)} IoU; without random "
                    "sets of as many others, "
                    f"{cost(loss.random)}. {loss.how.told}{besides}"
                )
                class_name, by = classes[loss.class_id], f"units that {detect} {name}{mostly}"
                plain = loss.how.plain(f"The network finds {class_name} by {by}.", class_name, by)
                result.append(_finding(claim, loss, loss.test, classes, counts, plain))
        if own and not any(loss.used for loss in own):
            worst = min(own, key=lambda loss: (loss.change.value, loss.class_id))
            claim = (
                f"{count(units, capital=True)} {_detects(units)} {name}. "
                f"Whether a class uses that stays open: without the {most(size)}, "
                f"{_worst(worst, classes[worst.class_id])}. {rest.told}"
            )
            # A loss that passed falls short otherwise: its p says nothing of this claim.
            test = None if worst.test.passed else worst.test
            plain = "Units detect something; whether a class uses it stays open."
            result.append(_finding(claim, worst, test, classes, counts, plain))
    return result


def _besides(
    detection: Detection, units: Sequence[int], concepts: Sequence[int]
) -> tuple[str, str, str]:
    """Whether units that are ablated for concepts "detect" or but "overlap" them, and of the latter
    what more of them detect than these, if more do, and a sentence that says what all detect.

    Units overlap several concepts, and detect the one that they overlap most beyond chance: where
    fewer than half of them detect what they are ablated for, a loss may be of what the others do.
    """
    own = detecting(detection, units, concepts)
    if 2 * own >= len(units):
        return "detect", "", ""
    names, of = detection.plan.vocabulary.names, detection.chosen.concept
    others = Counter(names[of[unit]] for unit in units if detection.detector[unit])
    for one in concepts:
        others.pop(names[one], None)
    most = others.most_common(3)
    rest = f"; others detect {words([f'{name} ({n})' for name, n in most])}" if most else ""
    mostly = f", more of which detect {most[0][0]}" if most and most[0][1] > own else ""
    what = "it" if len(concepts) == 1 else "one of them"
    return "overlap", mostly, f" {own} of these {len(units)} {_detects(own)} {what}{rest}."


def detecting(detection: Detection, units: Sequence[int], concepts: Sequence[int]) -> int:
    """How many of some units detect one of these concepts."""
    return len({int(unit) for one in concepts for unit in detection.detectors(one)} & set(units))


def _detects(units: int) -> str:
    return "detects" if units == 1 else "detect"


def _worst(loss: Loss, name: str) -> str:
    """The largest loss, and what could have been shown of it."""
    if loss.change.value > -0.005:  # what would read as 0.00
        return "no class loses 0.01 IoU in the mean, which random units may hide"
    why = {
        "below the criterion": "shown, but too little to count as use"
        if rare(loss.p_random)
        else "more than random sets in the mean, but more than one in twenty may cost as much",
        "inconclusive": f"a loss of {loss.test.detectable:.2f} would have been shown in four of "
        "five such data sets",
        "underpowered": "not even the loss of all of it would have been shown so often",
        "not testable": f"no loss can be shown without {loss.test.needs} that hold the class",
    }[loss.verdict]
    lost, had = cost(loss.change.value), cost(-loss.clean)
    return f"{name} loses most, {lost} of its {had} IoU ({why})"


def _finding(
    claim: str,
    loss: Loss,
    test: Test | None,
    classes: Sequence[str],
    counts: dict[str, Any],
    plain: str,
) -> Finding:
    return Finding.about(
        claim,
        loss.change,
        test,
        plain=plain,
        evidence="causal",
        class_name=classes[loss.class_id],
        effect_name="change of IoU when the units are ablated",
        **counts,
        images=loss.images,
        random=loss.random,
        used=loss.used,
        verdict=loss.verdict,
        missed=loss.how.missed.value,
        false=loss.how.false.value,
        how=loss.how.how,
    )


def words(names: Sequence[str]) -> str:
    """Names of concepts that the same units detect, as one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(units: int, capital: bool = False) -> str:
    one = "One unit" if capital else "one unit"
    return one if units == 1 else f"{units} units"


def most(units: int) -> str:
    """What is ablated for a concept."""
    return f"{count(units)} that {'overlaps' if units == 1 else 'overlap'} it most"


def cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"
