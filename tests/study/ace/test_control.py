"""The control: the same test on a network whose weights are shuffled."""

import numpy as np
import pytest
import torch

from conceptseg.concepts.segments import segment
from conceptseg.config import TargetConfig
from conceptseg.explain.regions import Predicted
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from conceptseg.network.shuffle import shuffled
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.control import CONTROL, COUNTS, Control, count_control
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.gradients import class_gradients, on_grid
from conceptseg.study.ace.survey import SEGMENTS, Survey
from tests.small_models import hooks, images, unet
from tests.study.ace.small import (
    activations,
    batch,
    concept,
    context,
    direction,
    discovery,
    packed,
    study,
    swept,
)

LAYER, UNITS = "mid", 16


def test_each_weight_keeps_its_values_in_another_order():
    model = unet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = shuffled(model, 0)
    moved = 0
    for name, value in other.named_parameters():
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
        if value.dim() > 1 and value.numel() > 8:
            assert not torch.equal(value, before[name]), name
            moved += 1
        elif value.dim() == 1:
            assert torch.equal(value, before[name]), "norms and biases stay"
    assert moved > 10
    for name, value in other.named_buffers():
        assert torch.equal(value, before[name])


def test_the_network_itself_is_left_alone():
    model, x = unet(), images(2, 32, 32)
    with torch.no_grad():
        before = model(x)
        other = shuffled(model, 0)(x)
        assert torch.equal(model(x), before)
    assert not torch.allclose(other, before, atol=1e-2)
    assert hooks(model) == 0


def test_the_seed_decides_the_order():
    model = unet()
    one, again, other = (shuffled(model, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_a_sweep_reads_the_shuffled_network_on_the_trained_ones_regions():
    model, pictures, one = unet(), images(3, 32, 32), study()
    here = context(model, pictures, LAYER)
    found = discovery(3, UNITS, 3, packed=packed(one, pictures))
    table = swept(Control(one), here, batch(pictures), DISCOVERY(found))[CONTROL]
    with torch.no_grad():
        logits = model(pictures)
    other = shuffled(model, here.seed)
    tail = Tail.of(other, pictures, LAYER, graph=True)
    maps = activations(other, LAYER, pictures)
    trained = class_gradients(
        Tail.of(model, pictures, LAYER, graph=True), range(3), TargetConfig(), ()
    )
    for i, sample_id in enumerate(table.ids):
        rows = table.tables[sample_id]
        assert rows["class"].tolist() == list(trained[i].classes)
        parts = segment(pictures[i].numpy(), one.scales)
        for number in range(len(parts)):
            pixels = np.argwhere(parts.mask(number)) // 4
            mean = np.mean([maps[i, :, y, x].numpy() for y, x in pixels], axis=0)
            assert np.allclose(rows["embedding"][number], mean, atol=1e-5)
        for row, class_id in enumerate(rows["class"].tolist()):
            target = Target(class_id, Predicted(class_id)).on(logits)
            gradient = tail.gradient(target)
            inside = on_grid(target.mask, gradient.shape[-2:])
            for part, weight in enumerate((inside, 1 - inside)):
                expected = (gradient * weight)[i].sum((1, 2)).numpy()
                assert np.allclose(rows["gradient"][row, part], expected, rtol=1e-4, atol=1e-6)


def planted(count: int = 20):
    """Two segments per image of each of two concepts; the trained class reads the first alone."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(count), 8)
    kind = np.tile([0, 0, 1, 1, 2, 2, 2, 2], count)
    embedding = 0.1 * rng.normal(size=(len(image), UNITS))
    embedding[kind == 0, 0] += 1
    embedding[kind == 1, 1] += 1
    gradient = np.zeros((count, 2, UNITS))
    gradient[:, 1, 0] = 1
    concepts = tuple(
        concept(q + 1, np.flatnonzero(kind == q), direction(np.eye(UNITS)[q])) for q in range(2)
    )
    found = discovery(
        count,
        UNITS,
        2,
        image=image,
        embedding=embedding.astype(np.float32),
        concepts=concepts,
        class_images={1: np.arange(count)},
        gradients={1: gradient.astype(np.float32)},
    )
    return found, image, rng


def control_table(image: np.ndarray, rng: np.random.Generator, held: list[int]) -> SampleTable:
    """A network that has learnt nothing: embeddings and gradients of noise."""
    table = SampleTable.empty()
    for i in held:
        rows = int((image == i).sum())
        one = {
            "embedding": rng.normal(size=(rows, UNITS)).astype(np.float32),
            "class": np.array([1]),
            "gradient": rng.normal(size=(1, 2, UNITS)).astype(np.float32),
        }
        table = table.merge(SampleTable.of(f"s{i:02d}", one))
    return table


def test_the_planted_concept_counts_for_the_trained_network_alone():
    found, image, rng = planted()
    held = [0, 2, 3, 5, 6, 9, 11, 12, 15, 19]
    one = study(nulls=199, segments_per_concept=20)
    here = context(unet(), images(20, 8, 8), LAYER)
    known = DISCOVERY(found) | CONTROL(control_table(image, rng, held))
    result = count_control(one, here, known)[COUNTS]
    assert result["pairs"] == 2 and result["images"] == 10
    # Both differ from the rest of the images along the first unit: one is it, the other is not it.
    assert result["trained"] >= 1 and result["shuffled"] == 0


def test_too_few_images_are_no_control():
    found, image, rng = planted()
    one = study(min_images=5)
    here = context(unet(), images(20, 8, 8), LAYER)
    known = DISCOVERY(found) | CONTROL(control_table(image, rng, [1, 2, 3]))
    result = count_control(one, here, known)[COUNTS]
    assert result == {"trained": 0, "shuffled": 0, "pairs": 0, "images": 3}
    nothing = count_control(one, here, DISCOVERY(found))[COUNTS]
    assert nothing == {"trained": 0, "shuffled": 0, "pairs": 0, "images": 0}


@pytest.mark.parametrize("limit", [0, 3, 50])
def test_images_are_drawn_by_hash(limit):
    found, _, _ = planted()
    here = context(unet(), images(20, 8, 8), LAYER)
    chosen = Control(study(control_images=limit)).samples(here, DISCOVERY(found))
    fewer = Control(study(control_images=2)).samples(here, DISCOVERY(found))
    assert len(chosen) == min(limit, 20)
    assert limit < 2 or {s.id for s in fewer} <= {s.id for s in chosen}


def test_survey_and_control_agree_on_the_segments():
    """Row by row: a concept's members in the survey are the control's rows."""
    model, pictures, one = unet(), images(3, 32, 32), study()
    here = context(model, pictures, LAYER)
    surveyed = swept(Survey(one), here, batch(pictures))[SEGMENTS]
    found = discovery(3, UNITS, 3, packed=packed(one, pictures))
    control = swept(Control(one), here, batch(pictures), DISCOVERY(found))[CONTROL]
    for sample_id in surveyed.ids:
        count = len(surveyed.tables[sample_id]["embedding"])
        assert len(control.tables[sample_id]["embedding"]) == count
        same = surveyed.tables[sample_id]["class"] == control.tables[sample_id]["class"]
        assert same.all()
