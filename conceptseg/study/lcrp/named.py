"""Relevance on concepts that the user has drawn: how much of a class's, and of which channels.

Of image i that holds concept q, with the class's positive relevance H+ at the pixels,

    share = sum of H+ on q / sum of H+,

less what shuffled networks and an even spread put there in the same image
(:mod:`conceptseg.study.lcrp.beyond`). A channel is named by q if more of its conditional map lies
on q than of the class's whole map, image by image. A concept may lie inside the class itself.
"""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Question, Test, by_joint_flips, judge
from conceptseg.stats.intervals import ALPHA, GAPS, PORTIONS, finite_mean
from conceptseg.study.lcrp.beyond import NETWORKS_SHARE, BeyondChance, judged
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import ON_MASKS
from conceptseg.study.lcrp.maps import MAPS
from conceptseg.study.lcrp.ranks import able_channels
from conceptseg.study.lcrp.shuffles import LEAST

NAN = float("nan")


@dataclass(frozen=True)
class Share(BeyondChance):
    """A class's relevance on a concept over so many `images` that hold both.

    `share` of the whole decision's map; `shuffled`, `even`, `area`: of shuffled networks' maps, of
    an even spread over the receptive field, and of the image. `reason` why it is not testable.
    """

    class_id: int
    concept: str
    images: int
    share: Estimate
    shuffled_share: float
    even: float
    area: float

    @property
    def level(self) -> Estimate:
        return self.share

    @property
    def reason(self) -> str:
        """What would make it testable, where it is not."""
        if self.over_images is None:
            return "more images that hold it (shuffled_images, random_images), or shuffled_networks"
        return "" if self.over_images.testable else self.over_images.needs


@dataclass(frozen=True)
class Named:
    """A channel of a class and a concept: `share` of its map there, `active` of its activation,
    `area` of the images; `excess` of the share over that of the class's whole map, and its test."""

    class_id: int
    unit: int
    concept: str
    images: int
    share: Estimate
    excess: Estimate
    active: float
    area: float
    test: Test

    @property
    def named(self) -> bool:
        """Whether the concept names the channel."""
        return self.test.passed and self.excess.above(0) and self.active > self.area


SHARES: Key[tuple[Share, ...]] = Key("shares on masks", tuple)
NAMED: Key[tuple[Named, ...]] = Key("channels on masks", tuple)


def assess_named(study: Lcrp, context: Context, known: Known) -> Known:
    """Every class and channel with every concept of which enough images hold both."""
    return SHARES(_shares(study, context, known)) | NAMED(_named(study, context, known))


def _shares(study: Lcrp, context: Context, known: Known) -> tuple[Share, ...]:
    """All pairs of class and concept are tested together."""
    chosen, maps, shuffles = known[CHOSEN_PAIRS], known[MAPS], known[ON_MASKS]
    names = list(study.masks)
    numbers = {}
    for c in chosen.classes:
        ids = [s for s in chosen.drawn(c, study.random_images) if (s, c) in maps.whole]
        whole = np.array([maps.whole[s, c] for s in ids]).reshape(len(ids), 3, len(names))
        for q in range(len(names)):
            held = np.isfinite(whole[:, 0, q])
            if held.any():
                own = [s for s, there in zip(ids, held, strict=True) if there]
                share, even, area = whole[held, :, q].T
                pair = c * len(names) + q
                field = {(s, pair): float(one) for s, one in zip(own, even, strict=True)}
                base = shuffles.baseline(pair, field, own)
                numbers[c, q] = (own, share, even, area, base, shuffles.margin(pair, field))
    # Where shuffled networks have relevance, a concept that they were not shown is not testable.
    compared = len(shuffles.largest) >= LEAST
    questions = {
        pair: Question(share - (base if compared else even), chosen.sampling.named(ids))
        for pair, (ids, share, even, _, base, _) in numbers.items()
        if np.isfinite(base).all() or not compared
    }
    tests = judged(questions, context.seed, 1 - NETWORKS_SHARE if compared else 1.0)
    found = []
    for (c, q), (ids, share, even, area, base, margin) in numbers.items():
        sampling, by_id = chosen.sampling.named(ids), dict(zip(ids, share.tolist(), strict=True))
        pair = c * len(names) + q
        found.append(
            Share(
                class_id=c,
                concept=names[q],
                images=len(ids),
                share=sampling.mean(share, within=PORTIONS),
                shuffled_share=float(base.mean()),
                even=float(even.mean()),
                area=float(area.mean()),
                over_shuffled=sampling.mean(share - base, within=GAPS).widened(margin),
                over_field=sampling.mean(share - even, within=GAPS),
                over_images=tests.get((c, q)),
                p_networks=shuffles.p(shuffles.excess(pair, by_id)),
                needed=shuffles.detectable(ALPHA * NETWORKS_SHARE),
            )
        )
    return tuple(found)


def _named(study: Lcrp, context: Context, known: Known) -> tuple[Named, ...]:
    """All of classes, channels that hold more than an even share, and concepts, tested together."""
    chosen, maps = known[CHOSEN_PAIRS], known[MAPS]
    rows = []
    for c, unit in chosen.pairs:
        if unit not in able_channels(chosen.mean[c], study.concepts):
            continue
        own = maps.rows(c, unit, chosen.drawn(c, study.random_images))
        samples = [str(s) for s in maps.columns["sample"][own]]
        for q, concept in enumerate(study.masks):
            whole = np.array([maps.whole[s, c][[0, 2], q] for s in samples]).reshape(-1, 2)
            held = np.isfinite(whole[:, 0]) & np.isfinite(maps.on[own, q])
            if held.any():
                ids = [s for s, there in zip(samples, held, strict=True) if there]
                share, active = maps.on[own, q][held], maps.active_on[own, q][held]
                question = Question(share - whole[held, 0], chosen.sampling.named(ids))
                rows.append((c, unit, concept, share, active, whole[held, 1], question))
    asked = [row[-1] for row in rows]
    tests = judge(asked, side="greater", seed=context.seed, policy=by_joint_flips) if asked else []
    return tuple(
        Named(
            c,
            unit,
            concept,
            len(share),
            question.sampling.mean(share, within=PORTIONS),
            question.sampling.mean(question.values, within=GAPS),
            float(finite_mean(active, 0)),
            float(area.mean()),
            test,
        )
        for (c, unit, concept, share, active, area, question), test in zip(rows, tests, strict=True)
    )
