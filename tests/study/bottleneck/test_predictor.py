"""The saved predictor is the fitted pipelines' own numbers, and nothing that runs."""

import io

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.study.bottleneck import regress
from conceptseg.study.bottleneck.conformal import Calibration, Slicing
from conceptseg.study.bottleneck.gate import Gates
from conceptseg.study.bottleneck.part import part_of
from conceptseg.study.bottleneck.predictor import Predictor
from conceptseg.study.bottleneck.regress import CANDIDATES, Features


def fitted(name, units=7, extra=3, n=80):
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 1, size=(n, units + extra)) * np.geomspace(0.01, 100, units + extra)
    features = Features(rows, units)
    target = rows[:, 0] * 50 + np.sin(rows[:, 1] * 5)
    pipe = regress.pipeline(CANDIDATES[name][0], features, 5, 0).fit(rows, target)
    return pipe, rows


@pytest.mark.parametrize("name", sorted(CANDIDATES))
@pytest.mark.parametrize("shape", [(7, 3), (7, 0), (0, 3)])
def test_parts_predict_what_their_pipeline_does(name, shape):
    pipe, rows = fitted(name, *shape)
    new = rows * 1.01 + 0.003
    part = part_of(pipe, rows.shape[1])
    np.testing.assert_allclose(part.predict(new), pipe.predict(new), rtol=1e-9, atol=1e-9)


def whole(name="forest"):
    pipe, rows = fitted(name)
    other, _ = fitted("ridge")
    n = len(rows)
    kept = Calibration(np.full(n, 0.4), np.arange(n) % 2, np.zeros(n, int), np.arange(n))
    pooled = np.c_[np.zeros(n), rows[:, :7]]
    gates = Gates.of(rows[:, :7], rows[:, 7:], np.arange(n), 0.1)
    facts = {
        **{"features": "both", "alpha": 0.1, "flip": True, "classes": ["a"]},
        **{"layer": "body", "weights": "0", "confidence": ["sure", "foreground", "edges"]},
    }
    parts = (part_of(pipe, 10), part_of(other, 10))
    one = Predictor(parts, kept, Slicing("size", (0.2, 0.6)), gates, np.arange(1, 8), facts)
    return one, pooled, rows[:, 7:], np.linspace(0, 1, n)


def test_saved_arrays_give_the_same_scores_and_hold_no_object():
    predictor, *given = whole()
    buffer = io.BytesIO()
    np.savez(buffer, **predictor.to_arrays())
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        again = Predictor.from_arrays(dict(arrays))
    assert again.facts == dict(predictor.facts) and again.slicing == predictor.slicing
    for field, value in vars(predictor.score(*given)).items():
        np.testing.assert_array_equal(getattr(again.score(*given), field), value)


def test_an_image_of_another_kind_gets_no_interval():
    predictor, pooled, confidence, size = whole()
    far = predictor.score(pooled + 1e4, confidence, size)
    assert not far.inside.any() and np.isnan(far.low).all()
    near = predictor.score(pooled, confidence, size)
    assert near.inside.mean() > 0.8
    kept = near.inside
    assert (near.low[kept] <= near.quality[kept]).all()
    assert (near.high[kept] >= near.quality[kept]).all()


def test_what_cannot_be_read_is_refused():
    with pytest.raises(InputError, match="holds no predictor"):
        Predictor.from_arrays({}, "out")
    arrays = whole()[0].to_arrays()
    del arrays["predictor-layer-limits"]
    with pytest.raises(InputError, match="cannot be read"):
        Predictor.from_arrays(arrays, "out")
