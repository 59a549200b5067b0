"""The report of a SegNBDT study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.segnbdt import exhibits, sections, trust
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """Findings, the tree, its fidelity, where it goes wrong, any pixel's path, and what counts."""
    notes = result.notes
    return cover.report(
        result,
        title="A segmentation network as a decision tree",
        method="SegNBDT on",
        lead=_lead(result),
        facts=(
            ("Last layer", notes["head"] or "not linear"),
            ("Tree from", notes["kind"]),
            ("Nodes", len(result.tables["nodes"].rows)),
            ("Tuned", notes["tune"] if notes["tune"] != "none" else "no (post hoc)"),
        ),
        sections=(
            sections.tree(result),
            sections.fidelity(result),
            trust.tuning(result),
            sections.wrong(result),
            exhibits.inspector(result),
            exhibits.nodes(result),
            sections.removal(result),
            trust.calibration(result),
            trust.chance(result),
            local_maps.section(
                result,
                "Where single images are looked at for a class as a whole, without a tree.",
            ),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, exhibits.illustrate(result)),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    rows = {row["decided_by"]: row for row in result.tables["fidelity"].rows}
    hard, soft = rows["tree, hard"], rows["tree, soft"]
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
    if hard["agreement"] < 0.95:
        return lead + (
            "Where the agreement is low, the nodes below describe the tree and not the network."
        )
    return lead + "What the nodes say holds for the network where the two agree."


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "The tree is a second reading of the network's own logits. Where it departs from the "
        "network, its path does not describe what the network did.",
        "A node scores a branch by the mean of its classes' logits. One class with a high logit is "
        "outweighed by the low logits of the others in its branch, so large branches lose against "
        "single classes. Tuning, or another tree, can correct that.",
        "A node's name only lists its classes. Evidence and removal show what the node looks at, "
        "and only for single decisions, at the layer and in the images that were studied.",
        f"Removed pixels are filled ({notes['fill']}); a filled place is something the network may "
        "never have seen. So evidence is compared with its own shape at other places, and a part "
        "of the image with as many pixels that lie as near; parts for which there are none are "
        "not tested: nothing is said of them, neither that they matter nor that they do not.",
        "A wrong pixel goes wrong at the node where the path to its true class and the path to the "
        "decided class part. A wrong decision there says nothing about the nodes below, so each "
        "node's accuracy counts all pixels of its own classes.",
        "Absence of evidence is not evidence of absence: where no finding is reported for a node, "
        "the tables give the smallest change that would have been detected, after correction for "
        "all changes that were tested.",
    ]
    if notes["untested"]:
        limits.append(
            f"{notes['untested']} of {notes['removals']} changes by removal were measured in too "
            "few images, or groups of them, to be tested, however large they are, or had nothing "
            "to be compared with: they have no p-value."
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
    return tuple(limits)
