"""The first sweep's sums and probes against scikit-learn and plain definitions."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from conceptseg.data.manifest import Sample
from conceptseg.network.layers import LayerInfo
from conceptseg.study.ability import gather
from conceptseg.study.ability.units import pooled_dice, unit_counts
from conceptseg.study.shared.stages import evenly, stages


def test_the_probe_is_a_ridge_regression_of_shares():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) * [1, 10, 0.1, 2] + [0, 5, 1, -3]
    classes = (x[:, 0] > 0).astype(int)
    y = np.eye(3)[classes]  # the third class is in no position
    rows = np.c_[x, np.ones(200)]
    direction, offset = gather.ridge(rows.T @ rows, rows.T @ y, 4)
    scaled = (x - x.mean(0)) / x.std(0)
    fitted = Ridge(alpha=1e-3 * 200).fit(scaled, y)
    expected = fitted.predict(scaled)
    found = x @ direction.T + offset
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-9)
    assert offset[2] == -np.inf and not direction[2].any()


def test_probe_sums_weigh_positions_by_what_is_labelled():
    x = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[0, 0, 1, -1], [0, 1, -1, -1], [1, 1, 0, 0], [1, 1, 0, 0]]])
    sums = gather.probe_sums(x, gather.label_shares(labels, 2), 512)
    weight = np.array([1.0, 0.25, 1.0, 1.0])
    share = np.array([[0.75, 0.25], [0.0, 0.25], [0, 1], [1, 0]])
    rows = np.c_[x[0].flatten(1).numpy().T, np.ones(4)]
    np.testing.assert_allclose(sums["gram"][0], (rows * weight[:, None]).T @ rows, rtol=1e-5)
    np.testing.assert_allclose(sums["target"][0], rows.T @ share, rtol=1e-5)


def test_a_probe_of_some_units_leaves_the_others_alone():
    assert evenly(4, 512).tolist() == [0, 1, 2, 3]
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]


def test_halves_cut_no_group_and_are_of_like_size():
    samples = [Sample(id=f"s{i}", group=f"g{i // 5}") for i in range(40)]
    half, by_group = gather.halves(samples, 0)
    assert by_group
    for group in range(8):
        assert len({half[f"s{i}"] for i in range(40) if i // 5 == group}) == 1
    assert sum(half.values()) == 20
    alone, by_group = gather.halves([Sample(id=f"s{i}", group="g") for i in range(6)], 0)
    assert not by_group and sum(alone.values()) == 3


def test_units_by_loops():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(3, 8, 8)), rng.integers(-1, 3, (8, 8))
    labels[labels == 2] = 0
    inside, outside = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    found = unit_counts(torch.tensor(x).float(), torch.tensor(labels), inside, outside, 8)
    for u in range(3):
        for c in range(3):
            pairs = [
                (abs(v - inside[c, u]) < abs(v - outside[c, u]), truth == c)
                for v, truth in zip(x[u].ravel(), labels.ravel(), strict=True)
                if truth >= 0
            ]
            expected = [sum(a and b for a, b in pairs), *(sum(p[i] for p in pairs) for i in (0, 1))]
            assert found[u, c].tolist() == expected


def test_a_unit_that_is_on_everywhere_reads_no_class_well():
    counts = np.array([[[50, 100, 50]], [[0, 100, 0]], [[0, 100, 0]]])  # one image holds it
    assert pooled_dice(counts)[0] == pytest.approx(2 * 50 / 350)
    assert np.isnan(pooled_dice(np.zeros((2, 1, 3)))[0])


def info(name, parameters):
    return LayerInfo(name, "Conv2d", (4, 8, 8), 1.0, parameters, 0.0)


def test_stages_open_the_heaviest_part_first_and_keep_the_running_order():
    infos = [info("stem", 0.1), info("body", 0.8), info("body.0", 0.2), info("body.1", 0.6),
             info("body.1.a", 0.3), info("body.1.b", 0.3), info("head", 0.1)]  # fmt: skip
    assert stages(infos, 3) == ("stem", "body", "head")
    assert stages(infos, 4) == ("stem", "body.0", "body.1", "head")
    assert stages(infos, 9) == ("stem", "body.0", "body.1.a", "body.1.b", "head")
    assert len(stages(infos, 2)) == 2
