"""The findings of a dictionary study, in words."""

from collections.abc import Sequence

from conceptseg.engine.known import Known
from conceptseg.result.finding import Finding
from conceptseg.study.dictionary.assess import ATOMS, LOSSES, Loss
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.dictionary.repair import REPAIRS, Repair
from conceptseg.study.dictionary.tables import called

MOST = 3
"""Atoms of each class that findings name."""


def findings(known: Known, classes: Sequence[str], recovered: float) -> list[Finding]:
    """What repairs, and what is used; of a dictionary that does not recover, only that."""
    learnt = known[LEARNT]
    if not learnt.recovered.value >= recovered:
        return [
            Finding.about(
                f"{learnt.count} atoms in place of the layer leave the prediction at IoU "
                f"{learnt.recovered.value:.3f} with the network's own, below {recovered:g}: no "
                "claim is made of them. "
                "Give more atoms (finder.counts), or another layer.",
                learnt.recovered,
                evidence="recovered",
                warning=True,
                plain="The atoms do not rebuild the prediction, so nothing is claimed of them.",
                effect_name="IoU of the rebuilt prediction with the network's own",
            )
        ]
    made = [_repaired(one, known, classes) for one in known[REPAIRS]]
    used: dict[int, list[Loss]] = {}
    for loss in sorted(known[LOSSES], key=lambda one: one.change.value):
        if loss.used:
            used.setdefault(loss.class_id, []).append(loss)
    return made + [_used(loss, known, classes) for own in used.values() for loss in own[:MOST]]


def _repaired(one: Repair, known: Known, classes: Sequence[str]) -> Finding:
    name, atom = classes[one.class_id], called(known[ATOMS][one.atom])
    shown = one.test.passed and one.gain.value > 0
    said = (
        f"Setting {atom} to its mean over right images gives back"
        if shown
        else f"Setting {atom} to its mean over right images was not shown to give back"
    )
    return Finding.about(
        f"{said} {one.regained.value:.0%} of the IoU that {name} lost in {one.failures} failing "
        f"images that did not choose it; other atoms give back {one.by_placebo:.0%}.",
        one.gain,
        one.test,
        class_name=name,
        evidence="repairs",
        fault=True,
        plain=f"Failures of {name} are undone by changing one atom."
        if shown
        else f"No one atom was shown to undo failures of {name}.",
        effect_name="gain of IoU on failing images",
        atom=one.atom + 1,
        regained=one.regained.value,
        placebo=one.by_placebo,
        harm=one.harm.value,
    )


def _used(one: Loss, known: Known, classes: Sequence[str]) -> Finding:
    atom, name = known[ATOMS][one.atom], classes[one.class_id]
    return Finding.about(
        f"Without {called(atom)}, IoU of {name} changes by {one.change.value:.3f}; without random "
        f"directions of the same codes by {one.random:.3f} on average.",
        one.change,
        one.test,
        class_name=name,
        evidence=f"atom-{one.atom + 1}",
        plain=f"{name[:1].upper() + name[1:]} uses {called(atom)}.",
        effect_name="change of IoU when erased",
        atom=one.atom + 1,
        tag=atom.tag,
    )
