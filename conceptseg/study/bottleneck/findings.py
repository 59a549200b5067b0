"""What is claimed, and how surely."""

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.result.table import Table
from conceptseg.study.bottleneck import tables
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.evaluate import Flagging, Standing
from conceptseg.study.bottleneck.shift import SPOILT_LIKE, trusted_wrongly
from conceptseg.study.bottleneck.slices import Slice

MOST_SLICES = 8
CHOSEN_BY = {"layer": "the layer", "both": "layer and confidence together"}


def findings(
    study: Bottleneck,
    standing: Sequence[Standing],
    flags: Flagging,
    slices: Sequence[Slice],
    shift: Table,
) -> list[Finding]:
    return [
        *shift_findings(study, shift),
        *standing_findings(standing),
        *flag_findings(study, flags),
        *map(slice_finding, told(slices)),
    ]


def told(slices: Sequence[Slice]) -> list[Slice]:
    """The slices of which a finding tells, the worst first."""
    shown = sorted((one for one in slices if one.test.passed), key=lambda one: one.difference.value)
    return shown[:MOST_SLICES]


def shift_findings(study: Bottleneck, shift: Table) -> list[Finding]:
    """Kinds of spoilt images that pass the gate with a quality that they do not have."""
    return [
        Finding(
            claim=f"Of {row['images']} images made {SPOILT_LIKE[row['kind']]}, the gate turns away "
            f"{row['outside']:.0%}. Their quality is {row[tables.TRUE_MEAN.key]:.2f}, predicted "
            f"are {row[tables.PREDICTED_MEAN.key]:.2f}, and {row['covered']:.0%} of the intervals "
            f"of those that pass hold it, where {study.coverage:.0%} should.",
            plain=f"{SPOILT_LIKE[row['kind']].capitalize()} images are trusted and should not be.",
            effect=row[tables.PREDICTED_MEAN.key] - row[tables.TRUE_MEAN.key],
            n=row["images"],
            of="images",
            evidence="shift",
            warning=True,
            details={"effect_name": "predicted quality above the true one", "kind": row["kind"]},
        )
        for row in shift.rows
        if trusted_wrongly(row, study.coverage)
    ]


def standing_findings(standing: Sequence[Standing]) -> list[Finding]:
    by_name = {one.name: one for one in standing}
    confident, result = by_name["confidence"].mae.value, []
    for one in (by_name["layer"], by_name["both"]):
        if one.beats is None or one.test is None:
            continue
        verdict = "no better or worse, as far as is shown,"
        if one.test.passed:
            verdict = "better" if one.beats.value > 0 else "worse"
        claim = (
            f"From the {tables.NAMES[one.name]}, quality is predicted {verdict} than from the "
            f"network's own confidence: the mean absolute error is {one.mae.value:.3f}, that of "
            f"confidence {confident:.3f}, that of the plain mean "
            f"{one.mae.value + one.gain.value:.3f}."
        )
        if not one.test.testable:
            claim += f" {one.test.n} {one.test.of} are too few to test the difference."
        result.append(
            Finding.about(
                claim,
                one.beats,
                one.test,
                plain=_standing_in_words(one.name, verdict),
                evidence="standing-table",
                effect_name="error below that of confidence",
            )
        )
    return result


def _standing_in_words(name: str, verdict: str) -> str:
    """What predicting from the layer, or from both, is worth, without numbers."""
    source = tables.NAMES[name]
    if verdict in ("better", "worse"):
        return f"From the {source}, quality is predicted {verdict} than from the confidence."
    return f"The {source} was not shown to predict quality otherwise than the confidence."


def flag_findings(study: Bottleneck, flags: Flagging) -> list[Finding]:
    precision = {name: f"{one.value:.0%}" for name, one in flags.precision.items()}
    result = []
    for name, source in CHOSEN_BY.items():
        test = flags.tests[name]
        claim = (
            f"When {study.budget:.0%} of the images are reviewed, {precision[name]} of those "
            f"chosen by {source} fail, {precision['confidence']} of those chosen by the network's "
            f"confidence (fitted in the same way), and {precision['raw']} of those with the lowest "
            f"mean largest probability. {flags.failed.mean():.0%} of all images fail "
            f"({study.quality} of at most {flags.limit:.2f})."
        )
        if not test.testable:
            claim += f" {test.n} {test.of} are too few to test the difference."
        elif not test.passed:
            claim += " The difference to fitted confidence is not significant."
        result.append(
            Finding.about(
                claim,
                flags.gains[name],
                test,
                plain=_flagging_in_words(source, test.passed, flags.gains[name].value),
                evidence="flag-curve",
                effect_name="precision above that of fitted confidence",
            )
        )
    return result


def _flagging_in_words(source: str, passed: bool, gain: float) -> str:
    """Whether choosing images by a source finds more that fail than by confidence, or fewer."""
    found = f"Images that fail are found by {source}"
    if not passed:
        return f"{found} and by the network's confidence; neither was shown to be better."
    return f"{found} {'more' if gain > 0 else 'less'} often than by the network's confidence."


def slice_finding(one: Slice) -> Finding:
    """What is said of a slice: one that was searched for is judged on the other half alone."""
    where = " on the half that was not searched" if one.kind == "searched" else ""
    change = one.difference.value
    return Finding.about(
        f"Images of {one.name} are segmented {'worse' if change < 0 else 'better'}: mean quality "
        f"{one.quality.value:.2f}, {abs(change):.2f} {'below' if change < 0 else 'above'} all "
        f"others, over {int(one.members.sum())} images{where}.",
        one.difference,
        one.test,
        plain=f"Images of {one.name} are segmented {'worse' if change < 0 else 'better'} than "
        "others.",
        evidence="searched" if one.kind == "searched" else "slices",
        effect_name="mean quality against all other images",
        slice=one.name,
    )
