"""How often random changes of images are called what a network is sensitive to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.network.label_map import label_map
from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Sampling
from conceptseg.study.deepdream.ascent import smooth_changes
from conceptseg.study.deepdream.assess import ASSESSED, assess
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.descriptors import NAMES, RELATIVE, describe
from conceptseg.study.deepdream.findings import findings
from conceptseg.study.deepdream.survey import SURVEY, Survey, background, choose_paths
from conceptseg.study.deepdream.travel import TRAVELLED, Travelled, cases_of
from conceptseg.study.shared.nulls import Bench, Claim, Power, Selftest, any_evidence

WALKS, STARTS, IMAGES, LENGTH = 12, 12, 60, 0.08
"""Random walks from each start, starts of a path, scenes, and the length of each walk."""
CUES = [place for place, name in enumerate(NAMES) if name not in RELATIVE]


@dataclass(frozen=True)
class Bank:
    """`described` [s, r, 2, m] at both ends of r random walks from each of s starts."""

    study: DeepDream
    context: Context
    survey: Survey
    route: np.ndarray
    sample: tuple[str, ...]
    described: np.ndarray


def bank(bench: Bench, seed: int) -> Bank:
    keys = {"starts": STARTS, "paths": ("vanish",), "smallest": 0.0, "unit": "image"}
    chosen = ("digit 3", "digit 9", "digit 5")
    study, context = bench.ready("deepdream", keys, n=IMAGES, seed=8000 + seed, classes=chosen)
    assert isinstance(study, DeepDream)
    survey = bench.known_after(study, context, choose_paths)[SURVEY]
    ids = sorted({name for own in survey.starts.values() for name in own})
    route, sample, described = [], [], []
    for place, name in enumerate(ids):
        one = context.manifest.sample(name)
        image = torch.from_numpy(context.manifest.image(one))[None]
        images = image.expand(WALKS, -1, -1, -1).contiguous()
        ends = smooth_changes(images, np.full(WALKS, LENGTH), 2, [seed, place])[-1]
        with torch.no_grad():
            predicted = label_map(context.model(torch.cat([image, ends]))).numpy()
        for case in cases_of(study, survey, seed, name, None):
            target, back, start = case.route.target, background(context), image[0].numpy()
            first, *last = (
                describe(picture, case.region, labels, target, back, start)
                for picture, labels in zip([start, *ends.numpy()], predicted, strict=True)
            )
            route.append(case.number)
            sample.append(name)
            described.append([[first, own] for own in last])
    return Bank(study, context, survey, np.array(route), tuple(sample), np.array(described))


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """Of each start any walk is the network's path, and others are the null paths."""
    made = bank(bench, seed)
    starts, classes = len(made.route), made.context.model.classes
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        order = np.argsort(rng.random((starts, WALKS)), 1)
        pixel, smooth, other = order[:, :3].T
        # The path in phases follows that in pixels: it is asked for the same direction alone.
        walks = np.stack([pixel, pixel, smooth, other], 1)
        described = made.described[np.arange(starts)[:, None], walks]
        # A claim needs both null paths to be exceeded: one of them changes nothing at all.
        still = 2 + number % 2
        described[:, still, 1, CUES] = described[:, still, 0, CUES]
        travelled = Travelled(
            route=made.route,
            sample=made.sample,
            described=described,
            score=np.zeros((starts, 4, 2)),
            flipped=np.ones((starts, 4, 2)),
            length=np.full((starts, 4), LENGTH),
            ended=np.full((starts, 4), 5),
            borrowed=np.zeros(starts, bool),
            share=np.full(starts, 0.1),
            strips=(),
        )
        names = made.survey.sampling.ids
        sampling = Sampling(names, names, "images", number, 100)
        known = SURVEY(replace(made.survey, sampling=sampling)) | TRAVELLED(travelled)
        context = replace(made.context, seed=number)
        assessed = assess(made.study, context, known)[ASSESSED]
        found = findings(assessed, classes)
        yield (
            any_evidence([one for one in found if one.evidence == "cues"]),
            any_evidence([one for one in found if one.evidence == "paths"]),
        )


def _found(result: Result) -> bool:
    """Whether the surroundings are said to matter on a path of digit 3."""
    return any(one.evidence == "paths" and one.class_ == "digit 3" for one in result.findings)


SELFTEST = Selftest(
    claims=(
        Claim(
            "a descriptor changes on paths (signs of images, Benjamini-Hochberg)",
            "random smooth changes of real images in place of the network's path and of one null "
            "path, dealt at random; the other changes nothing, and no change is too small to count",
            "all descriptors and paths",
        ),
        Claim(
            "the surroundings of a region matter (signs of images, Holm)",
            "the same",
            "all paths",
        ),
    ),
    draws=draws,
    seconds=17,
    power=Power(
        "the surroundings of digit 3 matter",
        {"paths": ("vanish",), "starts": 12, "steps": 24, "survey_images": 60},
        _found,
        classes=("digit 3",),
        scenes=60,
    ),
)
