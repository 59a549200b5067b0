"""Components and what describes them, against scikit-image's own measures."""

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops

from conceptseg.report.thumbnails import picture_size
from conceptseg.study.examples.objects import described
from conceptseg.study.shared.parts import Part, cut_out, parts, shape


@pytest.fixture(scope="module")
def regions():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(12, 15)).repeat(4, 0).repeat(4, 1)
    return np.digitize(noise, [-0.5, 0.5])


def test_components_are_those_of_scikit_image(regions):
    for c in (0, 1, 2):
        found = parts(regions, [c], 4, 20)
        ours = [set(map(tuple, np.argwhere(one.mask))) for one in found]
        theirs = sorted(regionprops(label(regions == c, connectivity=2)), key=lambda r: -r.area)
        theirs = [r for r in theirs if r.area >= 20][:4]
        assert sorted(map(len, ours), reverse=True) == [r.area for r in theirs]
        assert all(any(set(map(tuple, r.coords)) == own for own in ours) or
                   r.area == theirs[-1].area for r in theirs)  # fmt: skip
    assert parts(regions, [7], 4, 20) == []


def test_shape_is_made_of_moments(regions):
    for one in parts(regions, [0, 1, 2], 3, 20):
        found, props = shape(one.mask), regionprops(one.mask.astype(int))[0]
        diagonal = np.hypot(*one.mask.shape)
        assert np.exp(found[0]) == pytest.approx(one.mask.mean())
        box = np.array(props.bbox)
        np.testing.assert_allclose(np.exp(found[1:3]) * one.mask.shape, box[2:] - box[:2])
        axes = np.array([props.axis_minor_length / 4, props.axis_major_length / 4])
        axes = np.sqrt(axes**2 + 1 / 12)  # scikit-image's pixels are points
        np.testing.assert_allclose(np.exp(found[3:5]) * diagonal, axes, rtol=1e-6)
        assert found[7] == pytest.approx(props.extent)


def test_an_oblong_turned_by_a_quarter_turns_its_axis():
    flat = np.zeros((40, 40), bool)
    flat[18:22, 5:35] = True
    across, down = shape(flat), shape(flat.T)
    np.testing.assert_allclose(across[5:7], -down[5:7], atol=1e-12)
    assert across[5] > 0.9
    diagonal = np.abs(np.arange(40)[:, None] - np.arange(40)) < 3
    assert abs(shape(diagonal)[5]) < 0.01 and shape(diagonal)[6] > 0.9


def test_outcome_confidence_and_embedding_are_means_over_the_object():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:6] = True
    activation = torch.arange(2 * 16.0).reshape(2, 4, 4)
    predicted, sure = mask.astype(int), np.linspace(0, 1, 64).reshape(8, 8)
    truth = np.where(mask, 1, 0)
    truth[2, 2:5] = 0  # three of eight are wrong
    row = described([Part(1, mask)], activation, predicted, truth, sure)
    assert row["right"][0] == pytest.approx(5 / 8)
    assert row["confidence"][0] == pytest.approx(sure[mask].mean())
    wide = activation.repeat_interleave(2, 1).repeat_interleave(2, 2).numpy()
    np.testing.assert_allclose(row["embedding"][0], wide[:, mask].mean(1))
    around = np.zeros((8, 8), bool)
    around[1:5, 1:7] = True
    np.testing.assert_allclose(row["surroundings"][0], wide[:, around & ~mask].mean(1))
    np.testing.assert_allclose(row["place"][0], [3 / 8, 4 / 8])
    assert row["box"][0].tolist() == [2, 2, 4, 6]
    truth[2:4, 2:5] = -1  # six of eight are not labelled
    assert np.isnan(described([Part(1, mask)], activation, predicted, truth, sure)["right"][0])


def test_a_cut_lies_in_its_image():
    image, region = np.random.default_rng(0).random((3, 40, 60)), np.zeros((40, 60), bool)
    region[0:6, 50:60] = True
    width, height = picture_size("x", cut_out(image, region, [0, 50, 6, 60], 64))
    assert width == height > 40
    region[:] = True
    assert picture_size("x", cut_out(image, region, [0, 0, 40, 60], 60)) == (60, 40)
