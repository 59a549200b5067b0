"""The report of a SegNBDT study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report, Section
from conceptseg.result.saved import Result
from conceptseg.study.segnbdt import exhibits, sections, trust


def compose(result: Result) -> Report:
    """Findings, the tree, its fidelity, where it goes wrong, any pixel's path, and what counts."""
    notes = result.notes
    rows = {row["decided_by"]: row for row in result.tables["fidelity"].rows}
    hard, soft = rows["tree, hard"], rows["tree, soft"]
    parts: list[Section] = [
        sections.tree(result),
        sections.fidelity(result),
        sections.wrong(result),
        exhibits.inspector(result),
        exhibits.nodes(result),
        sections.removal(result),
        trust.calibration(result),
        trust.chance(result),
    ]
    if result.tables["tuning"].rows:
        parts.insert(2, trust.tuning(result))
    parts.append(exhibits.saliency(result))
    lead = (
        f"The decision of {notes['model']} among {len(notes['classes'])} classes was read as a "
        f"tree made from {notes['kind']}. Followed from the root, the tree agrees with the network "
        f"at {hard['agreement']:.1%} of the pixels of {notes['images']} images; by the product of "
        f"probabilities at {soft['agreement']:.1%}. Random trees agree at "
        f"{notes['null_mean']:.1%}. "
    )
    if hard.get("change") is not None:
        lead += (
            f"Deciding by the tree changes the mIoU by {hard['change']:+.3f} (hard) and "
            f"{soft['change']:+.3f} (soft). "
        )
    lead += (
        "Where the agreement is low, the nodes below describe the tree and not the network."
        if hard["agreement"] < 0.95
        else "What the nodes say holds for the network where the two agree."
    )
    return Report(
        title="A segmentation network as a decision tree",
        subtitle=f"SegNBDT on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Last layer", notes["head"] or "not linear"),
            ("Data", notes["manifest"]),
            ("Judged images", f"{notes['images']} of {notes['images_given']} given"),
            ("Tree from", notes["kind"]),
            ("Nodes", len(result.tables["nodes"].rows)),
            ("Tuned", notes["tune"] if notes["tune"] != "none" else "no (post hoc)"),
            ("Intervals over", f"{notes['groups']} {notes['unit']}s"),
        ),
        sections=parts,
        limits=_limits(result),
    )


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "The tree is a second reading of the network's own logits. Where it departs from the "
        "network, its path is no account of what the network did.",
        "A node scores a branch by the mean of its classes' logits. A class that is sure of itself "
        "is outvoted by others of its branch that are sure not to be meant, so large branches lose "
        "against single classes; tuning or another tree can mend that.",
        "A node's name lists classes. What the node looks at is told by evidence and removal, and "
        "these speak of single decisions at the layer and in the images that were studied.",
        f"Removed pixels are filled ({notes['fill']}); a filled place is something the network may "
        "never have met. Removal of a part has no control of its own shape; that of evidence has.",
        "Where wrong pixels go wrong first is told by where the paths to the true and to the "
        "decided class part. A wrong decision above says nothing about the nodes below it, which "
        "is why each node's accuracy counts all pixels of its own classes.",
        "No finding about a node is no proof that it rests on nothing: the tables give the "
        "smallest change that would have been shown, after correction for all that were tested.",
    ]
    if notes["untested"]:
        limits.append(
            f"{notes['untested']} of {notes['removals']} changes by removal stand in too few "
            "images to be tested, however large they are: they have no p-value."
        )
    if notes["tune"] != "none":
        limits.append(
            "Nodes, evidence and removal are those of the network as given; tuning enters the "
            "table of fidelity alone. The tuned network differs from the given one."
        )
    if notes["labelled"] < notes["images"]:
        limits.append(
            f"{notes['images'] - notes['labelled']} judged images have no labels; there a decision "
            "counts as right where it agrees with the network."
        )
    if notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['manifest_groups']} groups, too few to test over. "
            "Intervals and tests count images, so they speak of these groups and not of new ones."
        )
    return tuple(limits)
