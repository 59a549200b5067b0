"""Paths against closed forms: a linear score, whose path is a straight line along its weights."""

import numpy as np
import pytest
import torch

from conceptseg.study.deepdream.ascent import Path, refined, scaled, smooth_changes, variation, walk

STEP = 0.01


def weights(n=2, c=1, side=12, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, c, side, side)))


def linear(w):
    return lambda x: x, lambda x: (x * w).sum((1, 2, 3)), lambda x: torch.zeros(len(x))


def travel(images, w, how="pixel", limit=6, **changes):
    forward, score, share = linear(w)
    given = {"step": STEP, "tv": 0.0, "flip": 0.9, "points": 3}
    return walk(
        forward, score, share, images, how, limits=np.full(len(images), limit), **given | changes
    )


def test_a_linear_scores_path_is_a_straight_line_along_its_weights():
    w = weights()
    start = torch.full_like(w, 0.5)
    path = travel(start, w)
    for point, image in enumerate(path.images):
        unit = w / w.square().mean((1, 2, 3), keepdim=True).sqrt()
        np.testing.assert_allclose(image, start + 2 * point * STEP * unit, atol=1e-12)
    np.testing.assert_allclose(path.length, 6 * STEP, rtol=1e-6)
    assert path.ended.tolist() == [6, 6]


def test_phases_keep_amplitudes_and_raise_the_score():
    w = weights()
    start = 0.5 + 0.02 * weights(seed=1)
    path = travel(start, w, "phase")
    before = torch.fft.rfft2(start).abs()
    after = torch.fft.rfft2(path.images[-1]).abs()
    keep = torch.ones_like(before, dtype=torch.bool)
    keep[..., 0, 0] = keep[..., 6, 0] = keep[..., 0, 6] = keep[..., 6, 6] = False
    np.testing.assert_allclose(after[keep], before[keep], rtol=1e-6)
    score = torch.stack([(image * w).sum((1, 2, 3)) for image in path.images])
    assert (np.diff(score, axis=0) > 0).all()
    np.testing.assert_allclose(path.images[0], start, atol=1e-12)
    # Steps of phases are as long in pixels as those of pixels, but where a turn is at its bound.
    assert (path.length <= 6 * STEP * 1.05).all() and (path.length > 2 * STEP).all()


def test_a_path_ends_where_its_region_flips_and_rows_do_not_interact():
    w, start = weights(3), torch.full((3, 1, 12, 12), 0.5, dtype=torch.float64)
    limit = torch.tensor([0.5, 2.2, 99.0], dtype=torch.float64)
    score = lambda x: ((x - 0.5) * w).sum((1, 2, 3))  # noqa: E731
    gain = STEP * 144 * w.square().mean((1, 2, 3)).sqrt()  # of the score, per step

    def share(x):
        return (score(x) / gain > limit).double()

    common = {"step": STEP, "tv": 0.0, "flip": 0.9, "points": 2}
    both = walk(lambda x: x, score, share, start, "pixel", limits=np.full(3, 5), **common)
    assert both.ended.tolist() == [1, 3, 5]
    np.testing.assert_allclose(both.length, np.array([1, 3, 5]) * STEP, rtol=1e-6)
    assert share(both.images[-1]).tolist() == [1, 1, 0]


def test_values_stay_within_the_range():
    w = weights()
    path = travel(torch.full_like(w, 0.99), w, limit=20)
    assert path.images.min() >= 0 and path.images.max() <= 1


def test_total_variation_smooths_where_nothing_else_pulls():
    start = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    path = travel(start, torch.zeros_like(start), tv=1.0)
    assert variation(path.images[-1]) < variation(start)
    by_hand = (start[..., 1:] - start[..., :-1]).abs().mean() + (
        start[..., 1:, :] - start[..., :-1, :]
    ).abs().mean()
    assert variation(start).item() == pytest.approx(by_hand.item())


def test_a_step_has_its_length_and_zero_stays_zero():
    g = weights()
    np.testing.assert_allclose(
        scaled(g, torch.full((len(g),), 0.3)).square().mean((1, 2, 3)).sqrt(), 0.3
    )
    assert (scaled(torch.zeros_like(g), torch.full((len(g),), 0.3)) == 0).all()


def test_smooth_null_paths_are_straight_smooth_and_as_long_as_asked():
    start = torch.full((2, 3, 32, 32), 0.5, dtype=torch.float64)
    line = smooth_changes(start, np.array([0.02, 0.05]), 5, [0, 1])
    moved = line - start
    np.testing.assert_allclose(moved[-1].square().mean((1, 2, 3)).sqrt(), [0.02, 0.05])
    np.testing.assert_allclose(moved[2], moved[4] / 2, atol=1e-12)
    noise = weights(2, 3, 32)
    noise = noise / noise.square().mean().sqrt() * 0.05
    assert variation(moved[-1])[1] < 0.7 * variation(noise)[1]
    assert torch.equal(line, smooth_changes(start, np.array([0.02, 0.05]), 5, [0, 1]))


@pytest.mark.parametrize("how", ["pixel", "phase"])
def test_a_path_that_flips_at_once_is_taken_again_in_smaller_steps(how):
    """Of a linear score: a region that flips within a hundredth of a step, within three, never."""
    w = weights(3)
    start = 0.5 + 0.05 * weights(3, seed=3)
    first = (start * w).sum((1, 2, 3))
    gain = STEP * 144 * w.square().mean((1, 2, 3)).sqrt()
    limit = torch.tensor([0.01, 1.3, 1e9], dtype=torch.float64)
    taken = []

    def go(rows, step):
        taken.append((rows.tolist(), step.tolist()))
        score = lambda x: (x * w[rows]).sum((1, 2, 3))  # noqa: E731
        share = lambda x: (score(x) - first[rows] > (limit * gain)[rows]).double()  # noqa: E731
        return walk(
            lambda x: x, score, share, start[rows], how, step=step,
            limits=np.full(len(rows), 40), tv=0.0, flip=0.9, points=4,
        )  # fmt: skip

    path, step = refined(go, np.full(3, STEP), 40, 12)
    assert taken[0] == ([0, 1, 2], [STEP] * 3) and all(2 not in rows for rows, _ in taken[1:])
    assert (path.ended[:2] >= 12).all() and (path.ended[:2] <= 40).all() and path.ended[2] == 40
    assert step[0] < step[1] < step[2] == STEP
    for row in (0, 1):
        risen = float(((path.images[-1] - start) * w).sum((1, 2, 3))[row])
        assert 1 < risen / float(limit[row] * gain[row]) < 1.2
        # All points differ, evenly: the path can be described.
        moved = (path.images[1:] - path.images[:-1])[:, row].square().mean((1, 2, 3)).sqrt()
        assert float(moved.min()) > 0.5 * float(moved.max()) > 0
    assert path.length[0] == pytest.approx(float(path.ended[0]) * step[0], rel=0.05)


def test_a_path_that_smaller_steps_cannot_take_stays_as_it_was():
    """Flips by a jump alone: a step of any other length leads nowhere."""
    calls = []

    def go(rows, step):
        calls.append(step.copy())
        n = len(rows)
        images = torch.full((3, n, 1, 2, 2), float(len(calls)))
        return Path(images, np.full(n, 1.0), np.full(n, 1 if len(calls) == 1 else 20))

    path, step = refined(go, np.full(2, 0.1), 20, 8)
    assert len(calls) == 2 and (path.images == 1).all() and path.ended.tolist() == [1, 1]
    assert step.tolist() == [0.1, 0.1]
