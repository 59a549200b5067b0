"""From influences and erasures to what can be claimed of each class and concept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.enrichment import Enriched, enriched
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test, given
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.p_values import detectable_cost, draws_for, tail_floor
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discover import TESTS
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Discovery
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.tcav import Influence
from conceptseg.study.shared.edits import Change, beyond_random
from conceptseg.study.shared.losing import Losing
from conceptseg.study.shared.verdicts import Verdict, verdict

NAN = float("nan")


@dataclass(frozen=True)
class Pair:
    """All that is known of one class and one concept.

    `images` hold the class. `moves`: first-order change of the class's score along the concept,
    by `influence` (along paths) where `local` is that at the images themselves; `moved` tests it
    against random concepts, corrected over all pairs by Holm's method.

    `loss`: change of IoU in `erased_images` when the concept is erased, `null_loss` the same for
    random directions; `p_loss` that it is a loss beyond their mean, `p_random` that one more random
    direction costs as much, `hidden` the loss that the latter shows in four of five such draws of
    directions, however many images there are; `to_lose` the class's IoU.
    `outside`: the loss by erasure away from the class's region alone (the ring around it spared),
    and `outside_missed` the part of it that is of the class's own pixels; None where that was not
    tried. `reached` is the share of the region that anything there can act on through what follows
    the layer, nan likewise. `where` the concept lies.

    `test` belongs to the claim that the concept both moves the score and is needed: its p is the
    largest of all, which is valid for a conjunction (intersection-union test, Berger 1982). It is
    corrected over all pairs, by Holm or joint flips; `p_bh` is by Benjamini & Hochberg.

    A concept is `used` by the class when that test passes, the score rises along the concept, the
    loss is at least the study's smallest effect with an interval below zero (all this is `shown`),
    and nineteen of twenty random directions cost less; `verdict` says what is known of it
    otherwise, and `how` whether the class loses pixels of its own or is put where it is not. Where
    more random directions cost as much, a narrow layer's may hold the concept itself: `p_apart` and
    `apart_loss` are `p_random` and `null_loss` of what they have beside it, and decide in their
    place; nan where they were not needed. It acts `from_context` when, besides, it lies mostly away
    from the class's region and at least half of the loss remains when it is erased there alone; it
    does not when less than half remains; None where that was not tried or stayed open, and where
    less than half of the region can be acted on from there: then nothing could have remained.
    Where the class is found by the concept, only the part of its own pixels counts: that other
    places are called it without what was recognised there is no context.
    """

    class_id: int
    concept: int
    images: int
    influence: Influence
    local: Influence
    moves: Estimate
    moved: Test
    p_published: float
    erased_images: int
    loss: Estimate
    null_loss: float
    p_loss: float
    p_random: float
    hidden: float
    outside: Estimate | None
    where: dict[str, float]
    to_lose: float
    test: Test
    used: bool
    verdict: Verdict
    how: Losing
    from_context: bool | None = None
    p_bh: float = NAN
    p_moves_bh: float = NAN
    shown: bool = False
    outside_missed: Estimate | None = None
    reached: float = NAN
    p_apart: float = NAN
    apart_loss: float = NAN


TESTED: Key[tuple[Pair, ...]] = Key("tested pairs", tuple)
JUDGED: Key[tuple[Pair, ...]] = Key("judged pairs", tuple)
"""Those tested, of which some were told apart from what random directions hold of them."""
PAIRS: Key[tuple[Pair, ...]] = Key("pairs", tuple)
"""Those judged, with where their uses act."""


def assess(study: Ace, context: Context, known: Known) -> Known:
    """Every pair that was tested, in the order of class and concept."""
    discovery = known[DISCOVERY]
    pairs = _judged(study, discovery, known[ERASURES], sorted(discovery.influence))
    # Pairs that could not pass are not in the family.
    both = np.array([pair.test.p for pair in pairs])
    able = np.isfinite(both)
    both[able] = benjamini_hochberg(both[able])
    moves = benjamini_hochberg([pair.moved.p for pair in pairs])
    screened = zip(pairs, both.tolist(), moves.tolist(), strict=True)
    return TESTED(tuple(replace(pair, p_bh=p, p_moves_bh=q) for pair, p, q in screened))


def _judged(
    study: Ace, discovery: Discovery, erasures: Erasures, of: Sequence[tuple[int, int]]
) -> list[Pair]:
    """The pairs of all classes and concepts, tested together: uses of all are claimed."""
    if not of:
        return []
    influences = [discovery.influence[one] for one in of]
    draws = len(influences[0].null_effect)
    ps = [one.p_effect for one in influences]
    needs = f"{draws_for(TESTS * len(of))} random concepts"
    moved = given(ps, tail_floor(draws), n=draws, of="random concepts", needs=needs)
    sampling = discovery.sampling.named(erasures.ids)
    lost, null = (
        {c: erasures.change(kind, c) for c in sorted({c for c, _ in of})}
        for kind in ("concept", "null")
    )
    changes = [Change(lost[c][:, q], null[c], erasures.clean[:, c], sampling) for c, q in of]
    smallest = study.smallest_effect
    losses = beyond_random(changes, seed=study.seed, gains=False, smallest=smallest)
    tests = beyond_random(changes, seed=study.seed, also=[moved], gains=False, smallest=smallest)
    pairs = []
    for place, (class_id, q) in enumerate(of):
        change, influence, test = changes[place], influences[place], tests[place]
        loss = change.estimate
        shown = influence.effect > 0 and change.shown(test, smallest)
        used = shown and change.rare
        images = discovery.class_images[class_id]
        pairs.append(
            Pair(
                class_id=class_id,
                concept=q,
                images=len(images),
                influence=influence,
                local=discovery.local[class_id, q],
                moves=discovery.sampling.at(images).mean(influence.derivatives),
                moved=moved[place],
                p_published=discovery.published.get((class_id, q), NAN),
                erased_images=len(change.edited),
                loss=loss,
                null_loss=float(change.random.mean(1).mean()) if change.random.size else NAN,
                p_loss=losses[place].p,
                p_random=change.p_random,
                hidden=detectable_cost(-change.by_chance, ALPHA),
                outside=None,
                where=discovery.where(discovery.concepts[q], class_id),
                to_lose=change.to_lose,
                test=test,
                used=used,
                verdict=verdict(test, change.to_lose, used=used),
                how=Losing.of(lost[class_id][:, q], erasures.right[:, q, class_id], sampling),
                shown=shown,
            )
        )
    return pairs


def describe(discovery: Discovery, concept: Concept, classes: Sequence[str]) -> str:
    """What a concept lies on, in words, from the labels under its segments: "tree (72 %)"."""
    share = discovery.truth[concept.core].mean(0)
    order = [int(c) for c in np.argsort(-share, kind="stable") if share[c] >= 0.15][:3]
    return ", ".join(f"{classes[c]} ({share[c]:.0%})" for c in order) or "mixed or ignored ground"


def enrichment(
    discovery: Discovery, metadata: dict[str, list[str]], most_values: int = 12
) -> list[Enriched]:
    """Which metadata values are more frequent among a concept's images than among all.

    `metadata` gives each column's value for each image of `discovery.ids`; images or groups are
    counted, as in all tests. Fisher's exact test, one-sided, Benjamini & Hochberg over all concepts
    and values. Columns with a single value, or with more than `most_values`, are left out.
    """
    columns = {key: v for key, v in metadata.items() if 1 < len(set(v)) <= most_values}
    images = np.arange(len(discovery.ids))
    cores = {
        str(concept.number): np.isin(images, discovery.image[concept.core])
        for concept in discovery.concepts
    }
    frequent = enriched(cores, columns, discovery.sampling.groups, most=None)
    kept = [row for row in frequent if row.p_adjusted <= ALPHA]
    return sorted(kept, key=lambda row: (int(row.set_name), row.p, row.value))
