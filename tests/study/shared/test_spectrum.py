"""Amplitudes and phases: round trips, what stays fixed, and lucent's image."""

import numpy as np
import pytest
import torch

from conceptseg.study.shared.spectrum import (
    Template,
    colour_mixing,
    decorrelated,
    inverse_frequency,
    odd,
    squashed,
    window,
)

SIZES = [(8, 8), (8, 7), (7, 8), (5, 9)]


def phases(template, images):
    """Phases [n, c, h, w // 2 + 1] of images [n, c, h, w]."""
    z = decorrelated(images.numpy(), template.mean, template.colours)
    return torch.angle(torch.fft.rfft2(torch.from_numpy(z)))


def template(h, w, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((6, channels, h, w))
    flat = images.transpose(1, 0, 2, 3).reshape(channels, -1)
    mean, mix = flat.mean(1), colour_mixing(np.atleast_2d(np.cov(flat, bias=True)))
    amplitude = np.abs(np.fft.rfft2(decorrelated(images, mean, mix))).mean(0)
    return Template(mean, mix, amplitude, w), images


@pytest.mark.parametrize("size", SIZES)
def test_phases_and_amplitudes_give_the_image_back(size):
    known, images = template(*size)
    x = torch.from_numpy(images[:1])
    own = np.abs(np.fft.rfft2(decorrelated(images[:1], known.mean, known.colours)))[0]
    again = Template(known.mean, known.colours, own, size[1]).image(phases(known, x))
    np.testing.assert_allclose(again.numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_amplitudes_stay_whatever_the_phases(size):
    """All of them, but at frequencies that are their own mirror image: there |cos| of the phase."""
    known, _ = template(*size)
    h, w = size
    phase = torch.from_numpy(np.random.default_rng(1).uniform(-9, 9, (2, 3, h, w // 2 + 1)))
    z = decorrelated(known.image(phase).numpy(), known.mean, known.colours)
    found = np.abs(np.fft.rfft2(z))
    expected = np.broadcast_to(known.amplitude, found.shape).copy()
    for fy in {0, h // 2} if h % 2 == 0 else {0}:
        for fx in {0, w // 2} if w % 2 == 0 else {0}:
            expected[..., fy, fx] *= np.abs(np.cos(phase.numpy()[..., fy, fx]))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_odd_leaves_an_image_s_own_phases_as_they_are():
    phase = np.angle(np.fft.rfft2(np.random.default_rng(0).normal(size=(2, 8, 6))))
    np.testing.assert_allclose(odd(torch.from_numpy(phase), 6).numpy(), phase, atol=1e-12)


def test_decorrelated_colours_have_no_covariance():
    known, images = template(8, 8)
    flat = decorrelated(images, known.mean, known.colours).transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(flat.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(flat, bias=True), np.eye(3), atol=1e-6)


def test_grey_images_in_colour_have_a_mixing():
    mix = colour_mixing(np.full((3, 3), 0.04))
    assert np.isfinite(np.linalg.inv(mix)).all()
    np.testing.assert_allclose(mix @ mix.T, 0.04, atol=1e-7)


def test_decay_is_lucents():
    """param.image of lucent: the same spectrum gives the same picture."""
    h, w = 6, 8
    spectrum = np.random.default_rng(0).normal(size=(h, w // 2 + 1)) + 0j
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[: w // 2 + 1]
    lucent = 1.0 / np.maximum(np.sqrt(fx * fx + fy * fy), 1.0 / max(w, h))
    ours = np.fft.irfft2(spectrum * inverse_frequency(h, w), s=(h, w), norm="ortho") / 4
    theirs = np.fft.irfft2(spectrum * lucent, s=(h, w), norm="ortho") / 4
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_small_images_are_mirrored_and_large_ones_cut():
    rng = np.random.default_rng(0)
    image = np.arange(12.0).reshape(1, 3, 4)
    grown = window(image, 6, 8, rng)
    assert np.array_equal(grown[:, :3, :4], image)
    assert np.array_equal(grown[:, 3:, :4], image[:, ::-1])
    cut = window(image, 2, 2, rng)
    places = [image[:, y : y + 2, x : x + 2] for y in range(2) for x in range(3)]
    assert any(np.array_equal(cut, place) for place in places)


def test_squashing_keeps_small_contrasts():
    x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    value = squashed(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0.5 and slope.item() == pytest.approx(1)
    assert 0 < squashed(torch.tensor(-3.0)) < squashed(torch.tensor(4.0)) < 1
