import numpy as np
import pytest
import torch

from conceptseg.study.actmax.objectives import LEAST_COSINE, Objective, source_of
from tests.small_models import hooks, images, unet

N, U, Y, X = 3, 5, 6, 7


def source(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(N, U, Y, X)))


def by_loops(kind, a, ids, vectors):
    result = np.zeros((N, len(ids), Y, X))
    for n in range(N):
        for k, i in enumerate(ids):
            for y in range(Y):
                for x in range(X):
                    at = a[n, :, y, x]
                    if kind == "class":
                        others = np.delete(at, i)
                        value = at[i] - np.log(np.exp(others).sum())
                    elif kind == "direction":
                        v = vectors[i] / np.linalg.norm(vectors[i])
                        dot = float(at @ v)
                        value = dot * max(dot / np.linalg.norm(at), LEAST_COSINE) ** 2
                    else:
                        value = at[i]
                    result[n, k, y, x] = value
    return result


@pytest.mark.parametrize("kind", ["channel", "position", "direction", "class"])
def test_responses_by_loops(kind):
    vectors = np.random.default_rng(1).normal(size=(4, U))
    ids = (2, 0, 3)
    objective = Objective(kind, "", ids, vectors)
    a = source()
    expected = by_loops(kind, a.numpy(), ids, vectors)
    np.testing.assert_allclose(objective.responses(a).numpy(), expected, atol=1e-10)
    own = objective.own(a, ids).numpy()
    np.testing.assert_allclose(own, expected[np.arange(3), np.arange(3)], atol=1e-10)


def test_what_is_read_off_maps():
    maps = torch.arange(2.0 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    flat = maps.numpy()
    for kind in ("channel", "direction"):
        objective = Objective(kind, "")
        np.testing.assert_allclose(objective.of_pictures(maps), flat.mean((2, 3)))
        whole = objective.of_images(maps, (32, 32), (32, 32))
        np.testing.assert_allclose(whole, flat.mean((2, 3)))
        # A picture of half the image's sides: the frame that does best, at the lower right.
        frame = objective.of_images(maps, (16, 16), (32, 32))
        np.testing.assert_allclose(frame, flat[..., 4:, 4:].mean((2, 3)))
        larger = objective.of_images(maps, (64, 64), (32, 32))
        np.testing.assert_allclose(larger, flat.mean((2, 3)))
    position, window = Objective("position", ""), Objective("class", "")
    np.testing.assert_allclose(position.of_pictures(maps), flat[..., 4, 4])
    np.testing.assert_allclose(position.of_images(maps, (8, 8), (8, 8)), flat.max((2, 3)))
    np.testing.assert_allclose(window.of_pictures(maps), flat[..., 2:6, 2:6].mean((2, 3)))
    # Values rise along the rows: the best window of half the sides is the last one.
    np.testing.assert_allclose(
        window.of_images(maps, (8, 8), (8, 8)), flat[..., 4:, 4:].mean((2, 3))
    )


def test_a_source_runs_only_as_far_as_is_needed():
    model, x = unet(), images()
    with torch.no_grad(), source_of(model, Objective("channel", "mid"), "enc1") as run:
        found = run(x)
        assert set(found) == {"", "mid", "enc1"} and found[""] is found["mid"]
    with torch.no_grad(), source_of(model, Objective("class", "mid")) as run:
        np.testing.assert_allclose(run(x)[""].numpy(), model(x).numpy(), atol=1e-6)
    assert hooks(model) == 0
