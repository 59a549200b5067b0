"""What fills do to decisions, against as much elsewhere: by geometry, and on planted scenes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from conceptseg.explain.regions import UserMask
from conceptseg.planted import generator
from conceptseg.planted.nets import load_net
from conceptseg.stats.estimate import Sampling
from conceptseg.study.segnbdt.findings import part_findings
from conceptseg.study.segnbdt.parts import beside, moved_margins
from conceptseg.study.segnbdt.removal import Removals, beyond
from conceptseg.study.segnbdt.target import Decision

PAIR = (generator.BIASED_CLASS, generator.CONFUSER_CLASS)


def box(top, left, height, width, side=40):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_a_control_is_as_large_as_near_and_elsewhere(seed):
    kept, part = box(15, 10, 6, 6), box(0, 30, 12, 8)
    found = beside(part, kept, kept, np.random.default_rng(seed))
    assert int(found.sum()) == 96 and not (found & (part | kept)).any()
    distance = distance_transform_edt(~kept.numpy())
    assert distance[found.numpy()].mean() <= distance[part.numpy()].mean() + 1


def test_what_lies_all_around_has_no_control():
    kept = box(15, 15, 6, 6)
    rng = np.random.default_rng(0)
    assert beside(~kept, kept, kept, rng) is None, "nothing else is left"
    assert beside(box(11, 11, 14, 14) & ~kept, kept, kept, rng) is None, "nothing is as near"
    assert beside(torch.zeros_like(kept), kept, kept, rng) is None


def test_margins_are_read_where_nothing_was_filled_by_loops():
    """A network that puts out its image and twice that, so that fills are known."""
    image = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    logits = torch.cat([image, 3 * image], 1)

    def filled(masks):
        # A fill anywhere adds its area to the second logit, everywhere.
        return torch.cat(
            [logits + torch.tensor([0.0, float(m.sum())])[:, None, None] for m in masks]
        )

    region = box(15, 10, 6, 6)
    target = Decision(1, UserMask(region[None]), weights=(-1.0, 1.0)).on(logits)
    parts = [(0, box(0, 30, 12, 8)), (1, box(14, 9, 9, 9)), (2, ~region)]
    rng = np.random.default_rng(0)
    found = moved_margins(filled, logits, [target], parts, 2, rng)
    assert found[0, :, 0].tolist() == pytest.approx([96, 96], rel=1e-5)
    assert np.isnan(found[1]).all(), "it holds the decision's own pixels"
    assert found[2, 0, 0] == pytest.approx(40 * 40 - 36, rel=1e-5) and np.isnan(found[2, 1, 0])


def changes(net, seed, n):
    """The changes of the pair's decisions in n scenes, by decision and part: background, tile."""
    rows = {(edge, part): {} for edge in (0, 1) for part in ("background", "known context")}
    rng = np.random.default_rng(seed)
    drawn = generator.samples("test", n, seed, strength=0.9, context="biased", pair_share=0.8)
    for recipe in drawn:
        image = torch.from_numpy(generator.render(recipe)[0])[None, None]
        with torch.no_grad():
            logits = net(image)

        def filled(masks, image=image):
            with torch.no_grad():
                return net(torch.where(torch.stack(masks)[:, None], image.mean(), image))

        prediction = logits[0].argmax(0)
        parts = [("background", prediction == 0)]
        if recipe.bias_present:
            tile = torch.from_numpy(generator.half_mask(recipe, recipe.context_half))
            parts.append(("known context", tile))
        for edge, (own, other) in enumerate((PAIR, PAIR[::-1])):
            if int((prediction == own).sum()) < 10:
                continue
            weights = np.zeros(len(generator.CLASSES))
            weights[[own, other]] = 1, -1
            region = UserMask((prediction == own)[None])
            target = Decision(own, region, weights=tuple(weights)).on(logits)
            found = moved_margins(filled, logits, [target], parts, 2, rng)
            for (name, _), row in zip(parts, found, strict=True):
                if np.isfinite(row[0, 0]):
                    rows[edge, name][recipe.sample_id] = row[:, 0]
    return rows


def claims(net, seed, n=30):
    rows = {key: one for key, one in changes(net, seed, n).items() if len(one) > 1}
    ids = tuple(sorted({name for one in rows.values() for name in one}))
    words = {"node": 0, "question": "3 | 9", "branch": "3"}
    given = [
        (words | {"edge": edge, "part": part}, list(one), np.array(list(one.values())))
        for (edge, part), one in rows.items()
    ]
    tested = beyond(given, Sampling(ids, ids, "images", 0), seed)
    return tested, part_findings(Removals((), tested))


def test_a_network_that_relies_on_its_context_is_named_and_a_clean_one_is_not():
    """Before, without a control, a clean network's decisions changed with background regions."""
    tested, made = claims(load_net("biased").eval(), 1)
    assert [one.details["part"] for one in made] == ["known context"]
    assert made[0].effect < -5 and "as much filled elsewhere" in made[0].claim
    around = [one for one in tested if one.part == "background"]
    assert around and not any(one.test.testable for one in around)
    assert claims(load_net("clean").eval(), 1)[1] == []


@pytest.mark.slow
def test_of_a_clean_network_few_data_sets_give_a_finding():
    net, sets = load_net("clean").eval(), 60
    false = sum(bool(claims(net, 100 + seed)[1]) for seed in range(sets))
    assert false / sets <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
