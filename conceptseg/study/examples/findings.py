"""The findings of an examples study, in words."""

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.study.examples.assess import Foretold, Portrait


def findings(
    portraits: Sequence[Portrait],
    foretold: Sequence[Foretold],
    classes: Sequence[str],
    regions: str,
) -> list[Finding]:
    """Prototypes whose objects are wrong more or less often, and whether neighbours foretell."""
    return [*_strategies(portraits, classes, regions), *_warning(foretold)]


def _strategies(
    portraits: Sequence[Portrait], classes: Sequence[str], regions: str
) -> list[Finding]:
    found = []
    for portrait in portraits:
        name = classes[portrait.class_id]
        for rank, one in enumerate(portrait.prototypes, start=1):
            if one.more is None or one.wrong is None or one.test is None or not one.test.passed:
                continue
            more = "more" if one.more.value > 0 else "less"
            found.append(
                Finding.about(
                    f"Objects {regions} as {name} that are most like its prototype {rank} are "
                    f"wrong in {one.wrong.value:.0%}, {more} often than its others "
                    f"({one.more.value:+.2f}).",
                    one.more,
                    one.test,
                    class_name=name,
                    evidence="standing",
                    effect_name="share that is wrong, less that of the class's other objects",
                    fault=one.more.value > 0,
                    prototype=rank,
                )
            )
    return found


def _warning(foretold: Sequence[Foretold]) -> list[Finding]:
    """One claim, of all classes together: many would each have an interval of their own."""
    overall = foretold[0]
    if overall.areas is None:
        return []
    near, doubt, gap = (overall.areas[key] for key in ("nearness", "doubt", "difference"))
    told = "was not shown to foretell a wrong object better or worse"
    if gap.excludes(0):
        told = f"foretells a wrong object {'better' if gap.value > 0 else 'worse'}"
    return [
        Finding.about(
            f"How much nearer wrong examples are than right ones {told} than the network's doubt: "
            "chance of a wrong object to rank above a right one of its class "
            f"{near.value:.2f} against {doubt.value:.2f}.",
            gap,
            evidence="foretell",
            null=0.0,
            effect_name="AUROC of nearness less that of doubt",
        )
    ]
