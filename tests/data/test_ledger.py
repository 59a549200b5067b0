"""What a run has read: images that are one file under several names are found, by loops."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.data.ledger import Ledger
from conceptseg.data.reads import Reads


def ledger(contents, groups):
    """A ledger of images with these contents; None is of one that was not read."""
    ids = [f"s{n}" for n in range(len(contents))]
    manifest = SimpleNamespace(ids=ids, groups=groups, where="set")
    made = Ledger(manifest)
    told = {
        name: hashlib.sha256(content.encode()).digest()
        for name, content in zip(ids, contents, strict=True)
        if content is not None
    }
    if told:
        made.take(Reads({"image": told}))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_images_of_other_groups_with_the_same_bytes(seed):
    dice = np.random.default_rng(seed)
    contents = [None if n == 9 else str(n) for n in dice.integers(0, 10, 14)]
    groups = [f"g{n}" for n in dice.integers(0, 4, 14)]
    found = set()
    for i in range(14):
        for j in range(14):
            if contents[i] is not None and contents[i] == contents[j] and groups[i] != groups[j]:
                found |= {k for k in range(14) if contents[k] == contents[i]}
    expected = len(found) or None
    told = ledger(contents, groups).repeated("image")
    assert (None if told is None else told[0]) == expected


def test_the_first_two_are_named_and_copies_within_a_group_are_none():
    assert ledger(["a", "b", "b", "a"], ["g", "h", "i", "g"]).repeated("image") == (2, ("s1", "s2"))
    assert ledger(["a", "a", None, None], ["g", "g", "h", "i"]).repeated("image") is None
    assert ledger([None, None], ["g", "h"]).repeated("image") is None
