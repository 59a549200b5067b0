"""The findings of an ability study, in words."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.stats.estimate import Estimate
from conceptseg.study.ability.assess import Assessed, Emergence, Level
from conceptseg.study.ability.config import POSITION


def findings(assessed: Assessed, classes: Sequence[str]) -> list[Finding]:
    by_place = {(one.class_id, one.layer): one for one in assessed.levels}
    result = [_emerges(one, by_place, classes) for one in assessed.emergence]
    result += better(assessed, classes)
    if assessed.forgotten:
        result.append(_forgotten(assessed, classes))
    return [*result, forecast(assessed)]


def forecast(assessed: Assessed) -> Finding:
    """Whether agreement with the prediction tells an image's quality better than confidence."""
    gap, own = assessed.estimates["difference"], assessed.estimates["agreement"]
    told = "was not shown to rank images by their true Dice better or worse"
    if gap.excludes(0):
        told = f"ranks images by their true Dice {'better' if gap.value > 0 else 'worse'}"
    return Finding.about(
        f"The layers' agreement with the prediction {told} than the network's confidence does: "
        f"rank correlation {own.value:.2f} against "
        f"{assessed.estimates['confidence'].value:.2f}.",
        gap,
        null=0.0,
        plain=_sign_of_quality(own, gap),
        evidence="estimate",
        effect_name="rank correlation above that of confidence",
    )


def _sign_of_quality(own: Estimate, gap: Estimate) -> str:
    """What agreement of the layers, of this rank correlation with quality, is a sign of; `gap` is
    the correlation less that of confidence."""
    if own.above(0):
        sign = "it was not shown to be a better sign"
        if gap.excludes(0):
            sign = "it is a better sign" if gap.value > 0 else "it is a worse sign"
        good = "Where the layers agree with the prediction, images are segmented better"
        return f"{good}; {sign} than the confidence."
    told = "was not shown to tell quality better than the confidence does"
    if gap.below(0):
        told = "tells quality worse than the confidence does"
    if gap.above(0):  # less bad than the confidence is no sign of quality
        told = "ranks images better than the confidence does, but was not shown to tell quality"
    return f"Agreement of the layers {told}."


def _emerges(
    one: Emergence, by_place: dict[tuple[int, str], Level], classes: Sequence[str]
) -> Finding:
    name = classes[one.class_id]
    layer = one.reached or one.best
    level = by_place[one.class_id, layer]
    value = level.readings["global"]
    assert value is not None
    excess = (
        "" if level.excess is None else f", {level.excess.value:+.2f} against a shuffled network's"
    )
    if one.layer:
        claim = (
            f"{name} becomes readable at {layer}: prototypes reach a Dice of {value.value:.2f} "
            f"there{excess}; the output has {one.output.value:.2f}. {one.share:.0%} of draws of "
            "the images agree on the layer."
        )
    elif one.doubt:
        claim = (
            f"{name}: {one.doubt}; no depth is reported. {layer} reaches a Dice of "
            f"{value.value:.2f}{excess}, the output {one.output.value:.2f}."
        )
    else:
        claim = (
            f"No layer is read as well as the output for {name}: the best, {layer}, reaches a "
            f"Dice of {value.value:.2f}{excess}, where the output has {one.output.value:.2f}."
        )
    return Finding.about(
        claim,
        value,
        plain=f"The network can tell {name} from {layer} on."
        if one.layer
        else f"From which layer on the network can tell {name} is not clear.",
        class_name=name,
        evidence="classes",
        effect_name="Dice of the layer's reading",
        layer=layer,
    )


def better(assessed: Assessed, classes: Sequence[str]) -> list[Finding]:
    """The layer that beats the output most, for each class of which a test shows one."""
    best: dict[int, Level] = {}
    for one in assessed.levels:
        # The test is of these prototypes; the interval knows that others might have been learnt.
        if not one.test.passed or one.layer == POSITION or one.above.low <= 0:
            continue
        if one.class_id not in best or one.above.value > best[one.class_id].above.value:
            best[one.class_id] = one
    return [
        Finding.about(
            f"What follows {one.layer} loses {classes[one.class_id]}: prototypes read it there "
            f"with a Dice that is {one.above.value:.2f} above the output's, over "
            f"{one.above_images} images that hold it or in which the layer or the output sees it.",
            one.above,
            one.test,
            plain=f"The network still knows {classes[one.class_id]} at {one.layer}, and loses part "
            "of it afterwards.",
            class_name=classes[one.class_id],
            evidence="levels",
            effect_name="Dice above the output's",
            layer=one.layer,
        )
        for one in best.values()
    ]


def _forgotten(assessed: Assessed, classes: Sequence[str]) -> Finding:
    counts = Counter(classes[one.class_id] for one in assessed.forgotten)
    most = ", ".join(f"{name} ({count})" for name, count in counts.most_common(3))
    of, trained, chance = assessed.forgotten_by_chance
    tail = (
        f" Read in the same way, layers of a shuffled network would count {chance} of the {of} "
        "objects as forgotten."
        if of
        else ""
    )
    count = Estimate(
        len(assessed.forgotten), np.nan, np.nan, assessed.sampling.n, assessed.sampling.of
    )
    return Finding.about(
        f"{len(assessed.forgotten)} objects are seen by a layer, chosen on other images, and "
        f"lost by the output, most of them of {most}. For comparison, in {assessed.seen_in_vain} "
        "cases these layers see at least half an object's worth of a class that is neither in the "
        f"image nor in the output.{tail}",
        count,
        plain="Some objects are seen within the network and missing in its output.",
        evidence="forgotten",
        effect_name="forgotten objects",
    )
