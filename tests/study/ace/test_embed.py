"""Segments as vectors, in place and alone, by hand; and what is made of them either way."""

import numpy as np
import pytest

from conceptseg.concepts.segments import segment
from conceptseg.study.ace.control import CONTROL, Control, shuffled
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.embed import crop_embeddings, embedded
from conceptseg.study.ace.pictures import Pictures
from conceptseg.study.ace.survey import SEGMENTS, Survey
from tests.small_models import images, unet
from tests.study.ace.small import (
    activations,
    alone,
    batch,
    context,
    discovery,
    packed,
    study,
    swept,
)

LAYER, UNITS = "mid", 16


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_crops_by_hand(batch_size):
    model, image = unet(), images(1, 32, 40)[0]
    found = segment(image.numpy(), (4, 10))
    numbers = np.array([3, 0, len(found) - 1])
    rows = crop_embeddings(model, image, found, numbers, LAYER, batch_size)
    for number, row in zip(numbers, rows, strict=True):
        assert np.allclose(row, alone(model, LAYER, image, found.mask(number)), atol=1e-5)


@pytest.mark.parametrize("kind", ["pooled", "crops"])
def test_either_embedding_of_every_segment_by_hand(kind):
    model, pictures = unet(), images(2, 32, 40)
    one = study(embedding=kind)
    activation = activations(model, LAYER, pictures)
    here = context(model, pictures, LAYER)
    for image, grid in zip(pictures, activation, strict=True):
        found = segment(image.numpy(), one.scales)
        rows = embedded(one, here, model, image, found, grid)
        assert set(rows) == ({"embedding"} if kind == "pooled" else {"embedding", "place"})
        for number in range(len(found)):
            pixels = np.argwhere(found.mask(number)) // 4  # of a cell of 4 x 4 px
            place = np.mean([grid[:, y, x].numpy() for y, x in pixels], axis=0)
            crop = alone(model, LAYER, image, found.mask(number))
            expected = place if kind == "pooled" else crop
            assert np.allclose(rows["embedding"][number], expected, atol=1e-5)
            assert np.allclose(rows.get("place", rows["embedding"])[number], place, atol=1e-5)
            assert not np.allclose(place, crop, atol=1e-2)


def test_survey_and_control_embed_crops_each_by_its_own_network():
    model, pictures, one = unet(), images(3, 32, 32), study(embedding="crops")
    here = context(model, pictures, LAYER)
    surveyed = swept(Survey(one), here, batch(pictures))[SEGMENTS]
    found = discovery(3, UNITS, 3, packed=packed(one, pictures))
    control = swept(Control(one), here, batch(pictures), DISCOVERY(found))[CONTROL]
    other = shuffled(model, here.seed)
    for i, sample_id in enumerate(surveyed.ids):
        parts = segment(pictures[i].numpy(), one.scales)
        for number in range(0, len(parts), 3):
            mask = parts.mask(number)
            for table, network in ((surveyed, model), (control, other)):
                row = table.tables[sample_id]["embedding"][number]
                assert np.allclose(row, alone(network, LAYER, pictures[i], mask), atol=1e-5)


def test_estimates_count_the_crops():
    model, pictures = unet(), images(5, 32, 32)
    here = context(model, pictures, LAYER)
    more = {}
    for make in (Survey, Control, Pictures):
        crops, pooled = (
            make(study(scales=(4, 10), control_images=2, embedding=kind)).forwards(here)
            for kind in ("crops", "pooled")
        )
        more[make.name] = crops - pooled
    exemplars = Pictures(study()).forwards(here)
    assert more == {"survey": 5 * 14, "control": 2 * 14, "pictures": -exemplars}
