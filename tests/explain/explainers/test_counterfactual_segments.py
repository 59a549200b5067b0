from itertools import chain, combinations

import numpy as np
import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.explainers._partition import hexagons
from conceptseg.explain.explainers.counterfactual_segments import CounterfactualSegments, Search
from conceptseg.explain.noise import generator
from conceptseg.explain.regions import Box, Everything, Labelled
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.planted.generator import BIASED_CLASS, BIASED_DIGIT, render, sample
from conceptseg.planted.nets import load_net
from conceptseg.planted.recipe import context_mask
from tests.explain.metrics.judging import Sum
from tests.small_models import images, unet, wrapped


def subsets(cells):
    return chain.from_iterable(combinations(cells, size) for size in range(len(cells) + 1))


@pytest.mark.parametrize("measure", ["dice", "kept"])
@pytest.mark.parametrize("where", ["anywhere", "context"])
def test_the_smallest_sets_are_those_of_an_exhaustive_search(measure, where):
    """All 2^K images are made and scored here by other means, one at a time."""
    net, x = unet(), images(2, 24, 32)
    scene = Scene(net, x)
    target = Target(1) if measure == "dice" else Target(1, Box(4, 6, 18, 24))
    region = scene.fix(target).mask
    labels, below = hexagons((24, 32), 6), 0.8 if measure == "dice" else 0.4
    method = CounterfactualSegments(
        segments=6, measure=measure, where=where, below=below, fill="black", sets=100
    )
    lost = 0
    for i, found in enumerate(method.solve(scene, target)):
        free = ~region[i] if where == "context" else torch.ones_like(region[i])
        true = {}
        for cells in subsets(sorted(set(labels[free].tolist()))):
            seen = x[i].clone()
            for cell in cells:
                seen[:, (labels == cell) & free] = 0
            with torch.no_grad():
                held = net(seen[None])[0].argmax(0) == 1
            both = (held & region[i]).sum().item()
            value = both / region[i].sum().item()
            if measure == "dice":
                value = 2 * both / (held.sum().item() + region[i].sum().item())
            if value < below:
                true.setdefault(len(cells), []).append(cells)
        if not true or 0 in true:
            assert found.sets == () and found.map.max() == 0
            continue
        lost += 1
        assert list(found.sets) == true[min(true)] and found.gap == 0
        shares = [torch.isin(labels, torch.tensor(s)) & free for s in found.sets]
        assert torch.allclose(found.map, torch.stack(shares).float().mean(0))
    assert lost or where == "context"


def additive_measure(values):
    return lambda sets: [1 - sum(values[c] for c in one) for one in sets]


@pytest.mark.parametrize("seed", range(6))
def test_greedy_sets_of_an_additive_measure_are_the_smallest(seed):
    values = torch.rand(40, generator=generator("additive", seed)).double()
    values = (values / values.sum()).tolist()
    method = CounterfactualSegments(below=0.6, budget=200)
    ordered, needed = sorted(values, reverse=True), 0
    while 1 - sum(ordered[:needed]) >= 0.6:
        needed += 1
    found = Search(range(40), additive_measure(values), method).run()
    assert len(found.sets[0]) == needed and found.gap == needed - 2 and not found.exact
    for one in found.sets:
        assert 1 - sum(values[c] for c in one) < 0.6
        assert all(1 - sum(values[c] for c in one if c != left) >= 0.6 for left in one)
    assert len(set(found.sets)) == len(found.sets) > 1


def test_a_greedy_step_that_misleads_is_told_by_the_gap():
    """The best single segment is none of the only pair; the pair lies beyond the budget."""

    def measure(sets):
        return [0.0 if {3, 7} <= set(s) else 0.9 - 0.1 * len(set(s) & {0, 1, 2}) for s in sets]

    method = CounterfactualSegments(budget=20)
    found = Search(range(16), measure, method).run()
    assert found.gap == len(found.sets[0]) - 2 and not found.exact
    exact = Search(range(16), measure, CounterfactualSegments(budget=2000)).run()
    assert exact.sets == ((3, 7),) and exact.gap == 0 and exact.exact


def test_a_given_budget_holds_however_few_segments_there_are():
    """Of 13 segments all 2^13 sets are tried where nothing is said, else only what is allowed."""
    tried = 0

    def measure(sets):
        nonlocal tried
        tried += len(sets)
        return [0.0 if len(one) >= 7 else 1 - len(one) / 100 for one in sets]

    found = Search(range(13), measure, CounterfactualSegments(sets=1)).run()
    assert found.exact and tried > 4000
    tried = 0
    found = Search(range(13), measure, CounterfactualSegments(sets=1, budget=100)).run()
    greedy = 13 * 14 // 2 + 7
    assert not found.exact and found.gap > 0 and tried <= 1 + 100 + greedy


def test_of_no_set_that_does_it_nothing_is_shown_and_it_is_said():
    found = Search(range(20), lambda sets: [1.0 for _ in sets], CounterfactualSegments()).run()
    assert found.sets == () and not found.exact
    net, x = unet(), images(1, 24, 32)
    scene = Scene(net, x)
    labels = torch.ones(1, 24, 32, dtype=torch.int64)
    never = Target(1, Labelled(1))  # most of it is not predicted to begin with
    scene = Scene(net, x, labels)
    share = (scene.logits.argmax(1) == 1).float().mean().item()
    method = CounterfactualSegments(segments=4, below=min(1.0, share + 0.01))
    assert method.on(scene, [never]).max() == 0
    assert ["the map is empty" in remark for remark in scene.remarks] == [True]


def test_where_removed_pixels_lie():
    """A network that reads one corner: its cell is the set; the region is the other corner."""
    weight = torch.zeros(1, 20, 20)
    weight[0, :4, :4] = 1.0
    net, x = wrapped(Sum(weight), 2, 1), torch.full((1, 1, 20, 20), 0.6)
    shares = {}
    for corner in (0, 15):
        scene, target = Scene(net, x), Target(1, Box(corner, corner, corner + 5, corner + 5))
        (found,) = CounterfactualSegments(fill="black", ring_px=2).solve(scene, target)
        cell = found.labels == found.labels[0, 0]
        assert all(int(found.labels[0, 0]) in one for one in found.sets)
        inside = scene.fix(target).mask[0]
        assert found.inside + found.ring + found.elsewhere == pytest.approx(1)
        shares[corner] = found.inside
        if len(found.sets) == 1 and len(found.sets[0]) == 1:
            assert found.inside == pytest.approx((cell & inside).sum().item() / cell.sum().item())
    assert shares[0] > 0.3 and shares[15] == 0


def test_donors_fill_and_the_median_of_them_counts():
    """Two of three donors are black: what counts is what black does, whatever the third."""
    net, x = unet(), images(2, 24, 32)
    donors = torch.stack([torch.zeros(3, 24, 32), torch.zeros(3, 24, 32), torch.ones(3, 24, 32)])
    scene, target = Scene(net, x), Target(1, Box(4, 6, 18, 24))
    by_donors = CounterfactualSegments(segments=4).solve(scene, target, donors)
    by_black = CounterfactualSegments(fill="black", segments=4).solve(scene, target)
    for one, other in zip(by_donors, by_black, strict=True):
        assert one.sets == other.sets and torch.equal(one.map, other.map)
    turned = CounterfactualSegments(fill="turned", segments=4)
    alone = turned.solve(Scene(net, x[:1]), target)[0]
    assert alone.sets == turned.solve(Scene(net, x[:1]), target, x[:1].flip(2, 3))[0].sets
    with pytest.raises(InputError, match="donors of .*3, 9, 9.* for images of"):
        turned.solve(scene, target, torch.zeros(1, 3, 9, 9))


def test_on_planted_networks_surroundings_decide_only_where_they_are_relied_on():
    """On `biased` the removed surroundings of each 3 lie on its tile; on `clean` none are found."""
    recipes = [
        sample(seed, "test", context="with", strength=1.0, digits=(BIASED_DIGIT,))
        for seed in range(3)
    ]
    x = torch.from_numpy(np.stack([render(recipe)[0] for recipe in recipes]))[:, None]
    method = CounterfactualSegments(where="context", fill="black", segments=4)
    lie = []
    for name in ("biased", "clean"):
        net = wrapped(load_net(name), 11, 1)
        found = method.solve(Scene(net, x, batch_size=32), Target(BIASED_CLASS))
        flipped = [one for one in found if one.sets]
        lie.append(len(flipped))
        for recipe, one in zip(recipes, found, strict=True):
            if name == "biased" and one.sets:
                tile = torch.from_numpy(context_mask(recipe))
                assert float(one.map[tile].sum() / one.map.sum()) > 0.7
    assert lie == [3, 0]


def test_an_empty_region_and_everything():
    net, x = unet(), images(2, 24, 32)
    labels = torch.zeros(2, 24, 32, dtype=torch.int64)
    labels[1] = 2
    scene = Scene(net, x, labels)
    found = CounterfactualSegments(where="context").solve(scene, Target(2, Labelled(2)))
    assert found[0].sets == () and found[1].sets == ()
    whole = CounterfactualSegments(segments=4, where="context").on(scene, [Target(1, Everything())])
    assert whole.max() == 0
