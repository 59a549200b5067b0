"""The tables of an audit, and the sentence of each verdict, to be quoted as it stands."""

from collections.abc import Callable, Iterable, Mapping
from math import ceil, isfinite
from typing import TypeVar

import numpy as np

from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.result.wording import number, p_value, signed
from conceptseg.study.audit.case import REACTS, Case, Mechanism
from conceptseg.study.audit.extent import Dose
from conceptseg.study.audit.kept import SCORES
from conceptseg.study.audit.offending import Composite
from conceptseg.study.audit.pictures import KINDS, Pair

T = TypeVar("T")


def _part(kind: str, place: int) -> Callable[[Case], float]:
    return lambda case: (case.there if kind == "there" else case.lacking)[place]


def _said(line: str, of: Callable[[Mechanism], T]) -> Callable[[Case], T | None]:
    """Of a case what a line of ablations says, None where it was not tried."""

    def told(case: Case) -> T | None:
        one = case.mechanism(line)
        return None if one is None else of(one)

    return told


def _largest(one: Mechanism) -> float:
    return one.largest


def _agrees(case: Case, line: str) -> bool:
    return any(one.line == line for one in case.agreeing)


EFFECT = Column(
    "effect", "IoU with it less without it", interval=True, brief="effect", ends=("low", "high"),
    of="change",
)  # fmt: skip
LOOKS = Column("looks", "relevance on it, beyond shuffled weights", interval=True)
ALONE = Column("alone", "probability lost when seen alone", interval=True)
RADIUS = Column("radius", "context radius, px")
ABLATED = Column(
    "ablated", "IoU lost where it is, its direction taken out", interval=True,
    of=_said("ablated", lambda one: one.beyond),
)  # fmt: skip
CHANNELS = Column(
    "channels", "IoU lost where it is, the class's channels set to their mean", interval=True,
    of=_said("channels", lambda one: one.beyond),
)  # fmt: skip
HIDING = Column("hiding", "IoU lost where it is, its surroundings hidden", interval=True)
CLASS = Column("class", of="class_name")
CONTEXT = Column("context", of=lambda case: case.context.name)
VERDICTS = (
    CLASS,
    CONTEXT,
    "verdict",
    EFFECT,
    Column("p_adjusted", "p adjusted", of=lambda case: case.test.adjusted),
    Column("detectable", "detectable change"),
    Column("n", "images or groups", of=lambda case: case.change.n),
    Column("needed", "images that would decide"),
    Column("sentence", of=lambda case: sentence(case)),
)
PARTS = (
    CLASS,
    CONTEXT,
    Column("before", "IoU as it is"),
    Column("cost", "cost of any swap"),
    *(
        Column(f"{kind}_{name}", f"{name}, {words} it", of=_part(kind, place))
        for kind, words in (("there", "with"), ("lacking", "without"))
        for place, name in enumerate(SCORES)
    ),
    Column("own", "IoU as it is, images that hold it less others", interval=True),
    Column("recruits", "part of other classes taken for it, with it less without", interval=True),
    Column("taken_for", "mostly taken for"),
    Column("margin", "margin, px"),
    Column("filled", "part of the margin that it fills there"),
    Column("along", "comes with it", of=lambda case: ", ".join(case.company.along)),
    Column("instead", "stands in its place", of=lambda case: ", ".join(case.company.instead)),
    Column("reacting", f"share of images that change by {REACTS:g}"),
    Column("images", of=lambda case: len(case.ids)),
    Column("donors_with", "donors with it", of=lambda case: case.donors[0]),
    Column("donors_without", "donors without it", of=lambda case: case.donors[1]),
    Column("p", of=lambda case: case.test.p),
    Column("p_least", "least p possible", of=lambda case: case.test.least),
)


def verdicts(cases: Iterable[Case]) -> Table:
    return Table.of(cases, VERDICTS, "One verdict for each class and context")


def parts(cases: Iterable[Case]) -> Table:
    return Table.of(cases, PARTS, "What becomes of the class's pixels in either surroundings")


def looks(cases: Iterable[Case]) -> Table:
    columns = (
        *(CLASS, CONTEXT, ALONE, RADIUS, LOOKS, HIDING),
        Column("hidden", "hiding agrees"),
        ABLATED,
        Column("ablated_of", "what was taken out", of=_said("ablated", lambda one: one.what)),
        Column("ablated_random", "at most by a random direction", of=_said("ablated", _largest)),
        Column("agrees", "ablation agrees", of=lambda case: _agrees(case, "ablated")),
        CHANNELS,
        Column("channels_of", "channels", of=_said("channels", lambda one: one.what)),
        Column("channels_random", "at most by as many others", of=_said("channels", _largest)),
        Column("channels_agree", "channels agree", of=lambda case: _agrees(case, "channels")),
    )
    return Table.of(cases, columns, "What a class has to see, and what its layer holds")


def _of(cases: tuple[Case, ...]) -> list[Column | str]:
    """The columns that say of which of the cases a row is."""
    return [
        Column("class", of=lambda row: cases[row.case].class_name),
        Column("context", of=lambda row: cases[row.case].context.name),
        Column("verdict", of=lambda row: cases[row.case].verdict),
    ]


def composites(rows: Iterable[Composite], cases: tuple[Case, ...]) -> Table:
    columns: list[Column | str] = [
        *_of(cases),
        "image",
        Column("arm", "surroundings"),
        "donor",
        Column("margin", "margin, px", of=lambda row: cases[row.case].margin),
        Column("iou", "IoU in it"),
        Column("change", "IoU of the image with it less without it"),
    ]
    return Table.of(rows, columns, "The composites that show the reliances")


def examples(pairs: Iterable[Pair], cases: tuple[Case, ...]) -> Table:
    def key(what: str) -> Callable[[Pair], str]:
        return lambda pair: picture_key(pair.case, what)

    columns: list[Column | str] = [
        *_of(cases),
        "image",
        Column("donor_with", "donor with it", of="there"),
        Column("donor_without", "donor without it", of="lacking"),
        *(Column(f"picture_{what}", of=key(what)) for what in ("before", *KINDS)),
    ]
    return Table.of(pairs, columns, "The images that picture the verdicts")


def doses(rows: Iterable[Dose], cases: tuple[Case, ...]) -> Table:
    columns: list[Column | str] = [
        *_of(cases),
        Column("part", "third of the composites"),
        Column("share", "share of the image that it takes"),
        Column("effect", "IoU in these less without it", interval=True),
    ]
    return Table.of(rows, columns, "Whether more of the context does more")


def padding(changed: Mapping[str, np.ndarray]) -> Table:
    """Shares of pixels that other paddings change, by images [2, 4], as means over them."""
    from conceptseg.network.padding import MODES
    from conceptseg.study.audit.shift import BANDS

    tried = [one for one in changed.values() if np.isfinite(one).all()]
    means = np.mean(tried, axis=0) if tried else np.empty((0, 0))
    lows = (0.0, *BANDS)
    rows = [
        {"padding": mode, "near": low, "far": high, "changed": float(value), "images": len(tried)}
        for mode, row in zip(MODES, means, strict=False)
        for low, high, value in zip(lows, BANDS, row.tolist(), strict=False)
    ]
    labels = {
        "near": "from the border, in shorter sides",
        "far": "to",
        "changed": "share of pixels predicted otherwise",
    }
    keys = ("padding", "near", "far", "changed", "images")
    return Table(rows, keys, labels, "What other padding of the convolutions changes")


def pictures(drawn: Mapping[tuple[int, str], bytes]) -> dict[str, bytes]:
    return {picture_key(case, what): data for (case, what), data in drawn.items()}


def picture_key(case: int, what: str) -> str:
    """The key of a picture: of which case, and of what."""
    return safe_key(f"case-{case}-{what}")


def sentence(case: Case) -> str:
    """A verdict as a sentence that can be quoted as it stands."""
    name, context, change = case.class_name, case.context.name, case.change
    ends = f" [{signed(change.low, 3)}, {signed(change.high, 3)}]" if change.ci else ""
    size = f"{signed(change.value, 3)}{ends} IoU over {change.n} {change.of}"
    both = f"{case.there[0]:.2f} {_with(case)}, {case.lacking[0]:.2f} {_without(case)}"
    if case.shown:
        needs = f"{context}" if change.value > 0 else f"the absence of {context}"
        told = (
            f"{name} relies on {needs}: its IoU is {both}, a difference of {size} "
            f"(corrected p {p_value(case.test.adjusted)})"
        )
        lost = _lost(case)
        beside = f"; {case.company.words}" if case.company else ""
        return f"{told}. {lost[0].upper()}{lost[1:]}; {_supported(case)}{beside}."
    if case.verdict == "underpowered":
        return f"Whether {name} relies on {context} is open: {size}. {_missing(case)}"
    least = f"its IoU is {both}, and the difference, {size}, lies within {case.delta:g}"
    rare = f"; up to {case.unseen:.0%} of images may react although none of these did"
    room = rare if case.reacting == 0 else f"; {case.reacting:.0%} of the images do react"
    if case.cost >= REACTS:
        what = "moving it" if case.context.kind == "place" else "any swap of its surroundings"
        room += f"; {what} costs it {case.cost:.2f}, {_with(case, short=True)} or {_without(case)}"
    if case.verdict == "attribution only":
        return f"{name} looks at {context} and was not shown to need it: {least}{room}."
    return f"No reliance of {name} on {context} is shown: {least}{room}."


def _with(case: Case, short: bool = False) -> str:
    """Where the context is, in words."""
    if case.context.kind == "place":
        return "there" if short else f"at {case.context.name}"
    return "with it" if short else f"in surroundings with {case.context.name}"


def _without(case: Case) -> str:
    return "far from it" if case.context.kind == "place" else "without it"


def _supported(case: Case) -> str:
    """What the other lines say beside an effect that is shown."""
    told = []
    if case.seen and case.alone is not None:
        told.append(f"seen alone, it loses {case.alone.value:.2f} of its probability")
    if case.attributed and case.looks is not None:
        told.append(
            f"the share of its relevance that lies there is {100 * case.looks.value:.0f} points "
            "above that with shuffled weights"
        )
    if case.hidden and case.hiding is not None:
        does = "loses" if case.hiding.value > 0 else "gains"
        told.append(
            f"with all of its surroundings hidden it {does} {abs(case.hiding.value):.2f} IoU more "
            "in images that hold that than in those that lack it"
        )
    for one in case.agreeing:
        does = f"{'loses' if one.lost > 0 else 'gains'} {abs(one.lost):.2f} IoU"
        told.append(
            f"with {one.what} it {does} there, beyond what it does elsewhere"
            if case.context.kind == "place"
            else f"with {one.what} {one.done} it {does} where that is, and by "
            f"{one.others} {one.largest:.2f} at most"
        )
    return "; ".join(told) or "no other line of evidence shows it"


def _lost(case: Case) -> str:
    """What becomes of the pixels where the surroundings are the worse ones."""
    worse = case.lacking if case.change.value > 0 else case.there
    flipped, missed = worse[2], worse[3]
    mostly = f" (mostly {case.taken_for})" if case.taken_for and flipped >= REACTS else ""
    where = _without(case) if case.change.value > 0 else _with(case, short=True)
    return (
        f"{where}, {flipped:.0%} of its pixels are taken for another class{mostly} and "
        f"{missed:.0%} for the background{_recruits(case)}"
    )


def _recruits(case: Case) -> str:
    """Whether the class appears where it is not, with the context or without it."""
    part = case.recruits
    if part is None or not (part.above(case.delta) or part.below(-case.delta)):
        return ""
    kind = _with(case, short=True) if part.value > 0 else _without(case)
    points = f"{100 * abs(part.value):.0f} points more"
    return f"; {kind}, it is what other classes' regions are taken for, by {points} of their pixels"


def _missing(case: Case) -> str:
    """Why a verdict is open, and what would decide it."""
    if case.hardly:
        return (
            f"The class is hardly found in any other surroundings (IoU {case.there[0]:.2f} and "
            f"{case.lacking[0]:.2f}, as it is {case.before:.2f}), so that it has nothing to lose."
        )
    if case.kept and case.change.within(case.delta):
        why = f"it fills {case.filled:.0%} of the margin around {case.class_name}"
        if case.unexplained and case.own is not None:
            why = (
                f"images that hold it have an IoU {case.own.value:+.2f} from those that lack it, "
                "which no swap beyond the margin explains"
            )
        return f"In its own images {why}; what lies there stays in both. Take a smaller margin."
    if not case.test.testable:
        return f"No effect could have been shown, however large: {_too_few(case)}."
    told = f"The interval lies neither beyond {case.delta:g} nor within it"
    if isfinite(reach := case.detectable):
        told += f"; an effect of {number(reach)} would have been shown in four of five data sets"
    if case.needed is not None:
        groups = ceil(case.change.n * case.needed / len(case.ids))
        of = f", of {groups} groups," if case.change.n < len(case.ids) else ""
        told += f". About {case.needed} images like these{of} would decide"
    return f"{told}."


def _too_few(case: Case) -> str:
    """What there is of a pair that could not be tested."""
    tried = f"there are {case.change.n} {case.change.of}"
    if any(case.donors):
        with_it, without = case.donors
        tried += f", and donors of {with_it} groups with it and of {without} without it"
    among = f"for a test among {case.pairs} pairs" if case.pairs > 1 else "for any test"
    fewer = "; name fewer contexts, or give images of more groups" if case.pairs > 1 else ""
    return f"{tried}, too few {among}{fewer}"
