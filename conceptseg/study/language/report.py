"""The report of a language study, from its result alone."""

from collections.abc import Callable, Sequence

from conceptseg.report import charts, cover
from conceptseg.report.blocks import Block, Gallery, Picture, Report, Section, TableBlock
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.study.language.conclude import DICE, RIGHT, TELLS, TOLD
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """The language beside its rivals, what its words tell, its dictionary, and its explorer."""
    notes = result.notes
    return cover.report(
        result,
        title="Does a language emerge for the network's objects?",
        method="Emergent language of",
        lead=f"Messages of {notes['words']} words out of {notes['vocabulary']} were learnt for "
        f"{notes['objects']} objects of {counted(len(notes['classes']), 'class')}, "
        f"{notes['seeds']} times. They were judged on {notes['judging']} objects of other images, "
        "and hold "
        f"{notes['bits']:.1f} bits.",
        facts=(("Objects", notes["objects"]), ("Classes", ", ".join(notes["classes"]))),
        sections=(
            rivals(result),
            attributes(result),
            dictionary(result),
            explorer(result),
            local_maps.section(result, "Maps show where; words say what objects have in common."),
            numbers(result),
        ),
        limits=(
            "Sender and receiver learnt after the network, from what one layer holds: the words "
            "are theirs, and the network never used them.",
            "What a word tells is told by attributes that the manifest has; what it does not have "
            "may be told as well.",
            "Another seed gives other words; how alike their divisions are stands in the table.",
            "An object is a connected component of what is predicted; what is missed has no word.",
        ),
        illustrate=local_maps.illustrate(result, illustrate(result)),
    )


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of what words tell, an object of each word at the place that tells most of it; of what
    receivers draw, objects beside the masks that are heard for what is said of them."""
    words = sorted(result.tables["words"].rows, key=lambda row: -row["objects"])
    explored = result.tables["explored"].rows

    def own(finding: Finding) -> list[Picture]:
        if finding.evidence == "masks":
            return _as_said(explored)
        place = finding.details.get("place")
        return [_symbol(row) for row in words if row["pictures"] and place in (None, row["place"])]

    return own


def _symbol(row: charts.Row) -> Picture:
    """The object of which a word is said most surely."""
    said = f"place {row['place']}, word {row['word']}"
    means = "; ".join(row["means"])
    return Picture(
        row["pictures"][0],
        f"object of which, at {said}, is said",
        f"{said}: {means}" if means else said,
    )


def _as_said(explored: Sequence[charts.Row]) -> list[Picture]:
    """Each object that is explored, and the mask that is heard for its message as it is."""
    found = dict[int, list[Picture]]()
    for row in explored:
        if row["said"] and row["object"] not in found:
            name = f"{row['class']} in {row['sample']}"
            shown = [Picture(row["picture"], f"{name}, outlined", name)] if row["picture"] else []
            heard = Picture(row["mask"], f"mask heard for {name}", f"heard as {row['heard']}")
            found[row["object"]] = [*shown, heard]
    return [one for pictures in found.values() for one in pictures]


def rivals(result: Result) -> Section:
    table = result.tables["codes"]
    tells = charts.forest(
        table,
        "code",
        TELLS,
        reference=0.0,
        heading="What codes tell of attributes",
        caption="Of the place that told most of each attribute where it was learnt, on other "
        "objects, in the mean over attributes and seeds; zero is chance. The class is left out, "
        "which the language is taught.",
        id="codes",
    )
    masks = charts.forest(
        table,
        "code",
        DICE,
        heading="What receivers draw",
        caption="Dice of the mask in its box. Every code has a receiver of its own, of the same "
        "make, that learnt as long. Another object's message gives "
        f"{table.rows[0]['shuffled']:.2f}.",
        id="masks",
    )
    right = charts.forest(
        table, "code", RIGHT, heading="Classes heard right", caption="By the same receivers."
    )
    return Section("rivals", "Is it more than a plain code?", "", [tells, masks, right])


def attributes(result: Result) -> Section:
    table = result.tables["attributes"]
    forest = charts.forest(
        table.show("attribute", "place", TOLD, "p_adjusted"),
        "attribute",
        TOLD,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= 0.05,
        heading="Attributes that words tell",
        caption="By the first language's place that tells most. Filled: more than when images "
        "exchange their values, corrected over attributes.",
        id="attributes",
    )
    return Section("told", "What do words tell?", "", [forest])


def dictionary(result: Result) -> Section:
    lines = []
    rows = [row for row in result.tables["words"].rows if row["pictures"]]
    most = max((len(row["pictures"]) for row in rows), default=0)
    for row in rows:
        own: list[Picture | None] = [
            Picture(key, f"object of which word {row['word']} is said, outlined")
            for key in row["pictures"]
        ]
        means = "; ".join(row["means"])
        name = f"place {row['place']}, word {row['word']}, {row['objects']} objects: {means}"
        lines.append((name, own + [None] * (most - len(own))))
    heads = [f"{n + 1}." for n in range(most)]
    text = "Objects of which the sender is surest to say a word, and what they have in common."
    blocks: list[Block] = [Gallery(heads, lines)] if lines else []
    return Section("dictionary", "The dictionary", text, blocks)


def explorer(result: Result) -> Section:
    blocks: list[Block] = []
    for own in result.tables["explored"].by("object").values():
        vocabulary, sample = result.notes["vocabulary"], own.rows[0]["sample"]
        lines = []
        for place, each in own.by("place").items():
            cells: list[Picture | None] = [_heard(row) for row in each.rows]
            if own.rows[0]["picture"]:
                alt = f"{own.rows[0]['class']} in {sample}, outlined"
                cells.insert(0, Picture(own.rows[0]["picture"], alt))
            lines.append((f"another word at place {place}", cells))
        heads = [f"word {n + 1}" for n in range(vocabulary)]
        if own.rows[0]["picture"]:
            heads.insert(0, "the object")
        blocks.append(Gallery(heads, lines, f"{own.rows[0]['class']}: {sample}"))
    text = "What the receiver draws, and takes the object for, if one word were another."
    return Section("explorer", "Exchange a word", text, blocks)


def _heard(row: charts.Row) -> Picture:
    said = f"{row['heard']}{' (as said)' if row['said'] else ''}"
    return Picture(row["mask"], f"mask heard for word {row['word']}", said)


def numbers(result: Result) -> Section:
    names = ("codes", "attributes", "words")
    tables = [
        TableBlock(table, table.caption)
        for table in (result.tables[key] for key in names)
        if table.rows
    ]
    return Section("numbers", "All numbers", "", tables)
