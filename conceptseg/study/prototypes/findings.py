"""The findings of a prototypes study, in words."""

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.result.verdict import counted
from conceptseg.stats.family import Test
from conceptseg.study.prototypes.assess import Foretold, Grouped, Placed, Prototype
from conceptseg.study.prototypes.regions import JUDGED, Regions


def called(one: Prototype) -> str:
    """ "prototype 2 (labelled as: tram)"."""
    return f"prototype {one.number + 1}" + (f" ({one.name.text})" if one.name.text else "")


def findings(
    regions: Regions,
    grouped: Grouped,
    placed: Placed,
    foretold: Foretold,
    classes: Sequence[str],
) -> list[Finding]:
    """Prototypes that stand for errors, regions unlike all right ones, and what these foretell."""
    return [
        *_standing(grouped, classes),
        *_outliers(regions, placed, classes),
        *_rare(foretold),
        *_warning(foretold),
    ]


def _standing(grouped: Grouped, classes: Sequence[str]) -> list[Finding]:
    found = []
    for one in grouped.prototypes:
        if one.more is None or one.wrong is None or one.test is None or not one.test.passed:
            continue
        if grouped.mixtures[one.class_id].count == 2 and one.more.value < 0:
            continue  # of two, the other one says so
        name, more = classes[one.class_id], "more" if one.more.value > 0 else "less"
        found.append(
            Finding.about(
                f"Of regions predicted as {name}, those of {called(one)} are wrong in "
                f"{one.wrong.value:.0%}, {more} often than the others ({one.more.value:+.2f}).",
                one.more,
                one.test,
                plain=f"One way of deciding for {name} is wrong {more} often than its others.",
                class_name=name,
                evidence="standing",
                effect_name="share that is wrong, less that of the class's other regions",
                fault=one.more.value > 0,
                prototype=one.number + 1,
            )
        )
    return found


def _outliers(regions: Regions, placed: Placed, classes: Sequence[str]) -> list[Finding]:
    found, right = [], "right ones" if placed.of_right else "those that calibrate"
    for c in regions.classes:
        rows = regions.rows(c, JUDGED)
        out = placed.outlier[rows]
        if not out.any():
            continue
        share, least = regions.sampling.at(rows).share(out), float(placed.adjusted[rows].min())
        n, floor = placed.calibrating[c], placed.floor(c)
        # That all of the judged regions are outliers could have passed with this p.
        test = Test(
            float(placed.p[rows].min()), least, floor, floor, float("nan"), floor, n,
            f"{regions.dealt_of}s", "benjamini_hochberg",
        )  # fmt: skip
        found.append(
            Finding.about(
                f"{counted(int(out.sum()), 'region')} of {len(rows)} predicted as {classes[c]} are "
                f"decided as hardly any of {right} is.",
                share,
                test,
                plain=f"Some regions of {classes[c]} are decided as hardly any of {right} is.",
                class_name=classes[c],
                evidence="outliers",
                effect_name="share of the judged regions",
            )
        )
    return found


def _rare(foretold: Foretold) -> list[Finding]:
    more, test = foretold.more, foretold.test
    # Five groups that agree pass the test alone; their interval has to say so, too.
    if more is None or test is None or not test.passed or not more.above(0):
        return []
    return [
        Finding.about(
            f"Regions that are decided in a rare way are wrong more often than others "
            f"({more.value:+.2f}).",
            more,
            test,
            plain="Regions that are decided in a rare way are wrong more often than others.",
            evidence="rare",
            effect_name="share that is wrong, less that of the other regions",
            fault=True,
        )
    ]


def _warning(foretold: Foretold) -> list[Finding]:
    """One claim, of all classes together."""
    if foretold.areas is None:
        return []
    own, doubt, gap = (foretold.areas[key] for key in ("unlikely", "doubt", "difference"))
    told = "was not shown to be told better or worse"
    if gap.excludes(0):
        told = f"is told {'better' if gap.value > 0 else 'worse'}"
    return [
        Finding.about(
            f"By how unlikely its relevance is, a wrong region {told} than by the network's doubt: "
            "chance to rank above a right one of its class "
            f"{own.value:.2f} against {doubt.value:.2f}.",
            gap,
            evidence="foretell",
            null=0.0,
            effect_name="AUROC of being unlikely less that of doubt",
        )
    ]
