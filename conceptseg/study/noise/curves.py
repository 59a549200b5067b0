"""The pass that judges: what is left of each class when a share of the pixels is visible."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.explain.contract import Explainer, Trial
from conceptseg.explain.explainers.u_noise import UNoise
from conceptseg.explain.methods import attempted, explainers
from conceptseg.explain.metrics.insertion import Insertion
from conceptseg.explain.noise_model import log_levels, read_channels, restored
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.noise.choose import DRAWN
from conceptseg.study.noise.config import OWN, NoiseStudy
from conceptseg.study.noise.fit import noise_of, result_of
from conceptseg.study.shared.compare import passes_of
from conceptseg.study.shared.sweep import One, Sweep

ROWS = Key("noise curves", SampleTable)
NET = Key("noise network", torch.nn.Module)
METHODS: Key[dict[str, Explainer]] = Key("noise methods", dict)


@dataclass(frozen=True)
class Curves:
    """Of each case its image, class, Dice [methods, fills, shares], and of the fitted network's
    level the mean in the region and outside of it, [cases, 2]."""

    cases: tuple[tuple[str, int], ...]
    methods: tuple[str, ...]
    dice: np.ndarray
    levels: np.ndarray
    images: dict[str, np.ndarray]
    maps: dict[tuple[str, int], np.ndarray]
    regions: dict[tuple[str, int], np.ndarray]


CURVES = Key("noise curves read", Curves)


@dataclass(frozen=True)
class Judge(Sweep):
    """Each method's order of pixels on each image that took no part in the fit."""

    study: NoiseStudy

    name = "curves"
    cost = "each method's own passes, and one for each share and fill"
    rows = ROWS

    def wanted(self, known: Known) -> Collection[str]:
        return {name for name, _ in known[DRAWN].judged}

    def forwards(self, context: Context) -> float:
        study = self.study
        kept = context.suiting(study.others)
        own = sum(passes_of(context, study.others).values())
        curves = (1 + len(kept)) * len(study.fills) * (study.points + 1)
        classes = min(len(study.class_ids(context)), study.classes_at_most)
        return study.judged * classes * (own + curves)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        made = result_of(self.study, context, known)
        like = next(context.model.parameters(), torch.zeros(0, device=context.run.device))
        net, _, _ = restored(made, like.detach().float())
        kept = context.suiting(self.study.others)
        yield NET(net) | METHODS(explainers(kept, context.single))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        drawn, study = known[DRAWN], self.study
        classes = [c for name, c in drawn.judged if name == one.id]
        scene = Scene(context.model, one.image, batch_size=context.run.batch_size)
        targets = [Target(c) for c in classes]
        with torch.no_grad():
            seen = read_channels(context.model, one.image)
            every = log_levels(known[NET], seen, noise_of(study)).exp()[0]
        level = torch.stack([every[drawn.classes.index(c)] for c in classes])
        tried = [attempted(each, scene, targets) for each in known[METHODS].values()]
        made = [(1 - level)[:, None], *(maps for maps, _ in tried)]
        dice = np.array(
            [
                [self.curves_of(scene, target, maps[t]) for maps in made]
                for t, target in enumerate(targets)
            ]
        )
        regions = [scene.fix(target).mask[0] for target in targets]
        inside = [
            (float(own[region].mean()), float(own[~region].mean()))
            for own, region in zip(level, regions, strict=True)
        ]
        kept = one.id in sorted(self.wanted(known))[: study.gallery]
        return {
            "class": np.array(classes, np.int64),
            "dice": dice,
            "levels": np.array(inside),
            "failed": np.array([why or "" for _, why in tried], np.str_),
            "image": one.image[0].float().cpu().numpy() if kept else np.zeros((0, 0, 0), "f4"),
            "maps": torch.stack(made, 1)[:, :, 0].float().cpu().numpy()
            if kept
            else np.zeros((0, 0, 0, 0), "f4"),
            "regions": torch.stack(regions).cpu().numpy() if kept else np.zeros((0, 0, 0), bool),
        }

    def curves_of(self, scene: Scene, target: Target, own: Tensor) -> np.ndarray:
        """Dice [fills, shares] of an order of pixels [1, h, w]; nan of a map that failed."""
        if not own.isfinite().all():
            return np.full((len(self.study.fills), self.study.points + 1), np.nan)
        found = []
        for fill in self.study.fills:
            metric = Insertion(steps=self.study.points, fill=fill, score="dice")
            curve = metric.measure(Trial(scene, UNoise(), target, own)).curve
            assert curve is not None
            found.append(curve[0].double().cpu().numpy())
        return np.stack(found)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        names = list(known[METHODS])
        ids = table.ids
        failed = tuple(
            {"kind": "method", "method": method, "sample": name, "reason": why}
            for name in ids
            for method, why in zip(names, table.tables[name]["failed"].tolist(), strict=True)
            if why
        )
        cases = [(name, int(c)) for name in ids for c in table.tables[name]["class"]]
        shown = [name for name in ids if table.tables[name]["image"].size]
        own = {
            (name, int(c)): (table.tables[name]["maps"][row], table.tables[name]["regions"][row])
            for name in shown
            for row, c in enumerate(table.tables[name]["class"])
        }
        curves = Curves(
            tuple(cases),
            (OWN, *names),
            table.column("dice"),
            table.column("levels"),
            {name: table.tables[name]["image"] for name in shown},
            {case: maps for case, (maps, _) in own.items()},
            {case: region for case, (_, region) in own.items()},
        )
        return CURVES(curves) | left_out(self.name)(failed)
