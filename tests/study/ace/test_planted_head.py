"""A head that reads one channel: what each number must be can be derived."""

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.study.ace import tcav
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import IOU, Erase, erased
from conceptseg.study.ace.pool import Pool, random_concepts
from conceptseg.study.ace.survey import SEGMENTS, Survey
from tests.explain.explainers.planted import Split
from tests.small_models import wrapped
from tests.study.ace.small import batch, concept, context, direction, discovery, study, swept

UNITS = 4  # red, green, blue, brightness


def reads(channel: int):
    """Class 1 where the channel exceeds 1/4: logits (1/2, 2 a)."""
    encoder, head = nn.Conv2d(3, UNITS, 1), nn.Conv2d(UNITS, 2, 1)
    with torch.no_grad():
        encoder.weight.zero_()
        for c in range(3):
            encoder.weight[c, c] = 1
        encoder.weight[3] = 1 / 3
        head.weight.zero_()
        head.weight[1, channel] = 2
        encoder.bias.zero_()
        head.bias.copy_(torch.tensor([0.5, 0.0]))
    return wrapped(Split(nn.Sequential(encoder, nn.ReLU()), head), 2)


def pictures() -> torch.Tensor:
    """Six images, dark, each with a bright square in another place."""
    found = torch.full((6, 3, 20, 28), 0.05)
    for i in range(6):
        found[i, :, 2 + i : 12 + i, 3 * i : 3 * i + 12] = 0.9
    return found


@pytest.mark.parametrize("channel", range(UNITS))
def test_tcav_of_each_channel(channel):
    """The gradient is 2 in that channel, summed over the region, and 0 in every other."""
    model, images = reads(channel), pictures()
    one = study(data={"manifest": "none.yaml", "classes": ["class 1"]})
    table = swept(Survey(one), context(model, images, "encoder"), batch(images))[SEGMENTS]
    assert np.allclose(table.column("local"), table.column("path")), "the head is linear"
    inside, outside = table.column("local").swapaxes(0, 1)
    expected = np.zeros((6, UNITS))
    expected[:, channel] = 2
    assert np.allclose(inside, expected, atol=1e-6) and (outside == 0).all()

    # Segments 2k and 2k + 1 are those of +e_k and -e_k, apart from the segments of nothing.
    embeddings = np.zeros((200, UNITS), np.float32)
    for k in range(UNITS):
        embeddings[2 * k, k], embeddings[2 * k + 1, k] = 1, -1
    pool = Pool.of(embeddings, np.arange(200), np.full(200, 2))
    tester = tcav.Tester(pool, inside, outside)
    rng = np.random.default_rng(0)
    for k in range(UNITS):
        null = random_concepts(pool, np.array([2 * k]), 99, rng)
        up, down = (tester.against(np.array([2 * k + side]), null) for side in (0, 1))
        if k == channel:
            assert (up.tcav, down.tcav) == (1.0, 0.0)
            assert up.effect == pytest.approx(2) and down.effect == pytest.approx(-2)
            assert up.outside_share == 0
        else:
            assert (up.effect, down.effect, up.tcav) == (0.0, 0.0, 0.0)
            assert up.p_effect == 1.0


@pytest.mark.parametrize("channel", range(UNITS))
def test_erasing_the_channel_kills_the_class_and_erasing_another_changes_nothing(channel):
    model, images = reads(channel), pictures()
    axes = [direction(axis) for axis in np.eye(UNITS)]
    found = discovery(
        6,
        UNITS,
        2,
        concepts=tuple(concept(k + 1, [k], axis) for k, axis in enumerate(axes)),
        null_directions=(direction(-np.eye(UNITS)[channel]), direction(axes[channel].vector, 9.0)),
    )
    with torch.no_grad():
        grid = model.module.encoder(images)
        clean = model(images)
        for k, axis in enumerate(axes):
            logits = model.module.tail(erased(grid, axis))
            if k == channel:
                assert (logits.argmax(1) == 0).all() and (logits[:, 1] == 0).all()
            else:
                assert torch.equal(logits, clean)
    truth = clean.argmax(1)
    state = Erase(study()).map(
        context(model, images, "encoder"), batch(images, truth), DISCOVERY(found)
    )
    for one in state[IOU].tables.values():
        assert one["clean"].tolist() == [[1, 1]]
        for k in range(UNITS):
            assert one["concept"][k, 1] == (0 if k == channel else 1)
        assert (one["null"][:, 1] == 1).all(), "nothing lies the other way, or beyond 9"
