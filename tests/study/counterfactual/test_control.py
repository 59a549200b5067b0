"""Edits elsewhere: as large a place, the same limits, and what they make of a region's flips."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.explain.generate import Subject
from conceptseg.explain.generators.layers import Layers
from conceptseg.explain.looks import looks, octaves
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.counterfactual.assess import EDITED, SAMPLING, SHARES, Rows, assess
from conceptseg.study.counterfactual.config import ALL, Counterfactual
from conceptseg.study.counterfactual.control import CONTROLS, TURNED, moved_to, placed, tabled
from conceptseg.study.counterfactual.survey import PLAN, Plan


def box(top, left, height, width, side=20):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_a_place_elsewhere_is_free_as_large_and_filled_with_the_region_s_pixels(key):
    mask, own = box(0, 0, 8, 20), box(9, 3, 4, 5)
    place = moved_to(mask, ~(mask | own), own, key)
    assert int(place.mask.sum()) == int(mask.sum())
    assert not (place.mask & (mask | own)).any()
    numbers = torch.arange(400).view(20, 20)
    assert sorted(place.source[place.mask].tolist()) == numbers[mask].tolist()
    assert (place.source == numbers)[~place.mask].all()


def test_where_there_is_less_room_three_quarters_will_do_and_less_will_not():
    own = torch.zeros(20, 20, dtype=torch.bool)
    more, most = box(0, 0, 11, 20), box(0, 0, 12, 20)
    place = moved_to(more, ~more, own, "a")
    assert int(place.mask.sum()) == 9 * 20
    assert len(set(place.source[place.mask].tolist())) == 9 * 20
    assert moved_to(most, ~most, own, "a") is None


def test_a_place_lies_about_as_far_from_the_class_as_the_region_does():
    """A stripe beside the class: of the free columns, to either side, the other one beside it."""
    own, mask = box(0, 9, 20, 2), box(0, 7, 20, 2)
    place = moved_to(mask, ~(mask | own), own, "a")
    assert sorted(torch.nonzero(place.mask)[:, 1].unique().tolist()) == [11, 12]


def test_edits_elsewhere_have_the_same_limits_and_bring_what_they_would_bring():
    rng = torch.Generator().manual_seed(0)
    image, other = torch.rand(2, 1, 3, 20, 20, generator=rng)
    mask, own = box(0, 0, 6, 20), box(9, 3, 4, 5)
    look = looks(image, octaves(image), mask)
    limits = np.stack([look - 0.2, look + 0.1])
    subject = Subject(image, {"sky": mask}, {"sky": limits}, {"sky": [("z", other)]})
    place = moved_to(mask, ~(mask | own), own, "a")
    moved = placed(subject, {"sky": place})
    first, second = (Layers().encode(one, {}) for one in (subject, moved))
    assert [g.slots for g in first.groups] == [g.slots for g in second.groups]
    for name in ("low", "high", "scale"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), atol=1e-5, rtol=0)
    (exchange,) = (g for g in second.groups if g.attribute == "exchange")
    theta = torch.zeros(1, len(second.low))
    theta[0, list(exchange.slots)] = 1
    rendered = second.render(theta)[0]
    assert torch.equal(rendered[:, ~place.mask], image[0][:, ~place.mask])
    brought = other[0].flatten(1)[:, place.source[place.mask]]
    torch.testing.assert_close(rendered[:, place.mask], brought, atol=1e-6, rtol=0)


def assessed(here, there, generator="layers"):
    """Shares of two regions, whether edits of each hold [2, images] and those elsewhere (nan: no
    room)."""
    count = here.shape[1]
    ids = [f"i{n:02}" for n in range(count)]
    owner = np.repeat(ids, 2)
    flips = here.T.ravel()
    ones, none = np.ones(2 * count), np.full(2 * count, np.nan)
    columns = {
        **{"was": ones, "to": 2 * ones, "region": np.tile(["mark", "ground"], count)},
        **{"attribute": np.repeat(["colour"], 2 * count), "groups": ones, "own": 0 * ones},
        **{"flipped": flips, "eight": flips, "held": flips, "size": ones, "by_chance": none},
        **{"plausible": none, "second": none},
    }
    table = SampleTable.empty()
    for number, name in enumerate(ids):
        own = [
            {"was": 1, "to": 2, "region": r, "attribute": "colour", "flipped": int(v)}
            for r, v in zip(("mark", "ground"), there[:, number], strict=True)
            if np.isfinite(v)
        ]
        table = table.merge(SampleTable.of(name, tabled(own)))
    turned = [(1, 2, r) for r, own in zip(("mark", "ground"), here, strict=True) if own.any()]
    known = (
        EDITED(Rows(tuple(owner.tolist()), 0 * ones, columns))
        | PLAN(Plan(tuple((name, 1, 2) for name in ids), {}, {}, {}, {}))
        | SAMPLING(Sampling(tuple(ids), tuple(ids), "images", 0, 200))
        | CONTROLS(table)
        | TURNED(tuple(turned))
    )
    data, model = {"manifest": "set.yaml"}, {"source": "planted", "name": "biased"}
    study = Counterfactual(data=data, model=model, generator=generator)
    shares = assess(study, SimpleNamespace(seed=0), known)[SHARES]
    return {one.region: one for one in shares if one.attribute == ALL}


def test_flips_are_told_from_those_elsewhere_image_by_image():
    """Ten images: of the mark eight flip here alone and two in both; signs: 2^-8, of two tests."""
    here = np.array([[1.0] * 10, [1.0] * 5 + [0.0] * 5])
    there = np.array([[0.0] * 8 + [1.0] * 2, [0.0] * 5 + [1.0] * 5])
    found = assessed(here, there)
    mark, ground = found["mark"], found["ground"]
    assert (mark.elsewhere, mark.more.value, ground.more.value) == pytest.approx((0.2, 0.8, 0.0))
    assert mark.test.p == pytest.approx(2**-8) and mark.test.adjusted == pytest.approx(2**-7)
    assert ground.test.p > 0.5 and not ground.test.passed


def test_images_without_room_are_left_out_and_regions_that_flip_none_are_counted():
    here = np.array([[1.0] * 8, [0.0] * 8])
    there = np.array([[0.0] * 6 + [np.nan] * 2, [0.0] * 8])
    found = assessed(here, there)
    assert found["mark"].test.n == 6 and found["mark"].test.p == pytest.approx(2**-6)
    assert found["ground"].more is None and not found["ground"].test.passed


def test_a_generator_without_masks_is_judged_by_the_image_s_other_parts():
    here = np.array([[1.0] * 8, [1.0] * 2 + [0.0] * 6])
    found = assessed(here, np.full((2, 8), np.nan), "renderer")
    assert found["mark"].elsewhere == pytest.approx(0.25) and found["ground"].elsewhere == 1
    assert found["mark"].test.p == pytest.approx(2**-6) and found["mark"].test.passed
