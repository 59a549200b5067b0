"""What is concluded of ever more images takes little more memory for each."""

import tracemalloc

import numpy as np

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.evaluate import _flagged, _numbers

DRAWS = 200


def judged(images):
    """Intervals of one set of predictions of so many images."""
    rng = np.random.default_rng(0)
    quality = rng.uniform(size=images)
    names = [f"i{i}" for i in range(images)]
    sampling = Sampling.counting(names, names, "image", (0, 11), DRAWS)
    predicted = np.clip(quality + rng.normal(0, 0.1, (1, images)), 0, 1)
    _numbers(quality, sampling, predicted)
    _flagged(quality < 0.1, sampling, 0.1, images // 10, predicted, 1 - predicted)


def peak(images):
    """Bytes that it takes at most."""
    tracemalloc.start()
    try:
        judged(images)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_image_more_takes_little_more():
    """8 bytes for its place in each draw, which are taken one by one; all at once took 240."""
    judged(30)  # imports what it needs
    assert (peak(400) - peak(100)) / 300 < 20 * DRAWS
