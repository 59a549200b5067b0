"""The result of a SegNBDT study: tables, findings in words, arrays and pictures."""

from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from conceptseg.catalogue import choice_labels
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.result.encoding import plain
from conceptseg.result.finding import ranked
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.stats.mergeable.sample_table import Tables
from conceptseg.stats.p_values import exchangeable_p
from conceptseg.study.segnbdt import tables
from conceptseg.study.segnbdt.columns import GONE, PARTS
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import EVIDENCE, VIEWS
from conceptseg.study.segnbdt.findings import findings
from conceptseg.study.segnbdt.grown import GROWN, Grown
from conceptseg.study.segnbdt.head import LAST
from conceptseg.study.segnbdt.judge import JUDGED
from conceptseg.study.segnbdt.removal import REMOVALS
from conceptseg.study.segnbdt.tune import TUNING, Tuning
from conceptseg.study.segnbdt.views import chosen_images
from conceptseg.study.shared import local_maps, studied
from conceptseg.study.shared.compare import COMPARISON

MOST_WEIGHTS = 5_000_000
"""Numbers of tuned weights that a result keeps, at most."""


def conclude(study: Segnbdt, context: Context, known: Known) -> Result:
    grown, judged, removals = known[GROWN], known[JUDGED], known[REMOVALS]
    classes, k = context.model.classes, len(context.model.classes)
    images, exemplars, views = _pictures(study, context, known)
    made = {
        "fidelity": (tables.fidelity_rows(judged, k), "The network and its tree, as a whole"),
        "classes": (tables.class_rows(grown, judged, classes), "The classes"),
        "nodes": (tables.node_rows(grown, judged, classes), "The nodes"),
        "depths": (
            tables.depth_rows(grown, judged, k),
            "Wrong pixels by the depth at which the tree first goes wrong",
        ),
        "confusions": (
            tables.confusion_rows(grown, judged, classes),
            "Which classes are taken for which, and the node where they part",
        ),
        "calibration": (
            tables.calibration_rows(grown, judged),
            "Accuracy of each node by its confidence",
        ),
        "trees": (grown.trees, "Other trees on the same pixels"),
        "published": (
            tables.PUBLISHED,
            "mIoU of HRNetV2-W48 and of its tree as published, after training for the tree",
        ),
        "tuning": (_tuning_rows(known.get(TUNING)), "Loss per pixel while tuning"),
        "branches": (_branch_rows(grown, classes), "The tree, branch by branch"),
        "exemplars": (exemplars, "Pictures of evidence"),
        "inspected": (views, "Images of the path inspector"),
    }
    shown = {name: Table(rows, caption=caption) for name, (rows, caption) in made.items()}
    gone = "A branch's margin when its evidence is removed"
    shown["evidence"] = Table.of(removals.evidence, GONE, gone)
    gone = "A branch's margin when a part of the image is removed"
    shown["parts"] = Table.of(removals.parts, PARTS, gone)
    shown["saliency"] = local_maps.table(known[COMPARISON], classes)
    notes = _notes(study, context, known)
    return Result(
        study="segnbdt",
        findings=ranked(findings(shown, removals, notes)),
        tables=shown,
        arrays=_arrays(known),
        images=images | local_maps.pictures(known[COMPARISON]),
        skipped=[
            {
                "sample": i,
                "reason": "no labels: it counts in agreement with the network, not in mIoU",
            }
            for i, labelled in zip(judged.ids, judged.labelled, strict=True)
            if judged.any_labels and not labelled
        ],
        notes=notes,
    )


def _branch_rows(grown: Grown, classes: tuple[str, ...]) -> tables.Rows:
    rows = []
    for number, branch in grown.tree.edges:
        node = grown.tree.nodes[number]
        leaves, child = node.branches[branch], node.children[branch]
        rows.append(
            {
                "node": number,
                "branch": branch,
                "name": grown.tree.branch_name(number, branch, classes),
                "child": child if child >= 0 else None,
                "class_id": leaves[0] if child < 0 else None,
                "classes": [classes[leaf] for leaf in leaves],
            }
        )
    return rows


def _tuning_rows(tuning: Tuning | None) -> tables.Rows:
    if tuning is None:
        return []
    train = dict(enumerate(tuning.training, 1))
    return [
        {"step": step, "loss_checked": loss, "loss_trained": train.get(step)}
        for step, loss in tuning.history
    ]


def _pictures(
    study: Segnbdt, context: Context, known: Known
) -> tuple[dict[str, bytes], tables.Rows, tables.Rows]:
    """Pictures by key; rows of exemplars of each branch; rows of the inspected images."""
    tree, table, seen = known[GROWN].tree, known[EVIDENCE], known[VIEWS].tables
    methods = choice_labels(context.suiting(study.evidence))
    keys = ("region", "doubt", *methods)
    shown = chosen_images(study, known[JUDGED], tree.classes)
    images = {safe_key(f"view-{i}"): seen[i]["photo"].tobytes() for i in shown}
    largest = sorted(
        (edge, -pixels, sample_id)
        for sample_id, one in table.tables.items()
        for edge, pixels in zip(one["edge"].tolist(), one["pixels"].tolist(), strict=True)
    )
    by_edge = groupby(largest, itemgetter(0))
    wanted = {(edge, i) for edge, own in by_edge for *_, i in islice(own, study.exemplars)}
    exemplars: tables.Rows = []
    for sample_id in table.ids:
        one = table.tables[sample_id]
        parts = np.split(one["picture"], np.cumsum(one["picture_size"])[:-1])
        for place, edge in enumerate(one["edge"].tolist()):
            card = (edge, sample_id) in wanted
            if card or sample_id in shown:
                number, branch = tree.edges[edge]
                row = {"edge": edge, "node": number, "branch": branch, "sample": sample_id}
                row |= {m: safe_key(f"at-{edge}-{m}-{sample_id}") for m in keys}
                own = parts[place * len(keys) :]
                images |= {row[m]: data.tobytes() for m, data in zip(keys, own, strict=False)}
                exemplars.append(row | {"card": card})
    first = {(row["sample"], row["edge"]): row[methods[0]] for row in exemplars}
    views = [
        _view_row(seen[i], i, {str(e): key for (of, e), key in first.items() if of == i})
        for i in shown
    ]
    return images, exemplars, views


def _view_row(one: Tables, sample_id: str, evidence: dict[str, str]) -> dict[str, Any]:
    rows, columns = one["hard"].shape
    return {
        "sample": sample_id,
        "picture": safe_key(f"view-{sample_id}"),
        "rows": rows,
        "columns": columns,
        **{name: one[name].ravel().tolist() for name in ("truth", "network", "hard", "soft")},
        "sure": one["sure"].reshape(len(one["sure"]), -1).tolist(),
        "evidence": evidence,
    }


def _arrays(known: Known) -> dict[str, np.ndarray]:
    grown, tuning = known[GROWN], known.get(TUNING)
    arrays = {
        "averaging": grown.tree.averaging,
        "paths": grown.tree.paths,
        "null_agreement": grown.null,
        "redrawn_likeness": grown.redrawn,
        "random_likeness": grown.chance,
        "calibration": known[JUDGED].bins,
    }
    if tuning is not None and sum(v.size for v in tuning.best.values()) <= MOST_WEIGHTS:
        for name, value in tuning.best.items():
            arrays[safe_key(f"tuned.{name.removeprefix('module.')}")] = value.astype(np.float32)
    return arrays


def _notes(study: Segnbdt, context: Context, known: Known) -> dict[str, Any]:
    grown, judged, removals = known[GROWN], known[JUDGED], known[REMOVALS]
    tuning, sampling = known.get(TUNING), judged.sampling
    observed = grown.trees[0]["agreement"]
    finite = grown.redrawn[np.isfinite(grown.redrawn)]
    tests = [one.test for one in (*removals.evidence, *removals.parts)]
    notes = studied.notes(
        context,
        judged.ids,
        sampling.groups,
        sampling.of.removesuffix("s"),
        known[COMPARISON],
        classes=list(context.model.classes),
        tree=grown.tree.nested(),
        kind=grown.kind,
        hierarchy=study.hierarchy,
        linkage=study.linkage,
        head=known[LAST].name if LAST in known else None,
        layer=context.layer,
        labelled=int(judged.labelled.sum()),
        tune=study.tune,
        tree_weight=study.tree_weight,
        published_loss=study.published_loss,
        steps=0 if tuning is None else tuning.step,
        stopped=tuning is not None and tuning.stopped,
        observed=observed,
        null_mean=float(np.nanmean(grown.null)),
        null_best=float(np.nanmax(grown.null)),
        p_random=exchangeable_p(observed, grown.null),
        random_trees=study.random_trees,
        stability=float(finite.mean()) if len(finite) else None,
        stability_low=float(np.quantile(finite, 0.025)) if len(finite) else None,
        chance_likeness=float(np.nanmean(grown.chance)),
        evidence=list(choice_labels(context.suiting(study.evidence))),
        fill=study.fill,
        removed_share=study.removed_share,
        evidence_images=len(known[EVIDENCE].ids),
        evidence_most=[study.most_decisions, study.most_parts],
        boundary_px=study.boundary_px,
        removals=len(tests),
        untested=sum(not test.testable for test in tests),
    )
    return dict(plain(notes))
