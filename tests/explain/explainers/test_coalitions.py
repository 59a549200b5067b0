from math import comb, sqrt

import numpy as np
import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.explainers._coalitions import Coalitions, design
from tests.explain.explainers.games import shapley


def play(coalitions: Coalitions, value) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values and errors of a game value(shown [m, k]) -> [m]."""
    shown = coalitions.played(0, coalitions.variants).numpy()
    whole = value(np.ones((1, shown.shape[1]), dtype=bool))
    found, error = coalitions.shapley(torch.tensor(value(shown))[None], torch.tensor(whole))
    return found[:, 0].numpy(), error[:, 0].numpy()


def curved(cells, seed=0):
    """A game in which cells act together in all numbers."""
    w = np.random.default_rng(seed).normal(size=cells)
    return lambda shown: np.tanh(shown @ w - 0.7) + 0.3 * np.sin(3 * shown @ w)


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 7, 12])
def test_exact_where_all_coalitions_are_played(cells):
    coalitions = design(cells, 1, 0)
    assert coalitions.variants == 2**cells - 1 and coalitions.drawn == 0
    played = coalitions.played(0, coalitions.variants).numpy() @ (1 << np.arange(cells))
    assert sorted(played) == list(range(2**cells - 1))
    found, error = play(coalitions, curved(cells))
    assert np.allclose(found, shapley(curved(cells), cells), rtol=0, atol=1e-14)
    assert not error.any()


def test_all_coalitions_in_budget_are_exact():
    coalitions = design(13, 2**13 - 2, 0)
    assert coalitions.drawn == 0
    expected = shapley(curved(13), 13)
    assert np.allclose(play(coalitions, curved(13))[0], expected, rtol=0, atol=1e-12)


def test_design():
    """Pairs are complements, and sizes, whole or drawn, weigh what the kernel gives them."""
    k, coalitions = 40, design(40, 600, 3)
    played = coalitions.played(0, coalitions.variants)
    assert coalitions.variants == 601 and not played[0].any()
    assert torch.equal(played[1::2], ~played[2::2])
    assert torch.equal(
        torch.cat([coalitions.played(i, i + 7) for i in range(0, 700, 7)])[:601], played
    )
    sizes = coalitions.members.sum(1)
    assert (sizes[:40] == 1).all() and len(torch.unique(coalitions.members[:40], dim=0)) == 40
    assert coalitions.drawn == 260 and (sizes[40:] > 1).all() and (sizes <= 20).all()
    assert coalitions.weights.sum().item() == pytest.approx(1)
    mass = {s: 1 / (s * (k - s)) / (2 if 2 * s == k else 1) for s in range(1, 21)}
    total = sum(mass.values())
    assert coalitions.weights[:40].sum().item() == pytest.approx(mass[1] / total)
    for s in range(2, 21):
        expected = 260 * mass[s] / (total - mass[1])
        assert abs(int((sizes == s).sum()) - expected) <= 1
    # Members come up alike: each of a size's cells with the same chance.
    many = design(40, 40_000, 0).members[40:]
    share = many.double().mean(0) / (many.sum(1).double().mean() / k)
    assert (share - 1).abs().max() < 0.05


def test_larger_sizes_are_taken_whole_where_there_is_room():
    coalitions = design(14, 6000, 0)
    sizes = coalitions.members[: -coalitions.drawn].sum(1)
    counts = {s: int((sizes == s).sum()) for s in sizes.unique().tolist()}
    assert len(counts) > 2 and all(count == comb(14, s) for s, count in counts.items())


@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_make_games_of_two_exact(seed):
    """What cells add alone and in twos is found exactly from any draw: half a bonus each."""
    k, random = 30, np.random.default_rng(seed)
    alone, twos = random.normal(size=k), np.triu(random.normal(size=(k, k)), 1)
    found, error = play(
        design(k, 200, seed),
        lambda shown: 5 + shown @ alone + np.einsum("mi,ij,mj->m", shown * 1.0, twos, shown * 1.0),
    )
    assert np.allclose(found, alone + (twos.sum(0) + twos.sum(1)) / 2, atol=1e-10)
    assert error.max() < 1e-10


def test_efficiency_and_many_games_at_once():
    coalitions = design(20, 400, 0)
    shown = coalitions.played(0, coalitions.variants).numpy()
    games = [curved(20, seed) for seed in range(6)]
    values = torch.stack([torch.tensor(game(shown)) for game in games])
    whole = torch.tensor([game(np.ones((1, 20), dtype=bool))[0] for game in games])
    found, error = coalitions.shapley(values, whole)
    assert torch.allclose(found.sum(0), whole - values[:, 0], atol=1e-13, rtol=0)
    for i, game in enumerate(games):
        alone = play(coalitions, game)
        assert np.allclose(found[:, i], alone[0]) and np.allclose(error[:, i], alone[1])


def test_regression_by_least_squares_over_both_of_each_pair():
    """The kernel's weighted regression as in the paper, with the last cell's value eliminated."""
    k, coalitions, value = 15, design(15, 100, 0), curved(15)
    shown = coalitions.played(1, coalitions.variants).numpy().astype(float)
    weight = np.repeat(coalitions.weights.numpy(), 2)
    nothing, whole = value(np.zeros((1, k)))[0], value(np.ones((1, k)))[0]
    rows = shown[:, :-1] - shown[:, -1:]
    rest = value(shown) - nothing - shown[:, -1] * (whole - nothing)
    root = np.sqrt(weight)
    expected = np.linalg.lstsq(rows * root[:, None], rest * root, rcond=None)[0]
    found = play(coalitions, value)[0]
    assert np.allclose(found[:-1], expected, atol=1e-10)
    assert found.sum() == pytest.approx(whole - nothing, abs=1e-12)


@pytest.mark.parametrize("passes", [112, 200, 1000])
def test_errors_are_those_of_repeated_draws(passes):
    """Over 150 seeds: no bias beyond noise, errors that match the spread, and fair coverage."""
    cells, value = 14, curved(14)
    truth, repeats = shapley(value, cells), 150
    runs = [play(design(cells, passes, seed), value) for seed in range(repeats)]
    found, error = (np.stack(part) for part in zip(*runs, strict=True))
    spread = found.std(0, ddof=1)
    bias = np.abs(found.mean(0) - truth) / (spread / sqrt(repeats))
    assert bias.max() < 4.5
    ratio = np.sqrt((error**2).mean() / (spread**2).mean())
    assert 0.9 < ratio < 1.25
    covered = (np.abs(found - truth) < 2 * error).mean()
    assert 0.9 < covered < 0.995


def test_few_samples():
    with pytest.raises(InputError, match="99 samples are too few for 25 cells; take at least 100"):
        design(25, 99, 0)
