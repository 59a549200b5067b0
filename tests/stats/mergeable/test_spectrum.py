import numpy as np

from conceptseg.stats.mergeable.spectrum import Spectrum


def test_amplitudes_by_hand_and_of_parts():
    images = np.random.default_rng(0).normal(size=(5, 2, 3, 4))
    total = Spectrum.empty(2, 3, 4)
    for part in np.split(images, [1, 1, 4]):
        total = total.merge(Spectrum.of(part))
    y, x = np.mgrid[:3, :4]
    expected = np.zeros((2, 3, 3))
    for fy in range(3):
        for fx in range(3):
            wave = np.exp(-2j * np.pi * (fy * y / 3 + fx * x / 4))
            expected[:, fy, fx] = np.abs((images * wave).sum((2, 3))).mean(0)
    assert total.count == 5
    np.testing.assert_allclose(total.amplitude, expected, atol=1e-12)


def test_no_image_has_no_amplitude():
    assert (Spectrum.empty(1, 4, 4).amplitude == 0).all()
