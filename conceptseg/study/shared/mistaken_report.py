"""How a result and its report show which concepts a network's mistakes lie on."""

from collections.abc import Sequence

from conceptseg.report.blocks import Block, Card, Cards, Notice, Picture, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.result.verdict import Verdict, concern, listed
from conceptseg.result.wording import signed
from conceptseg.study.shared.mistaken import Erased, Mistakes
from conceptseg.study.shared.mistakes import Mistake

SECTION = "mistakes"
MOST_OF = 0.8
"""Share of the mistakes on a concept that are gone without it, from which on they come from it; of
fewer a part does."""
MISLED = (
    "Keep it from images that hold these things, or train it on such images with their labels; the "
    "findings say what the mistakes cost, and what becomes of them without the concept."
)
ON = Column("on", "rate on the concept")
OFF = Column("off", "rate elsewhere")
EXCESS = Column("excess", "rate on, less elsewhere", interval=True, brief="excess")
WORTH = Column("worth", "IoU they cost", interval=True)
FIT = Column("fit", "Dice of the concept and the mistakes")
P = Column("p_adjusted", "p corrected", of=lambda one: one.test.adjusted)


def findings(found: Mistakes, classes: Sequence[str]) -> list[Finding]:
    """The mistakes that were shown, as faults of the network."""
    result = []
    for i in found.shown:
        one, erased = found.asked[i], found.erased.get(i)
        how = "seen where there is none" if one.kind == "false" else "missed"
        finding = Finding.about(
            told(found, i, classes),
            one.excess,
            one.test,
            plain=f"{classes[one.class_id]} is {how} on {found.names[one.concept]}.",
            evidence=f"mistake-{i}",
            class_name=classes[one.class_id],
            fault=True,
            effect_name="rate of mistakes on the concept less that elsewhere",
            concept=found.names[one.concept],
            kind=one.kind,
            rate_on=one.on,
            rate_off=one.off,
            iou_cost=one.worth.value,
            fit=one.fit,
            images=one.images,
            caused=erased is not None and erased.shown,
            rate_change_erased=erased and erased.change.value,
            p_erased=erased and erased.test.adjusted,
            p_erased_random=erased and erased.p_random,
        )
        result.append(finding)
    return result


def beside(result: Result, verdict: Verdict) -> Verdict:
    """A verdict with the mistakes that were shown.

    They are a concern where they come, at least in part, from something that the user has drawn:
    the question was put by name. Others are said, and leave the answer as it is: a concept of the
    layer's own that is mistaken may be of the class's own object.
    """
    shown = [one for one in result.findings if one.fault]
    if not shown:
        return verdict
    drawn = set(result.config.get("masks") or ())
    caused = [one for one in shown if one.details["concept"] in drawn and one.details.get("caused")]
    if caused:
        said = f"The network is misled by what was drawn: {_plainly(caused)}."
        if verdict.status == "concern":
            return concern(f"{said} {verdict.sentence}", verdict.advice)
        return concern(said, MISLED)
    said = f"Mistakes lie on one concept rather than on others: {_plainly(shown)}."
    return verdict.model_copy(update={"sentence": f"{verdict.sentence} {said}"})


def _plainly(found: Sequence[Finding]) -> str:
    return listed(one.plain.removesuffix(".") for one in found)


def told(found: Mistakes, place: int, classes: Sequence[str]) -> str:
    """What is claimed of the mistake at a place, and what lies under its concept."""
    one = found.asked[place]
    name = found.names[one.concept]
    said = claim(one, name, classes[one.class_id], found.erased.get(place))
    lies = found.lie_on[one.concept] if found.lie_on else ""
    return f"{said} {name[0].upper()}{name[1:]} lies on {lies}." if lies else said


def claim(one: Mistake, concept: str, name: str, erased: Erased | None) -> str:
    if one.kind == "false":
        said = (
            f"{name} is seen on {concept} where there is none: {one.on:.0%} of {concept} that is "
            f"not {name} is taken for it, {one.off:.1%} of the rest of these images."
        )
    else:
        said = (
            f"{name} is missed on {concept}: {one.on:.0%} of its pixels there, {one.off:.1%} of "
            "those elsewhere in these images."
        )
    said += (
        f" In the mean over {one.images} images both rates differ by {one.excess.value:.2f}. These "
        f"mistakes cost the class {one.worth.value:.2f} IoU."
    )
    if erased is not None:
        rate = f"the rate, {erased.rate:.0%} in the mean over {erased.images} images,"
        less = f"by {signed(erased.change.value)}, random edits by {signed(erased.random)}"
        cause = "which does not show that they come from it"
        if erased.shown:
            most = erased.change.value <= -MOST_OF * erased.rate
            cause = "so they come from it" if most else "so part of them comes from it"
        said += f" Erasing {concept} from the layer changes {rate} {less}, {cause}."
    return said


def tables(found: Mistakes, classes: Sequence[str]) -> dict[str, Table]:
    """All that was asked, and the pictures of what was shown."""
    erased = {id(found.asked[i]): one for i, one in found.erased.items()}
    columns = (
        Column("class", of=lambda one: classes[one.class_id]),
        Column("concept", of=lambda one: found.names[one.concept]),
        Column("kind"),
        Column("images"),
        ON,
        OFF,
        EXCESS,
        WORTH,
        FIT,
        P,
        Column("passed"),
        Column("shown", "told (not covered by another)"),
        Column(
            "erased",
            "change of the rate when erased",
            interval=True,
            brief="erased",
            of=lambda one: erased[id(one)].change if id(one) in erased else None,
        ),
        Column(
            "erased_p",
            "p of that, corrected",
            of=lambda one: erased[id(one)].test.adjusted if id(one) in erased else None,
        ),
        Column(
            "erased_p_random",
            "p (one more random edit)",
            of=lambda one: erased[id(one)].p_random if id(one) in erased else None,
        ),
    )
    asked = sorted(found.asked, key=lambda one: (not one.shown, -one.fit))
    rows = [
        {
            "mistake": i,
            "claim": told(found, i, classes),
            "title": f"{classes[found.asked[i].class_id]}: {found.asked[i].kind} on "
            f"{found.names[found.asked[i].concept]}",
            "sample": name,
            "picture": _key(i, name),
            "outline": found.outlines[i, name],
        }
        for i in found.shown
        for name in found.examples[i]
    ]
    return {
        "mistakes": Table.of(asked, columns, "Which concepts mistakes lie on"),
        "mistake_pictures": Table(rows),
    }


def pictures(found: Mistakes) -> dict[str, bytes]:
    """Encoded pictures by the keys of :func:`tables`."""
    return {_key(i, name): data for (i, name), data in found.photos.items()}


def section(result: Result) -> Section | None:
    """The mistakes that were shown, with pictures, and all that was asked; None without labels."""
    if "mistakes" not in result.tables or not result.notes.get("mistaken_images"):
        return None
    asked, shown = result.tables["mistakes"], result.tables["mistake_pictures"].by("mistake")
    text = (
        "Pixels away from a class's border that are taken for it, or are it and missed, in "
        f"{result.notes['mistaken_images']} images with labels: do they lie on one concept rather "
        "than on others? Concepts told by the labels themselves are not asked."
    )
    cards = []
    for number, own in shown.items():
        pictured = [
            Picture(
                row["picture"],
                f"{row['title']} in {row['sample']}: the concept outlined, mistakes on it in red",
                row["sample"],
                outlines=(row["outline"],),
            )
            for row in own.rows
        ]
        first = own.rows[0]
        cards.append(
            Card(first["title"], pictures=pictured, text=first["claim"], id=f"mistake-{number}")
        )
    blocks: list[Block] = [Cards(cards)] if cards else []
    if not cards:
        said = "No concept was shown to hold a class's mistakes."
        if not asked.rows:
            said = (
                "Nothing was asked: no class has mistakes away from its border that could cost it "
                f"{result.notes['smallest_effect']:g} IoU, or too few images hold a concept."
            )
        blocks.append(Notice(said))
    if asked.rows:
        blocks.append(TableBlock(asked, "All pairs of class and concept", folded=bool(cards)))
    return Section(SECTION, "What the network's mistakes lie on", text, blocks)


def _key(place: int, sample_id: str) -> str:
    return safe_key(f"mistake-{place}-{sample_id}")
