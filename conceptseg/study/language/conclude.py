"""The result of a language study: findings in words, tables, arrays and pictures."""

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding, ranked
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.study.language.assess import (
    ATTRIBUTES,
    COMPARED,
    LANGUAGE,
    SCORED,
    SEEDS,
    SHUFFLED,
    Attribute,
    Compared,
    Scored,
)
from conceptseg.study.language.codes import bits
from conceptseg.study.language.config import CLASS, Language
from conceptseg.study.language.objects import SPOKEN
from conceptseg.study.language.pictures import DRAWN, EXPLORED, SHOWN, masks
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

TELLS = Column("tells", "told of attributes, adjusted mutual information", interval=True)
DICE = Column("dice", "Dice of the masks heard", interval=True)
RIGHT = Column("classes", "classes heard right", interval=True)
TOLD = Column("told", "adjusted mutual information", interval=True)


def conclude(study: Language, context: Context, known: Known) -> Result:
    one, classes, comparison = known[SPOKEN], context.model.classes, known[COMPARISON]
    seed, drawn = known[SEEDS][0], known[DRAWN]
    said = seed.told[LANGUAGE]
    ids = list(dict.fromkeys(one.ids))
    group = dict(zip(one.ids, one.sampling.groups, strict=True))
    explored = {
        explorer_key(row, *place): data
        for row in known[EXPLORED]
        for place, data in masks(one, seed, row, study.picture_px).items()
    }
    return Result(
        study="language",
        findings=ranked(findings(known[COMPARED], known[SCORED], known[ATTRIBUTES])),
        tables={
            "codes": code_table(known[SCORED], known[SHUFFLED]),
            "attributes": attribute_table(known[ATTRIBUTES], known[SCORED]),
            "words": word_table(known),
            "explored": explored_table(known, classes),
            "saliency": local_maps.table(comparison, classes),
        },
        arrays={
            "words": said.words.astype(np.int32),
            "class": one.class_id.astype(np.int32),
            "box": one.box.astype(np.int32),
            "judging": one.judging.astype(np.int32),
        },
        images={picture_key(row): data for row, data in drawn.items()}
        | explored
        | local_maps.pictures(comparison),
        skipped=studied.left_out(context, ids, "no object that is kept (images, min_share)"),
        notes=studied.notes(
            context,
            ids,
            [group[name] for name in ids],
            one.sampling.of.removesuffix("s"),
            comparison,
            layer=context.layer,
            classes=[classes[c] for c in one.classes],
            objects=len(one.ids),
            judging=int(one.judging.sum()),
            bits=bits(said.words[one.judging]),
            rival=known[COMPARED].rival_tells,
            image_ids=list(one.ids),
            **study.model_dump(include={"words", "vocabulary", "seeds"}),
        ),
    )


def picture_key(row: int) -> str:
    return f"object-{row}"


def explorer_key(row: int, place: int, word: int) -> str:
    return f"heard-{row}-{place}-{word}"


def findings(
    compared: Compared, scored: Sequence[Scored], attributes: Sequence[Attribute]
) -> list[Finding]:
    """The two comparisons, and the attributes that words tell."""
    by_name = {one.name: one for one in scored}
    own, rival = by_name[LANGUAGE], by_name[compared.rival_tells]
    painter = by_name[compared.rival_dice]
    tell = _sided(compared.tells, "tell more", "tell less", "were not shown to tell more or less")
    drawn = _sided(
        compared.dice,
        "are drawn better",
        "are drawn worse",
        "were not shown to be drawn better or worse",
    )
    found = [
        Finding.about(
            f"The language's words {tell} of attributes than {rival.name}: adjusted mutual "
            f"information {own.tells.value:.3f} against {rival.tells.value:.3f}.",
            compared.tells,
            null=0.0,
            evidence="codes",
            effect_name="adjusted mutual information, less that of the best code",
            rival=rival.name,
        ),
        Finding.about(
            f"From the language masks {drawn} than from {painter.name}: Dice "
            f"{own.dice.value:.3f} against {painter.dice.value:.3f}.",
            compared.dice,
            null=0.0,
            evidence="masks",
            effect_name="Dice, less that of the best code",
            rival=painter.name,
        ),
    ]
    return found + [
        Finding.about(
            f"Word {one.place + 1} of a message tells {one.name}: adjusted mutual information "
            f"{one.tells.value:.2f}.",
            one.tells,
            one.test,
            evidence="attributes",
            effect_name="adjusted mutual information",
            attribute=one.name,
            place=one.place + 1,
        )
        for one in attributes
        if one.name != CLASS and one.test.passed
    ]


def _sided(gap: Estimate, more: str, less: str, unsure: str) -> str:
    """What may be said of a gap: a direction only where its interval lies on one side of 0."""
    return more if gap.above(0) else less if gap.below(0) else unsure


def code_table(scored: Sequence[Scored], shuffled: float) -> Table:
    rows = [
        {
            "code": one.name,
            **TELLS.cells(one.tells),
            **DICE.cells(one.dice),
            **RIGHT.cells(one.classes),
            "bits": one.bits,
            "stable": one.stable,
            "shuffled": shuffled if one.name == LANGUAGE else None,
        }
        for one in scored
    ]
    labels = TELLS.labels | DICE.labels | RIGHT.labels
    labels |= {"bits": "bits of its messages", "stable": "seeds alike, adjusted mutual information"}
    labels |= {"shuffled": "Dice of another object's message"}
    return Table(rows, labels=labels, caption="The language and codes of as many bits")


def attribute_table(attributes: Sequence[Attribute], scored: Sequence[Scored]) -> Table:
    rows = [
        {
            "attribute": one.name,
            "values": one.values,
            "place": one.place + 1,
            **TOLD.cells(one.tells),
            "p_adjusted": one.test.adjusted,
            **{code.name: code.each.get(one.name) for code in scored},
        }
        for one in attributes
    ]
    labels = {**TOLD.labels, "p_adjusted": "p adjusted", "place": "word of the message"}
    return Table(rows, labels=labels, caption="What words tell of attributes")


def word_table(known: Known) -> Table:
    """A row for each word at each place: how often it is said, and of what values."""
    one, said = known[SPOKEN], known[SEEDS][0].told[LANGUAGE].words
    rows = []
    for place in range(said.shape[1]):
        for word in np.unique(said[:, place]).tolist():
            held = said[:, place] == word
            said_of = list[tuple[float, str]]()
            for name, values in one.attributes.items():
                shares = np.bincount(values[held], minlength=len(one.values[name])) / held.sum()
                usual = np.bincount(values, minlength=len(one.values[name])) / len(values)
                best = int(np.argmax(shares - usual))
                said_of.append(
                    (
                        float(shares[best] - usual[best]),
                        f"{name} {one.values[name][best]} ({shares[best]:.0%})",
                    )
                )
            rows.append(
                {
                    "place": place + 1,
                    "word": word + 1,
                    "objects": int(held.sum()),
                    "means": [text for _, text in sorted(said_of, reverse=True)[:2]],
                    "pictures": [
                        picture_key(row)
                        for at, value, row in known[SHOWN]
                        if (at, value) == (place, word) and row in known[DRAWN]
                    ],
                }
            )
    labels = {"place": "word of the message", "means": "more often than usual of"}
    return Table(rows, labels=labels, caption="The dictionary")


def explored_table(known: Known, classes: Sequence[str]) -> Table:
    """For some objects what the receiver hears if one word is another."""
    one, seed = known[SPOKEN], known[SEEDS][0]
    said = seed.told[LANGUAGE].words
    rows = [
        {
            "object": row,
            "sample": one.ids[row],
            "class": classes[int(one.class_id[row])],
            "picture": picture_key(row) if row in known[DRAWN] else None,
            "place": place + 1,
            "word": word + 1,
            "said": bool(said[row, place] == word),
            "heard": classes[one.classes[int(seed.named[row, place, word])]],
            "mask": explorer_key(row, place, word),
        }
        for row in known[EXPLORED]
        for place in range(seed.other.shape[1])
        for word in range(seed.other.shape[2])
    ]
    return Table(rows, labels={"place": "word of the message"}, caption="Words exchanged")
