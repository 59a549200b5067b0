"""Places of ids, also of such that share a hash."""

import numpy as np
import pytest

from conceptseg.data import index as module
from conceptseg.data.index import Index
from conceptseg.data.ledger import Ledger
from conceptseg.data.manifest import load_manifest
from conceptseg.data.reads import Reads
from tests.strange_models import write_scenes


@pytest.mark.parametrize("same", [False, True])
def test_places_are_those_of_the_ids(monkeypatch, same):
    ids = [f"s{n}" for n in np.random.default_rng(0).permutation(300)]
    if same:  # few hashes for many ids
        monkeypatch.setattr(module, "hash", lambda one: len(one), raising=False)
    index = Index(ids)
    asked = [ids[7], "missing", ids[0], ids[299], ids[7]]
    assert index.places(asked).tolist() == [7, -1, 0, 299, 7]
    assert [index.place(one) for one in asked] == [7, None, 0, 299, 7]
    assert index.places([]).shape == (0,) and Index([]).place("s1") is None


def test_what_is_read_of_a_sample_that_nobody_named_is_an_error(tmp_path):
    manifest = load_manifest(write_scenes(tmp_path / "scenes", 2))
    with pytest.raises(KeyError, match="does not name"):
        Ledger(manifest).take(Reads({"image": {"missing": bytes(32)}}))
