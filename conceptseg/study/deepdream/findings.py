"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.result.finding import Finding
from conceptseg.stats.corrections import holm
from conceptseg.study.deepdream.assess import ALPHA, FAR, Cue, Outside
from conceptseg.study.deepdream.descriptors import NAMES

CLAIMED = ("as in the data", "against the data", "absent in the data", "not known in the data")


def findings(told: Sequence[Cue], classes: tuple[str, ...]) -> list[Finding]:
    result = []
    for cue in told:
        if cue.word not in CLAIMED:
            continue
        change = cue.change["pixel"]
        verb = "raise" if change > 0 else "lower"
        claim = (
            f"Where {cue.route.name(classes)}, paths {verb} the {NAMES[cue.descriptor]} by "
            f"{abs(change):.2f} standard deviations ({abs(cue.change['phase']):.2f} in phases), "
            f"random paths change it by {cue.change['smooth']:+.2f}, "
        )
        if cue.word == "as in the data":
            claim += f"and so do the classes in the data ({cue.natural:+.2f})."
        elif cue.word == "against the data":
            claim += f"while in the data the classes differ the other way ({cue.natural:+.2f})."
        elif cue.word == "absent in the data":
            claim += "though in the data the classes hardly differ in it."
        else:
            claim += "and the data hold nothing to compare with."
        result.append(
            Finding(
                claim=claim,
                class_=classes[cue.route.target],
                effect=change,
                ci=cue.interval,
                p=cue.p,
                p_adjusted=cue.p_bh,
                n=cue.n,  # starts that flip
                evidence="cues",
                details={
                    "effect_name": "change on the pixel path (SD)",
                    "descriptor": cue.descriptor,
                    "conclusion": cue.word,
                    "path": cue.route.name(classes),
                },
            )
        )
    return result


def context_findings(rows: Sequence[Outside], classes: tuple[str, ...]) -> list[Finding]:
    """Paths that change the surroundings rather than the region."""
    result = []
    corrected = holm([one.p for one in rows]).tolist()
    for one, p in zip(rows, corrected, strict=True):
        if p > ALPHA or one.interval[0] <= FAR:
            continue
        result.append(
            Finding(
                claim=f"Where {one.route.name(classes)}, {one.share:.0%} of the change lies "
                f"far from the region whose class is to change (with the network's weights "
                f"shuffled, {one.shuffled:.0%}): its surroundings matter.",
                class_=classes[one.route.target],
                effect=one.share,
                ci=one.interval,
                p=one.p,
                p_adjusted=float(p),
                n=one.n,
                evidence="paths",
                details={
                    "effect_name": "share of the change far from the region",
                    "path": one.route.name(classes),
                },
            )
        )
    return result
