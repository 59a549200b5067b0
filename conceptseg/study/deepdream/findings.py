"""What is claimed, and how surely."""

from conceptseg.result.finding import Finding
from conceptseg.study.deepdream.assess import CLAIMED, FAR, Assessed, Cue
from conceptseg.study.deepdream.descriptors import NAMES


def findings(assessed: Assessed, classes: tuple[str, ...]) -> list[Finding]:
    """Descriptors that paths change, and paths that change the surroundings of the region."""
    cues = [_change(cue, classes) for cue in assessed.cues if cue.word in CLAIMED]
    return cues + _surroundings(assessed, classes)


def _change(cue: Cue, classes: tuple[str, ...]) -> Finding:
    verb = "raise" if cue.pixel.value > 0 else "lower"
    data = {
        "as in the data": f"and so do the classes in the data ({cue.natural:+.2f})",
        "against the data": f"while in the data the classes differ the other way "
        f"({cue.natural:+.2f})",
        "absent in the data": "though in the data the classes hardly differ in it",
        "not known in the data": "and the data hold nothing to compare with",
    }
    return Finding.about(
        f"Where {cue.route.name}, paths {verb} the {NAMES[cue.descriptor]} by "
        f"{abs(cue.pixel.value):.2f} standard deviations ({abs(cue.change['phase']):.2f} in "
        f"phases), random paths change it by {cue.change['smooth']:+.2f}, {data[cue.word]}.",
        cue.pixel,
        cue.test,
        plain=f"To call a region {classes[cue.route.target]}, the network wants "
        f"{'more' if cue.pixel.value > 0 else 'less'} {NAMES[cue.descriptor]}.",
        evidence="cues",
        class_name=classes[cue.route.target],
        effect_name="change on the pixel path (SD)",
        descriptor=cue.descriptor,
        conclusion=cue.word,
        path=cue.route.name,
        starts=cue.n,
    )


def _surroundings(assessed: Assessed, classes: tuple[str, ...]) -> list[Finding]:
    return [
        Finding.about(
            f"Where {one.route.name}, {one.share.value:.0%} of the change lies far from "
            "the region whose class is to change (with the network's weights shuffled, "
            f"{one.shuffled:.0%}): its surroundings matter.",
            one.share,
            one.test,
            plain=f"Whether a region is called {classes[one.route.target]} depends on what lies "
            "far from it.",
            evidence="paths",
            class_name=classes[one.route.target],
            effect_name="share of the change far from the region",
            path=one.route.name,
            starts=one.n,
        )
        for one in assessed.outside
        if one.test.passed and one.share.above(FAR)
    ]
