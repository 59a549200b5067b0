import numpy as np
import pytest
import torch

from conceptseg.explain.metrics.trace_of_prediction import TraceOfPrediction
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)
MASK = Scene(MODEL, X).fix(Target(1)).mask


def test_numpy_and_scipy():
    from scipy.stats import spearmanr

    maps = noise(2, 16, 24) + 0.5 * MASK
    value = TraceOfPrediction().measure(trial(MODEL, X, maps)).value
    rank = TraceOfPrediction(by="rank").measure(trial(MODEL, X, maps)).value
    for i in range(2):
        rows = [maps[i].flatten().double().numpy(), MASK[i].flatten().double().numpy()]
        assert value[i].item() == pytest.approx(np.corrcoef(*rows)[0, 1], abs=1e-5)
        assert rank[i].item() == pytest.approx(spearmanr(*rows).statistic, abs=1e-5)


def test_copies_and_what_has_nothing_to_do_with_the_mask():
    copy = MASK.float()
    for by in ("value", "rank"):
        metric = TraceOfPrediction(by=by)
        for maps, expected in ((copy, 1.0), (3 * copy - 7, 1.0), (-copy, -1.0)):
            found = metric.measure(trial(MODEL, X, maps)).value
            assert found.tolist() == pytest.approx([expected] * 2, abs=1e-5)
        # Half of the pixels in each row of inside and outside: no correlation at all.
        balanced = torch.zeros(2, 16, 24)
        for i in range(2):
            for part in (MASK[i], ~MASK[i]):
                at = part.nonzero()
                at = at[: len(at) // 2 * 2]
                balanced[i][at[::2, 0], at[::2, 1]] = 1.0
                balanced[i][at[1::2, 0], at[1::2, 1]] = -1.0
        assert metric.measure(trial(MODEL, X, balanced)).value.abs().max() < 0.01


def test_undefined_where_nothing_varies():
    metric = TraceOfPrediction()
    assert metric.measure(trial(MODEL, X, torch.ones(2, 16, 24))).value.isnan().all()
    whole = trial(MODEL, X, noise(2, 16, 24), Target(1, Everything()))
    assert metric.measure(whole).value.isnan().all()
