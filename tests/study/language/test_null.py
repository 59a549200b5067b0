"""Masks that are dealt to the codes: each image's stay together, and none is lost."""

import numpy as np

from conceptseg.study.language.assess import Seed
from conceptseg.study.language.learn import Told
from conceptseg.study.language.null import exchanged

CODES = ("language", "k-means", "product")


def test_masks_of_an_image_go_to_one_code_in_all_seeds():
    owner, rng = np.arange(60) // 3, np.random.default_rng(0)
    seeds = [languages(10 * s) for s in range(2)]
    found = exchanged(seeds, owner, rng)
    for s, (one, dealt) in enumerate(zip(seeds, found, strict=True)):
        every = np.stack([dealt.told[name].mask[:, 0] for name in CODES], 1) - 10 * s
        np.testing.assert_array_equal(np.sort(every, 1), np.tile([0, 1, 2], (60, 1)))
        np.testing.assert_array_equal(every, every[3 * owner])  # the image's first object
        assert one.told["language"].mask[0, 0] == 10 * s  # what was given is left as it was
    firsts = found[0].told["language"].mask[::3, 0]
    assert len(np.unique(firsts)) == 3
    np.testing.assert_array_equal(firsts + 10, found[1].told["language"].mask[::3, 0])


def languages(first):
    """A seed of which each code's masks are its number."""
    none = np.empty((60, 0))
    told = {
        name: Told(none, none, np.full((60, 2), first + number), none)
        for number, name in enumerate(CODES)
    }
    return Seed(told, np.empty(0), np.empty(0))
