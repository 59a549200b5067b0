"""The section on what the rules did with relevance, and which rules suit the network."""

from collections.abc import Mapping
from typing import Any

from conceptseg.explain.lrp.doubts import PLACES, misplaced, worded
from conceptseg.report.blocks import Block, Facts, Notice, Section, TableBlock
from conceptseg.result.saved import Result

READ = (
    "Absolute growth: absolute relevance at the image over that at the logits; more than 3 is "
    "made of terms that cancel. Silent units: the largest share of a rectifier's relevance on "
    "units that put out nothing. Grid: energy at the frequencies that dilated and strided "
    "convolutions draw. "
    "Occlusion: correlation over 8 x 8 cells with what the class's logit loses when a cell is "
    "hidden. Flipping: how much earlier the logit falls when the most relevant cells are hidden "
    "first than when they are hidden last, from -1 to 1. The last two come from "
)


def retained(result: Result) -> Section:
    kept = result.notes["kept"]
    given = kept["given"] or float("nan")
    absolute = kept["given_absolute"] or float("nan")
    bias = "take none but the last layer's" if result.notes["zero_bias"] else "take their part"
    if result.notes["reference"]:
        bias = "cancel between image and reference"
    facts = Facts(
        [
            ("Rules", rules_of(result)),
            ("Biases", bias),
            ("Norms folded into the layer before", f"{kept['folded']} of {kept['norms']}"),
            (
                "Relevance that reached the image, signed sum",
                f"{kept['reached'] / given:.1%} of the logits'",
            ),
            ("The same, absolute amount", f"{kept['reached_absolute'] / absolute:.3g} times"),
            (
                "Largest absolute amount within",
                f"{kept['inner']:.3g} times, in {kept['module'] or 'the network itself'}",
            ),
            ("Share on silent units, at most", f"{kept['silent']:.1%}"),
            ("Share of a map's energy at a grid's frequencies, at most", f"{kept['grid']:.1%}"),
            (
                "Relevance through the layer",
                f"{kept['at_layer'] / given:.1%}, absolute "
                f"{kept['at_layer_absolute'] / absolute:.3g} times",
            ),
            ("Images", kept["images"]),
        ]
    )
    return Section(
        "retained",
        "What the rules retain",
        "Relevance should be handed on whole, in sum and in absolute amount: what is conserved in "
        "sum alone may be terms that cancel."
        + (
            ""
            if result.notes["reference"]
            else " What a module loses went to its bias, or met sums without a positive part; what "
            "it gains comes from sums near zero."
        ),
        [
            *doubt(str(result.notes["composite"]), kept),
            *_advice(result),
            facts,
            _rules(result),
            TableBlock(result.tables["retained"], "By module", folded=True),
        ],
    )


def rules_of(result: Result) -> str:
    """The composite, and for `rescale` what changes are counted from."""
    name = str(result.notes["composite"]).replace("_", " ")
    reference = result.notes["reference"]
    return f"{name}, changes from a reference ({reference})" if reference else name


def doubt(composite: str, kept: Mapping[str, Any]) -> list[Block]:
    """A warning where the maps show little of the relevance, or much that is none."""
    if not kept["given_absolute"]:
        return []
    lines = worded(
        composite,
        kept["reached"] / kept["given"] if kept["given"] else float("nan"),
        kept["reached_absolute"] / kept["given_absolute"],
        kept["inner"],
        kept["module"],
        kept["silent"],
        kept["grid"],
    ) | misplaced(kept.get("unplaced", ()))  # results of earlier versions lack it
    if not lines:
        return []
    text = "Maps and context scores are to be doubted."
    title = "Relevance is not conserved" if lines.keys() != {PLACES} else "Rules may be misplaced"
    return [Notice(text, "warning", title, tuple(lines.values()), "doubt")]


def _advice(result: Result) -> list[Block]:
    """That other rules suit the network better, where they do."""
    best = result.notes["recommended"]
    composite = result.notes.get("rules_in_use", result.notes["composite"])  # of earlier versions
    if not best or best == composite:
        return []
    rows = {row["composite"]: row for row in result.tables["rules"].rows}
    mine, other = (rows[name.replace("_", " ")] for name in (composite, best))
    why = f"does not meet: {mine['fails']}" if mine["fails"] else "agrees less with both"
    text = (
        f"composite: {best} suits this network better: its maps agree with occlusion by "
        f"{other['occlusion']:.2f} and flipping gives {other['flipping']:.2f}, against "
        f"{mine['occlusion']:.2f} and {mine['flipping']:.2f} under {composite}, which {why}."
    )
    return [Notice(text, "warning", "Other rules suit the network better", id="rules-advice")]


def _rules(result: Result) -> Block | None:
    table = result.tables["rules"]
    if not table.rows:
        return None
    images = result.notes["rules_images"]
    where = "1 image" if images == 1 else f"{images} images"
    return TableBlock(
        table,
        "Which rules suit this network",
        f"{READ}{where}, the largest class of each: a hint, not a test.",
        "rules",
    )
