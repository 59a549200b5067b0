"""What other classes are taken for, and what more of a context does: of composites made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conceptseg.engine.known import Known
from conceptseg.stats.intervals import unseen_share
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.audit.case import CASES
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.extent import doses, recruited, taken_for
from conceptseg.study.audit.kept import Kept
from conceptseg.study.audit.margins import MARGINS
from conceptseg.study.audit.match import MATCHED, _doses
from conceptseg.study.audit.survey import GRID, HOLDINGS, PLAN, Plan
from conceptseg.study.audit.swap import SWAPPED
from tests.study.audit.small import audit, holdings

EACH, IMAGES, K = 6, 12, 4
ARM = np.concatenate([[0], np.repeat([1, -1], EACH)])[:, None]
CONTEXT = SimpleNamespace(
    seed=0,
    manifest=SimpleNamespace(sample=lambda name: SimpleNamespace(group=name)),
    model=SimpleNamespace(classes=["ground", "one", "two", "three"]),
)


def made(change=0.5, dose=None):
    """Class 1 in the first images, class 2 in the others. Regions of class 2 are taken for class 1
    by 0.4 with the context and by 0.1 without; those of class 1 for class 3 by `change` without."""
    held = holdings(np.zeros((2 * IMAGES, 1)), classes=K)
    held.pixels[:] = 0
    held.pixels[:IMAGES, 1] = held.pixels[IMAGES:, 2] = 100
    swapped, matched = {}, {}
    dose = np.linspace(0.1, 0.3, EACH) if dose is None else dose
    for i, name in enumerate(held.ids):
        c = 1 if i < IMAGES else 2
        taken = np.zeros((1 + 2 * EACH, K), np.float16)
        without = ARM[:, 0] < 0
        if c == 1:
            taken[:, 3] = np.where(without, change, 0.0)
        else:
            taken[:, 1] = np.where(without, 0.1, 0.4)
        taken[:, c] = 1 - taken.sum(1)
        scores = np.zeros((1 + 2 * EACH, 4))
        scores[:, 0] = 0.2
        scores[ARM[:, 0] > 0, 0] = 0.2 + dose
        own = {"class": np.full(len(ARM), c), "margin": np.full(len(ARM), 4.0)}
        swapped[name] = {**own, "arm": ARM, "scores": scores, "taken": taken}
        matched[name] = {
            **{key: values[1:] for key, values in own.items()},
            "arm": ARM[1:],
            "dose": np.concatenate([dose, np.zeros(EACH)])[:, None],
        }
    one = ContextType("t", "mask")
    case = SimpleNamespace(
        context=one,
        class_id=1,
        margin=4.0,
        ids=held.ids[:IMAGES],
        change=SimpleNamespace(value=change),
        shown=True,
    )
    known = HOLDINGS(held) | CONTEXTS((one,)) | CASES((case,)) | MARGINS({(1, 0): 4.0, (2, 0): 4.0})
    known |= PLAN(Plan({1: held.ids[:IMAGES], 2: held.ids[IMAGES:]}, {1: (0,), 2: (0,)}))
    known |= SWAPPED(SampleTable.each(swapped)) | MATCHED(SampleTable.each(matched))
    return Known() | known, case


def test_a_class_that_appears_where_its_context_is():
    known, case = made()
    found = recruited(audit(), CONTEXT, known, case)
    assert found.value == pytest.approx(0.3, abs=1e-3) and found.n == IMAGES
    # No image differs from another; what pairs may do that were not met is in the interval.
    share = unseen_share(IMAGES * EACH)
    assert found.high == pytest.approx(0.3 + share * max(1 - 0.4, 0.1), abs=1e-3)


def test_images_that_hold_the_class_say_nothing_of_that():
    known, case = made()
    known[HOLDINGS].pixels[IMAGES + 3 :, 1] = 5
    assert recruited(audit(), CONTEXT, known, case).n == 3
    known[HOLDINGS].pixels[:, 1] = 5
    assert recruited(audit(), CONTEXT, known, case) is None


def test_what_the_class_is_mostly_taken_for():
    known, case = made(0.5)
    assert taken_for(CONTEXT, known, case) == "three"
    known, case = made(0.05)
    assert taken_for(CONTEXT, known, case) == ""
    known, case = made(0.5)
    case.change.value = -0.5  # then those with the context are the worse ones
    assert taken_for(CONTEXT, known, case) == ""


def test_thirds_by_how_much_of_the_context_there_is():
    known, _ = made()
    found, names = doses(audit(), CONTEXT, known, 0), ("least", "middle", "most")
    expected = np.linspace(0.1, 0.3, EACH).reshape(3, 2).mean(1)
    for one, part, share in zip(found, names, expected, strict=True):
        assert one.part == part and one.share == pytest.approx(share)
        assert one.effect.value == pytest.approx(share) and one.effect.n == IMAGES
    alike, _ = made(dose=np.full(EACH, 0.2))
    assert doses(audit(), CONTEXT, alike, 0) == []


def test_the_effect_of_a_third_allows_for_composites_that_were_not_met():
    """The class is whole with the context but in one composite of thirty, and nothing without it:
    of a third of 24 composites, half of the data sets hold none that is lost."""
    known, _ = made()
    held, plain = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for own in known[SWAPPED].tables.values():
            own["scores"][1:, 0] = (ARM[1:, 0] > 0) & (rng.random(2 * EACH) >= 1 / 30)
        effects = [one.effect for one in doses(audit(), CONTEXT, known, 0)]
        held += [one.low <= 1 - 1 / 30 <= one.high for one in effects]
        plain += [one.value < 1 for one in effects]
    assert np.mean(plain) < 0.65, "where none is lost, draws of the images hold 1 alone"
    assert np.mean(held) >= 0.95


def test_the_share_that_a_context_takes_beyond_the_margin():
    held = holdings(np.array([[0.4, np.nan], [0.2, 0.0]]))
    place = np.zeros((2, GRID, GRID), bool)
    place[0, :8] = place[1, :4] = True
    held.cells[:, 0] = np.packbits(place.reshape(2, -1), axis=1)
    zone = np.zeros((GRID, GRID), bool)
    zone[:6] = True
    np.testing.assert_allclose(_doses(held, np.arange(2), zone), [[0.1, 0], [0, 0]], atol=1e-6)


def test_the_share_of_the_region_that_each_class_takes_by_loops():
    labels = np.zeros((6, 7), np.int64)
    labels[1:4, 2:6] = 1
    logits = torch.randn(3, K, 6, 7, generator=torch.Generator().manual_seed(0))
    given = torch.from_numpy(labels)
    kept = Kept.of(given, 1, 1.0, 0.0)
    scores, found = kept.judged(logits, given, 0)
    np.testing.assert_array_equal(scores, kept.scores(logits, given, 0))
    predicted = logits.argmax(1).numpy()
    for row, own in zip(found, predicted, strict=True):
        for k in range(K):
            count = sum(own[at] == k for at in np.ndindex(6, 7) if labels[at] == 1)
            assert row[k] == pytest.approx(count / 12, abs=1e-3)
