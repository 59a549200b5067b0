"""Spoilt images are what they are called, and do not depend on the batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck import shift
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.predictor import Scored
from conceptseg.study.bottleneck.shift import KINDS, spoilt


def images(n=3):
    return torch.rand(n, 2, 20, 24, generator=torch.Generator().manual_seed(0))


def test_damage_does_not_depend_on_the_batch():
    x, ids = images(), ("a", "b", "c")
    for kind in KINDS:
        whole = spoilt(x, kind, ids, 0)
        alone = torch.cat([spoilt(x[i : i + 1], kind, ids[i : i + 1], 0) for i in range(3)])
        torch.testing.assert_close(whole, alone)
        assert float(whole.min()) >= 0 and float(whole.max()) <= 1


def test_each_damage_is_what_it_is_called():
    x, ids = 0.3 + 0.4 * images(), ("a", "b", "c")
    assert torch.equal(spoilt(x, "as it is", ids, 0), x)
    torch.testing.assert_close(spoilt(x, "inverted", ids, 0), 1 - x)
    torch.testing.assert_close(spoilt(x, "dark", ids, 0), x / 3)
    assert abs(float((spoilt(x, "noise", ids, 0) - x).std()) - 0.1) < 0.01
    assert not torch.equal(spoilt(x, "noise", ids, 0), spoilt(x, "noise", ids, 1))
    blurred = spoilt(x, "blur", ids, 0)
    assert float(blurred.std()) < 0.7 * float(x.std())
    flat = torch.full((1, 2, 20, 24), 0.4)
    torch.testing.assert_close(spoilt(flat, "blur", ("a",), 0), flat)


def test_the_blur_is_a_gaussian():
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    found = spoilt(x, "blur", ("a",), 0)[0, 0]
    at = torch.arange(41.0) - 20
    sigma = 0.02 * 41
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    expected = torch.outer(kernel, kernel) / kernel.sum() ** 2
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert functional.mse_loss(found.sum(), torch.tensor(1.0)) < 1e-6


def test_images_as_they_are_are_scored_by_folds_that_did_not_see_them():
    """Four images of quality 0.5; the saved predictor knows them all, other folds only two."""
    ids = ("a", "b", "c", "d")

    def known(pooled, confidence, size):
        half = np.full(4, 0.5)
        return Scored(half, half, half, np.zeros(4))

    judged = SimpleNamespace(
        ids=list(ids),
        class_ids=(0,),
        classes=np.full((4, 1), 0.5),
        predictor=SimpleNamespace(score=known),
        fitted={"both": SimpleNamespace(predicted=np.array([[0.2, 0.4, 0.6, 0.8]]))},
        low=np.array([0.4, 0.6, 0.4, 0.4]),
        high=np.full(4, 0.9),
        outside=np.array([False, False, False, True]),
    )
    study = SimpleNamespace(deploy="both", overlap=lambda shared, *_: shared / 10)
    columns = {"pooled": np.zeros((1, 5, 2)), "confidence": np.zeros((1, 5, len(NAMES)))}
    columns["counts"] = np.full((1, 5, 3, 1), 5)
    table = SampleTable.empty()
    for name in ids:
        table = table.merge(SampleTable.of(name, columns))
    rows = {row["kind"]: row for row in shift.shifted(study, judged, table).rows}
    first, noise = rows["as it is"], rows["noise"]
    assert first["outside"] == 0.25 and first["covered"] == pytest.approx(2 / 3)
    assert first["predicted"] == pytest.approx(0.5) and first["quality"] == pytest.approx(0.5)
    assert noise["outside"] == 0 and noise["covered"] == 1
