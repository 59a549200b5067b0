"""Third sweep: the pictures themselves, made in groups of rows, each a feature with a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.blame import Backward
from conceptseg.network.model import SegmentationModel
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.embeddings import SPACES, observe, pooled
from conceptseg.study.actmax.methods import (
    OPTIMISERS,
    Method,
    best_start,
    method_of,
    penalty,
    picture,
    view,
)
from conceptseg.study.actmax.objectives import Objective, source_of
from conceptseg.study.actmax.survey import SURVEY, Survey
from conceptseg.study.actmax.template import TEMPLATE
from conceptseg.study.shared.spectrum import Template

Row = tuple[int, int]
"""A feature's place among the chosen ones, and a seed."""
SHEETS = Key("sheets", SampleTable)
MADE: Key[dict[str, np.ndarray]] = Key("made", dict)
CARRIERS: Key[tuple[str, ...]] = Key("carriers", tuple)
"""Columns of the pictures' numbers, by feature and seed."""


@dataclass(frozen=True)
class Made:
    """Pictures of n rows: `pixels` [n, c, h, w], `weight` [n, h, w] how much each pixel was moved
    (its summed gradient, largest 1), `curve` [n, s] the objective at each step on random views,
    `before` and `after` [n] on the whole picture, at the first and the last step.
    """

    pixels: Tensor
    weight: Tensor
    curve: np.ndarray
    before: np.ndarray
    after: np.ndarray


def maximise(
    model: SegmentationModel,
    objective: Objective,
    method: Method,
    template: Template,
    rows: Sequence[Row],
    *,
    steps: int,
    seed: int,
    channels_last: bool = True,
    device: str = "cpu",
) -> Made:
    """Pictures that excite the features of `rows` (their ids in the objective) most.

    One forward and backward of the network up to the layer per step, for all rows at once; in
    evaluation mode rows do not interact.
    """
    ids = [objective.ids[feature] for feature, _ in rows]
    keys = [[seed, 30, objective.ids[feature], draw] for feature, draw in rows]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    curve = np.zeros((len(rows), steps))
    # Entered after inference mode is left, or the parameters could take no gradient.
    with source_of(model, objective) as run, torch.enable_grad():

        def maps(pictures: Tensor) -> Tensor:
            source = run(pictures.contiguous(memory_format=layout))[""].float()
            return objective.own(source, ids)

        def score(pictures: Tensor) -> Tensor:
            return objective.of_pictures(maps(pictures))

        def peak(parameters: Tensor) -> Tensor:
            with torch.no_grad():
                return maps(picture(method, template, parameters)).amax((1, 2))

        parameters = best_start(method, template, keys, peak, device).requires_grad_()
        steer = OPTIMISERS[method.optimiser]([parameters], lr=method.rate)
        fade = torch.optim.lr_scheduler.CosineAnnealingLR(steer, steps) if method.fade else None
        before = score(picture(method, template, parameters).detach())
        weight = torch.zeros(len(rows), *template.size, device=device)
        for step in range(steps):
            made = picture(method, template, parameters)
            value = score(view(method, made, seed, step))
            loss = penalty(method, made) - value.sum()
            with Backward(model.name):
                parameters.grad, moved = torch.autograd.grad(loss, (parameters, made))
            weight += moved.detach().abs().mean(1)
            steer.step()
            if fade is not None:
                fade.step()
            curve[:, step] = value.detach().cpu().numpy()
        pixels = picture(method, template, parameters).detach()
        after = score(pixels).detach()
    largest = weight.amax((1, 2), keepdim=True).clamp(min=1e-30)
    numbers = [value.detach().cpu().numpy().astype(np.float64) for value in (before, after)]
    return Made(pixels, weight / largest, curve, *numbers)


@dataclass(frozen=True)
class Optimise(Pass):
    """A pass runs over samples, so each group of rows is hung on one of them.

    Thereby a run that broke off goes on after the last whole shard, and groups can be spread over
    machines. What is in a group is fixed by the study and not by the batch size: the optimisation
    amplifies rounding, and a group is computed alike however the run is cut.
    """

    study: Actmax

    name = "optimise"
    cost = "encoder forward and backward per step, unit and seed"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return context.manifest.samples[: len(known[CARRIERS])]

    def forwards(self, context: Context) -> float:
        """A forward and two forwards' worth of backward per step, at most `most` features."""
        many = len(self.study.units) or self.study.most
        shown = min(many, self.study.most)
        return float(3 * method_of(self.study).steps * self.study.seeds * shown)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        survey = known[SURVEY]
        carriers = known[CARRIERS]
        table = SampleTable.empty()
        for sample_id in batch.ids:
            parts = [
                self._group(context, known, rows)
                for rows in groups(self.study, survey)[carriers.index(sample_id) :: len(carriers)]
            ]
            one = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            table = table.merge(SampleTable.of(sample_id, one))
        return SHEETS(table)

    def _group(self, context: Context, known: Known, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        survey, method = known[SURVEY], method_of(self.study)
        made = maximise(
            context.model,
            survey.objective,
            method,
            known[TEMPLATE],
            rows,
            steps=method.steps,
            seed=context.seed,
            channels_last=context.run.channels_last,
            device=context.run.device,
        )
        feature, draw = np.array(rows, dtype=np.int64).T
        ids = [survey.objective.ids[place] for place in feature]
        with torch.no_grad():
            seen = observe(known[SPACES], context, survey.objective, made.pixels)
            maps = survey.objective.own(seen.pop(""), ids)
            embedded = {name: pooled(one, maps) for name, one in seen.items()}
        return {
            "feature": feature,
            "draw": draw,
            "pixels": made.pixels.cpu().numpy(),
            "weight": made.weight.cpu().numpy(),
            "curve": made.curve,
            "before": made.before,
            "after": made.after,
            **embedded,
        }

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[SHEETS]
        joined = {name: table.column(name) for name in table.tables[table.ids[0]]}
        order = np.lexsort((joined["draw"], joined["feature"]))
        return MADE({name: values[order] for name, values in joined.items()})


def name_carriers(study: Actmax, context: Context, known: Known) -> Known:
    """The samples on which groups of rows are hung, one after the other."""
    some = context.manifest.samples[: len(groups(study, known[SURVEY]))]
    return CARRIERS(tuple(sample.id for sample in some))


def groups(study: Actmax, survey: Survey) -> list[list[Row]]:
    """All rows, in groups of `rows` that are optimised together."""
    features = range(len(survey.objective.ids))
    rows = [(feature, draw) for draw in range(study.seeds) for feature in features]
    return [rows[first : first + study.rows] for first in range(0, len(rows), study.rows)]
