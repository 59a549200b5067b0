"""What an actmax study says in plain words."""

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.stats.estimate import NAN, Estimate, Sampling
from conceptseg.stats.family import Question, by_holm, judge
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.judge import UNSHOWN, Judged
from conceptseg.study.actmax.survey import Survey
from conceptseg.study.actmax.tables import ratio

EFFECT = "share of other units less alike, above one half"


def findings(
    study: Actmax, survey: Survey, judged: Judged, labels: Sequence[str], seed: int
) -> list[Finding]:
    pictures = [
        _picture(study, survey, judged, labels, g)
        for g, word in enumerate(judged.verdict)
        if word in ("representative", "beyond the data")
    ]
    return [*_average(judged, seed), *pictures]


def _average(judged: Judged, seed: int) -> list[Finding]:
    """Whether pictures resemble their units' images at all."""
    members = tuple(map(str, judged.usable))
    if len(members) < 2:
        return []
    excess = judged.main.above[judged.usable] - 0.5
    sampling = Sampling(members, members, "units", seed)
    estimate = sampling.mean(excess, within=(-0.5, 0.5))
    test = judge([Question(excess, sampling)], side="two", seed=seed, policy=by_holm)[0]
    passed = judged.verdict.count("representative")
    testable = passed + sum(map(judged.verdict.count, ("beyond the data", UNSHOWN)))
    singly = (
        f"{passed} of the {testable} pictures that can be judged one by one pass that test"
        if testable
        else "too few units are compared to judge any picture by itself"
    )
    return [
        Finding.about(
            f"A unit's picture is more like its own real images than like those of "
            f"{estimate.value + 0.5:.0%} of the other units, on average (50 % by chance); "
            f"{singly}.",
            estimate,
            test,
            plain="On average, pictures resemble the real images of their own unit."
            if test.passed and estimate.value > 0
            else "On average, pictures were not shown to resemble the images of their own unit.",
            evidence="likeness",
            effect_name=EFFECT,
        )
    ]


def _picture(
    study: Actmax, survey: Survey, judged: Judged, labels: Sequence[str], g: int
) -> Finding:
    """What the picture of a feature, by its place, may be taken for."""
    name, unit, main = survey.names[g], survey.objective.ids[g], judged.main
    label = f" (detects {labels[g]})" if labels[g] else ""
    share = ratio(judged.after[g], judged.largest[g])
    reach = f"to {share:.0%} of what the strongest real image does"
    claim = (
        f"The picture of {name}{label} excites it {reach}, yet was tested and not shown to "
        "resemble the images that do: it is no evidence of what the unit detects in the data."
    )
    plain = "It is not to be taken for what the unit detects in real images."
    if judged.verdict[g] == "representative":
        plain = "It may be read as something the unit responds to."
        claim = (
            f"The picture of {name}{label} is more like the real images that excite it than like "
            f"those of {main.above[g]:.0%} of the other units: it may be read as something the "
            f"unit responds to. It excites it {reach}."
        )
    compared = int(main.compared[g].sum()) + 1
    return Finding.about(
        claim,
        Estimate(float(main.above[g] - 0.5), NAN, NAN, compared, "units"),
        main.tests[g],
        plain=plain,
        evidence=f"unit-{unit}",
        class_name=name if study.objective == "class" else None,
        effect_name=EFFECT,
        unit=unit,
    )
