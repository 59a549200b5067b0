"""First sweep: how strongly real images excite each feature, and which colours they have."""

from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.concepts.directions import load_directions
from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.report.unit_cards import load_units
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.stats.mergeable.top_samples import TopSamples
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.objectives import Objective, source_of

FLAT = 1e-6
"""A feature whose values differ by less than this part of the largest one is dead."""


@dataclass(frozen=True)
class Survey:
    """The features that get a picture, and what real images say of them.

    `objective` holds the f chosen features; `names` [f]; `values` [m, f] over at most
    `kept_images` images, `largest` [f] over all. `pool` holds the g features whose real images are
    looked at, the chosen ones first, `rows` [g] their rows in `top`. `dead` lists features that no
    image changes, `left_out` how many live ones got no picture. `mean` [c] and `covariance` [c, c]
    are of colours, `side` is that of the pictures.
    """

    objective: Objective
    pool: Objective
    names: tuple[str, ...]
    values: np.ndarray
    ids: tuple[str, ...]
    largest: np.ndarray
    top: TopSamples
    rows: np.ndarray
    dead: tuple[int, ...]
    left_out: int
    mean: np.ndarray
    covariance: np.ndarray
    side: int

    def exemplars(self, feature: int) -> list[tuple[str, float]]:
        """The real images that excite a feature (its place in the pool) most, largest first."""
        return self.top.row(int(self.rows[feature]))


SURVEY = Key("survey", Survey)
OBJECTIVE = Key("candidates", Objective)
LABELS: Key[dict[int, str]] = Key("labels", dict)
TABLE = Key("table", SampleTable)
TOP, EXTREME = Key("top", TopSamples), Key("extreme", TopSamples)


def load(study: Actmax, context: Context, known: Known) -> Known:
    """All features that could be maximised, and what the units are known to detect.

    InputError where the layer has not what is asked for.
    """
    directions: np.ndarray | None = None
    ids: tuple[int, ...] = ()
    if study.objective == "direction":
        directions = load_directions(study.directions, context.layer, context.model.fingerprint)
        ids = tuple(range(len(directions)))
    if study.objective == "class":
        ids = study.class_ids(context)
    objective = Objective(study.objective, context.layer, ids, directions)
    with torch.no_grad(), source_of(context.model, objective) as run:
        size = run(first_images(context.manifest, context.run))[""].shape[1]
    check_ids(study, objective, size)
    labels: dict[int, str] = {}
    if study.labels is not None:
        units = load_units(study.labels, context.layer, context.model.fingerprint())
        labels = {unit: one.label for unit, one in units.items() if one.label}
    return OBJECTIVE(objective if ids else objective.only(range(size))) | LABELS(labels)


@dataclass(frozen=True)
class Look(Pass):
    """One encoder pass per image; the whole network where classes are maximised."""

    study: Actmax

    name = "survey"
    cost = "1 encoder pass per image (1 forward for classes)"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        objective = known[OBJECTIVE]
        with torch.no_grad(), source_of(context.model, objective) as run:
            source = run(batch.images)[""].float()
            context.model.check_finite(source, batch.ids, context.layer)
            maps = objective.responses(source)
        size = (int(batch.images.shape[2]), int(batch.images.shape[3]))
        side = self.study.size_px or min(128, *size)
        values = objective.of_images(maps, (side, side), size).cpu().numpy().astype(np.float64)
        ends = torch.cat([maps.amax((2, 3)), -maps.amin((2, 3))], 1).cpu().numpy()
        pixels = batch.images.double().cpu().numpy().reshape(*batch.images.shape[:2], -1)
        arrays = {
            "values": values,
            "mean": np.stack([image.mean(1) for image in pixels]),
            "covariance": np.stack([np.atleast_2d(np.cov(image, bias=True)) for image in pixels]),
            "side": np.full(len(batch), side),
        }
        table = SampleTable.batch(
            batch.ids,
            arrays,
            priority=[sample_priority(context.seed, sample_id) for sample_id in batch.ids],
            classes=[(0,)] * len(batch),
            capacity=self.study.kept_images,
        )
        top = TopSamples.of(batch.ids, values.T, self.study.exemplars)
        return TABLE(table) | TOP(top) | EXTREME(TopSamples.of(batch.ids, ends.T, 1))


def choose_units(study: Actmax, context: Context, known: Known) -> Known:
    """Which features get a picture, and which others' real images these are compared with."""
    table, top, objective = known[TABLE], known[TOP], known[OBJECTIVE]
    values, ids = table.column("values"), np.array(objective.ids)
    high, low = np.split(known[EXTREME].values[:, 0], 2)
    dead = high + low <= FLAT * np.maximum(np.abs(high), np.abs(low))
    if objective.kind in ("channel", "position"):
        dead |= high <= 0
    asked = np.ones(len(ids), dtype=bool)
    if study.objective != "class" and study.units:
        asked = np.isin(ids, study.units)
    wanted = np.flatnonzero(~dead & asked)
    if not len(wanted):
        raise InputError(
            f"units: no image excites any of those asked for in layer {context.layer!r} (they are "
            "dead); choose others, or another layer"
        )
    spread = values.std(0)
    chosen = np.sort(wanted[np.argsort(-spread[wanted], kind="stable")][: study.most])
    others = np.setdiff1d(np.flatnonzero(~dead), chosen)
    others = others[np.argsort(-spread[others], kind="stable")]
    pool = np.concatenate([chosen, others])[: max(len(chosen), study.compared)]
    pictured = objective.only(ids[chosen].tolist())
    word = "direction" if objective.kind == "direction" else "unit"
    names = tuple(f"{word} {i}" for i in pictured.ids)
    if objective.kind == "class":
        names = tuple(context.model.classes[c] for c in pictured.ids)
    survey = Survey(
        pictured,
        objective.only(ids[pool].tolist()),
        names,
        values[:, chosen],
        tuple(table.ids),
        top.values[chosen, 0],
        top,
        pool,
        tuple(ids[dead].tolist()),
        len(wanted) - len(chosen),
        *colours(table),
        int(table.column("side").min()),
    )
    return SURVEY(survey)


def check_ids(study: Actmax, objective: Objective, size: int) -> None:
    """Raises InputError for units that the layer lacks, and directions of another size."""
    if objective.kind == "direction":
        assert objective.directions is not None
        if objective.directions.shape[1] != size:
            raise InputError(
                f"directions: they have {objective.directions.shape[1]} entries, layer "
                f"{objective.layer!r} has {size} units; take the layer they were learnt on"
            )
        size = len(objective.directions)
    over = [i for i in study.units if i >= size]
    if over and objective.kind != "class":
        raise InputError(
            f"units: {over[0]} does not exist; layer {objective.layer!r} offers 0 to {size - 1}"
        )


def colours(table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
    """Mean [c] and covariance [c, c] of pixels; each image counts the same."""
    means = table.column("mean")
    mean = means.mean(0)
    shift = means - mean
    covariance = table.column("covariance").mean(0) + shift.T @ shift / len(means)
    return mean, covariance
