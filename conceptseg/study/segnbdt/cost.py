"""What a SegNBDT study computes beside its passes, for `check`: of many classes most of it."""

from collections.abc import Sequence

import numpy as np
import torch

from conceptseg.engine.contract import Context, Work
from conceptseg.report.thumbnails import overlay
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.evidence import Evidence
from conceptseg.study.segnbdt.grown import MOST_PIXELS
from conceptseg.study.segnbdt.induce import agreement, cluster
from conceptseg.study.segnbdt.rules import Rules
from conceptseg.study.segnbdt.tree import random_tree


def computed(study: Segnbdt, context: Context, shape: Sequence[int]) -> list[Work]:
    """Random trees and their decisions, trees of redrawn evidence, and pictures of decisions.

    On random numbers; of as many pixels and decisions as there can be.
    """
    dice, k = np.random.default_rng(study.seed), len(context.model.classes)
    images = len(context.manifest.samples)
    kept = min(study.kept_images, images) * study.kept_pixels
    pixels = torch.randn(1, k, min(kept, MOST_PIXELS * 32 // max(32, k)))
    rows = dice.normal(size=(k, min(k, shape[0])))
    first = random_tree(k, dice)
    height, width = context.manifest.size(context.manifest.samples[0])
    image, one = dice.random((3, height, width)), dice.random((height, width))

    def random() -> object:
        tree = random_tree(k, dice)
        return agreement(first, tree), Rules(tree, pixels).hard(pixels)

    def redrawn() -> object:
        tree = cluster(rows)
        return agreement(first, tree), tree.groups

    def picture() -> object:
        return overlay(image, one, 0, 1, mask=one > 0.5, side=study.picture_px)

    each = Evidence(study).decisions(context) * (2 + len(study.evidence))
    drawn = min(study.evidence_images + study.inspected, images)
    return [
        Work("random trees", study.random_trees, random, fits=False),
        Work("redrawn trees", study.bootstraps, redrawn, fits=False),
        Work("pictures of decisions", drawn * each, picture, fits=False),
    ]
