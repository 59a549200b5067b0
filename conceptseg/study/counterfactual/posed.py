"""One image as it is posed to the search: its regions, how they may look, and what may stand there
instead; and what edits have to bear."""

from collections.abc import Sequence

import torch
from torch import Tensor

from conceptseg.data.manifest import Manifest
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.counterfactual import Edit, Flip, Guard, search
from conceptseg.explain.fill import from_around
from conceptseg.explain.generate import Code, Group, Subject
from conceptseg.explain.scene import Scene
from conceptseg.network.label_map import label_map
from conceptseg.study.counterfactual.config import ALL, Counterfactual
from conceptseg.study.counterfactual.survey import CONTEXT_ID, PLAN, donors, named, regions
from conceptseg.study.shared.sweep import One

WHOLE = Key("whole manifest", Manifest)
"""All images, of which the pass sees its own part alone: donors may be any."""
TRIALS, DRAWS = 5, 10
"""Noisy copies by which edits are sought, and judged."""
STRICTER = 1.25
"""Noise by which edits are sought, of that by which they are judged: of what passed few trials by
luck, other noise undoes a part."""


class Posed:
    """One image whose region of class `was` is to become `to` (-1: any other)."""

    def __init__(
        self, study: Counterfactual, context: Context, one: One, known: Known, was: int, to: int
    ) -> None:
        self.study, self.context, self.one, self.was, self.to = study, context, one, was, to
        self.scene = Scene(context.model, one.image, batch_size=context.run.batch_size)
        clean = label_map(self.scene.logits[0])
        self.masks = regions(study, context, one.id, clean, was)
        self.flip = Flip(was, None if to < 0 else to, clean == was, clean)
        self.plan, self.whole = known[PLAN], known[WHOLE]
        self.names = {c: named(context, c) for c in self.masks}
        # What the known context could be instead is what lies there in images that lack it.
        self.like = {
            c: int(clean[mask].mode().values) if c == CONTEXT_ID else c
            for c, mask in self.masks.items()
        }
        limits = self.plan.limits
        self.subject = Subject(
            one.image,
            {self.names[c]: mask for c, mask in self.masks.items()},
            {self.names[c]: limits[k] for c, k in self.like.items() if k in limits},
            {self.names[c]: self._donors(c) for c in self.masks},
            context.manifest.sample(one.id).payload,
        )

    def _donors(self, c: int) -> list[tuple[str, Tensor]]:
        """Other images that show a class where this one does, of the same size; all else in them
        is filled from around, so that no part of another object comes along."""
        manifest, found = self.whole, list[tuple[str, Tensor]]()
        for name in donors(self.plan, self.like[c], self.one.id, self.masks[c], self.study.donors):
            pixels = torch.from_numpy(manifest.image(manifest.sample(name)))[None]
            if pixels.shape == self.one.image.shape:
                there = label_map(self.scene.forward(pixels.to(self.one.image))[0]) == self.like[c]
                found.append((name, from_around(pixels.to(self.one.image), ~there)))
        return found

    def search(self, code: Code, sets: Sequence[Sequence[Group]]) -> list[Edit]:
        """Edits that pass the guard by other noise than they are judged by."""
        study = self.study
        guard = Guard(TRIALS, STRICTER * study.noise, 1.0, f"sought {self.context.seed}")
        return search(self.scene, code, self.flip, sets, study.steps, study.beyond, guard)

    @property
    def key(self) -> str:
        return f"{self.context.seed} {self.one.id} {self.was} {self.to}"

    def judged(self, image: Tensor) -> tuple[float, float]:
        """Whether an edited image [1, c, h, w] flips in 8 bits, and its share of noisy copies."""
        study = self.study
        guard = Guard(DRAWS, study.noise, study.holds, f"judged {self.key}")
        eight, held = guard.tried(self.scene, self.flip, image)
        return float(eight[0]), float(held[0])


def alone(code: Code) -> list[Sequence[Group]]:
    """What is edited alone: each group, and of each region all groups where these have slopes."""
    by_region = {g.region: [o for o in code.groups if o.region == g.region] for g in code.groups}
    sets: list[Sequence[Group]] = [[group] for group in code.groups]
    if all(code.choices(group) is not None for group in code.groups):
        return sets
    return sets + [own for own in by_region.values() if len(own) > 1]


def called(code: Code, groups: Sequence[Group]) -> tuple[str, str]:
    """Region and attribute of groups that are edited together, `ALL` of all that a region has."""
    own = {group for group in code.groups if group.region == groups[0].region}
    region = " + ".join(dict.fromkeys(group.region for group in groups))
    if len(own) > 1 and set(groups) == own:
        return region, ALL
    return region, " + ".join(group.attribute for group in groups)
