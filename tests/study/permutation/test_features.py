"""Exchanges against plain definitions, closed forms, and scikit-learn on a table of pixels."""

import numpy as np
import pytest
import torch
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression

from conceptseg.study.permutation import features
from conceptseg.study.permutation.features import Channels, Feature
from conceptseg.study.permutation.losses import overlap_loss
from tests.small_models import wrapped


def images(n=3, c=3, h=16, w=20, seed=0):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def channels_of(rows):
    return Channels(rows.mean(0), np.cov(rows.T, bias=True))


class PerPixel(torch.nn.Module):
    """A classifier of single pixels as a segmenter; channel 3 has no weight at all."""

    def __init__(self, fitted):
        super().__init__()
        self.head = torch.nn.Conv2d(4, 3, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(fitted.coef_)[:, :, None, None])
            self.head.bias.copy_(torch.tensor(fitted.intercept_))

    def forward(self, x):
        return self.head(x)


def test_swaps_are_the_permutation_importance_of_scikit_learn():
    """Images of one pixel are rows of a table: equal shuffles give equal importances."""
    rng = np.random.default_rng(0)
    x = rng.random((200, 4)).astype(np.float32)
    y = (x[:, 0] > 0.5).astype(int) + ((x[:, 1] + x[:, 3] > 1.2) & (x[:, 0] > 0.5))
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    fitted.coef_[:, 3] = 0
    expected = permutation_importance(
        fitted, x, y, n_repeats=4, random_state=1, scoring="accuracy"
    ).importances
    model = wrapped(PerPixel(fitted), 3, 4)
    pixels = torch.tensor(x)[:, :, None, None]
    labels = torch.tensor(y)[:, None, None]
    state = np.random.RandomState(1)
    seed = state.randint(np.iinfo(np.int32).max + 1)
    with torch.no_grad():
        clean = np.nanmean(overlap_loss(model(pixels), labels), axis=1)
        for channel in range(4):
            feature = Feature("one", "channels", (channel,))
            order, shuffle = np.arange(200), np.random.RandomState(seed)
            donors = np.arange(200)
            for repeat in range(4):
                shuffle.shuffle(order)
                donors = donors[order]  # scikit-learn shuffles what it has shuffled already
                changed = features.swapped(pixels, pixels[donors], feature)
                loss = np.nanmean(overlap_loss(model(changed), labels), axis=1)
                rise = float((loss - clean).mean())
                assert rise == pytest.approx(expected[channel, repeat], abs=1e-12)
                if channel == 3:
                    assert rise == 0


def test_a_linear_score_moves_by_twice_its_variance():
    """E (w x - w x')^2 = 2 w^2 var for donors drawn at random: the closed form of squared loss."""
    x = images(400, 2, 1, 1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    changed = features.swapped(x, x[order], Feature("one", "channels", (1,)))
    weight = torch.tensor([0.3, 1.7])[None, :, None, None]
    moved = ((weight * (x - changed)).sum(1) ** 2).mean()
    assert float(moved) == pytest.approx(2 * 1.7**2 * float(x[:, 1].var()), rel=0.15)


def test_conditional_exchange_is_the_regression_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows = rng.random((500, 3))
    rows[:, 2] = 0.3 * rows[:, 0] + 0.4 * rows[:, 1] + 0.1 * rows[:, 2]
    known = channels_of(rows)
    x = torch.tensor(rows[:240].reshape(4, 60, 3)).permute(0, 2, 1)[..., None].float()
    donors = x[[1, 2, 3, 0]]
    found = features.conditional(x, donors, Feature("two", "channels", (2,)), known)
    fit = LinearRegression().fit(rows[:, :2], rows[:, 2])
    own = x[:, :2].permute(0, 2, 3, 1).reshape(-1, 2).numpy()
    other = donors[:, :2].permute(0, 2, 3, 1).reshape(-1, 2).numpy()
    surprise = donors[:, 2].reshape(-1).numpy() - fit.predict(other)
    expected = np.clip(fit.predict(own) + surprise, 0, 1)
    np.testing.assert_allclose(found[:, 2].reshape(-1), expected, atol=1e-4)
    assert torch.equal(found[:, :2], x[:, :2])


def test_a_channel_that_the_others_predict_is_not_changed_given_them():
    rows = np.random.default_rng(0).random((300, 2))
    rows = np.c_[rows, 0.5 * rows.sum(1)]
    x = torch.tensor(rows.reshape(3, 100, 3)).permute(0, 2, 1)[..., None]
    feature = Feature("two", "channels", (2,))
    found = features.conditional(x, x.flip(0), feature, channels_of(rows))
    assert float((found - x).abs().max()) < 1e-5
    assert float((features.swapped(x, x.flip(0), feature) - x).abs().max()) > 0.1


def test_colour_is_taken_apart_and_put_together():
    x, donors = 0.3 + 0.1 * images(), 0.3 + 0.1 * images(seed=1)
    luminance = features.swapped(x, donors, Feature("l", "luminance"))
    chroma = features.swapped(x, donors, Feature("c", "chroma"))
    torch.testing.assert_close(luminance.mean(1), donors.mean(1))
    torch.testing.assert_close(luminance - luminance.mean(1, True), x - x.mean(1, True))
    torch.testing.assert_close(chroma.mean(1), x.mean(1))
    torch.testing.assert_close(chroma - chroma.mean(1, True), donors - donors.mean(1, True))


def test_octaves_cover_the_spectrum_once():
    x, donors = 0.5 + 0.05 * images(), 0.5 + 0.05 * images(seed=1)
    octaves = [f for f in features.frequency_features(4) if f.band != (-1.0, 1.0)]
    assert len(octaves) == 4
    changed = x
    for octave in octaves:
        changed = features.swapped(changed, donors, octave)
    whole = features.swapped(x, donors, Feature("a", "amplitude"))
    torch.testing.assert_close(changed, whole, atol=1e-5, rtol=1e-4)
    amplitude = torch.fft.rfft2(whole).abs()
    torch.testing.assert_close(amplitude, torch.fft.rfft2(donors).abs(), atol=1e-3, rtol=1e-3)


def test_phase_is_the_donors_and_amplitude_the_images():
    x, donors = 0.5 + 0.05 * images(), 0.5 + 0.05 * images(seed=1)
    found = torch.fft.rfft2(features.swapped(x, donors, Feature("p", "phase")))
    torch.testing.assert_close(found.abs(), torch.fft.rfft2(x).abs(), atol=1e-3, rtol=1e-3)
    away = (found.angle() - torch.fft.rfft2(donors).angle()).cos()
    assert float((1 - away).max()) < 1e-2


def test_blocks_are_moved_whole_and_nothing_is_lost():
    x = images(2, 2, 9, 13)
    found = features.shuffled_blocks(x, Feature("one", "channels", (1,)), 4, [(1,), (2,)])
    assert torch.equal(found[:, 0], x[:, 0])
    assert torch.equal(found[:, 1, 8:], x[:, 1, 8:]) and torch.equal(found[..., 12:], x[..., 12:])

    def blocks(one):
        return sorted(
            tuple(one[r : r + 4, c : c + 4].flatten().tolist()) for r in (0, 4) for c in (0, 4, 8)
        )

    for i in range(2):
        assert blocks(found[i, 1]) == blocks(x[i, 1])
    assert not torch.equal(found[0, 1], x[0, 1])


def test_the_mean_is_put_in():
    known = Channels(np.array([0.1, 0.2, 0.3]), np.eye(3))
    found = features.filled(images(), Feature("two", "channels", (0, 2)), known)
    torch.testing.assert_close(found[:, 0], torch.full((3, 16, 20), 0.1))
    torch.testing.assert_close(found[:, 2], torch.full((3, 16, 20), 0.3))


def test_like_channels_are_grouped():
    correlation = np.array([[1, 0.95, 0.1], [0.95, 1, 0.2], [0.1, 0.2, 1]])
    assert features.tree(correlation)[0][0] == (0, 1)
    assert features.unit_groups(correlation, 2) == [(0, 1), (2,)]
    assert features.tree(np.eye(2)) == []


def test_parts_that_share_something_are_not_paired():
    red, green, both = (Feature("x", "channels", m) for m in ((0,), (1,), (0, 1)))
    fine, coarse = features.frequency_features(2)[2:]
    assert features.apart(red, green) and not features.apart(red, both)
    assert features.apart(fine, coarse) and not features.apart(fine, fine)
    assert features.apart(Feature("l", "luminance"), Feature("c", "chroma"))
    assert not features.apart(red, Feature("l", "luminance"))
