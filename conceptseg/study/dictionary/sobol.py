"""Total Sobol indices of atoms: how much of a score's variance each has a part in."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.learn import LEARNT
from conceptseg.study.shared.atoms import codes_of
from conceptseg.study.shared.studied import first
from conceptseg.study.shared.sweep import One, Sweep

RANKED: Key[tuple[int, ...]] = Key("ranked atoms", tuple)
"""The atoms whose indices are estimated, those that cost most first."""
INDICES = Key("sobol", SampleTable)


def design(inputs: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two independent sets of points in [0, 1], each [draws, inputs]: halves of one scrambled
    Sobol sequence of twice the dimensions."""
    from scipy.stats.qmc import Sobol

    power = int(np.ceil(np.log2(draws)))
    points = Sobol(2 * inputs, rng=np.random.default_rng(seed)).random_base2(power)[:draws]
    return points[:, :inputs], points[:, inputs:]


def jansen(
    function: Callable[[np.ndarray], np.ndarray], inputs: int, draws: int, seed: int
) -> tuple[np.ndarray, float]:
    """The variance that each input has a part in [inputs], and all variance, of f: [m, d] -> [m].

    T_i = mean (f(A) - f(A with column i of B))^2 / 2; a total index is T_i over the variance.

    Source: Jansen 1999, "Analysis of variance designs for model output", eq. 20; Saltelli et al.
    2010, table 2 (f).
    """
    one, other = design(inputs, draws, seed)
    base, parts = function(one), np.zeros(inputs)
    for i in range(inputs):
        mixed = one.copy()
        mixed[:, i] = other[:, i]
        parts[i] = 0.5 * np.mean((base - function(mixed)) ** 2)
    return parts, float(base.var(ddof=1))


@dataclass(frozen=True)
class Indices(Sweep):
    """The first atoms are dimmed by random shares, each image by itself."""

    study: Dictionary
    name = "sobol"
    cost = "draws x (atoms + 1) tails per image, on a few images"
    rows = INDICES

    def wanted(self, known: Known) -> Collection[str]:
        return known[SOBOL_IMAGES]

    def forwards(self, context: Context) -> float:
        study = self.study
        images = min(study.sobol_images, len(context.manifest.samples))
        return images * (1 + 0.5 * study.sobol_draws * (study.sobol_atoms + 1))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        learnt, ranked = known[LEARNT], list(known[RANKED])
        with torch.no_grad():
            tail = Tail.of(context.model, one.image, context.levels)
            parts = codes_of(learnt.atoms, tail.activation)[0, ranked]
            atoms = torch.as_tensor(learnt.atoms.atoms[ranked]).to(parts)
            score = scored(tail.logits, context)

            def function(kept: np.ndarray) -> np.ndarray:
                found = list[Tensor]()
                for shares in torch.as_tensor(kept).to(parts).split(context.run.batch_size):
                    left = torch.einsum("mq,qyx,qu->muyx", 1 - shares, parts, atoms)
                    found += [score(tail.resume(row[None])) for row in tail.activation - left]
                return np.asarray(torch.stack(found).double().cpu().numpy())

            each, whole = jansen(function, len(ranked), self.study.sobol_draws, context.seed)
        return {"part": each[None], "whole": np.array([whole])}


SOBOL_IMAGES: Key[tuple[str, ...]] = Key("sobol images", tuple)


def sobol_images(study: Dictionary, context: Context, known: Known) -> Known:
    """The images on which indices are estimated; none where no atom is ranked."""
    count = study.sobol_images if known[RANKED] else 0
    return SOBOL_IMAGES(tuple(sample.id for sample in first(context, count)))


def scored(logits: Tensor, context: Context) -> Callable[[Tensor], Tensor]:
    """The score of an image [1, k, h, w]: the mean log-probability of the classes as predicted at
    first, over the pixels that are not background (over all where nothing else is)."""
    clean = label_map(logits)
    names = context.model.classes
    ground = context.manifest.background
    where = clean != (names.index(ground) if ground in names else -1)
    if not where.any():
        where = torch.ones_like(where)

    def score(seen: Tensor) -> Tensor:
        own = F.log_softmax(seen.float(), 1).gather(1, clean[:, None])[:, 0]
        return own[where].mean()

    return score
