"""What erasing does to the mistakes on a concept, and the sentence that says it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.result.verdict import concern, none_shown
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.shared import mistaken
from conceptseg.study.shared.mistaken_report import beside, claim, findings, told
from conceptseg.study.shared.mistakes import Mistake

KNOWN = Estimate(0.31, 0.2, 0.5, 40)


def asked(on):
    test = Test(0.001, 0.004, 0.001, 0.001, 0.1, 0.05, 40, "images", "Holm")
    return Mistake(0, 0, "false", 40, on, 0.01, KNOWN, KNOWN, 0.3, test, passed=True, shown=True)


def erased(rates):
    """What is concluded of rates [n, 1 + 1 + r]: before, without the concept, by random edits."""
    ids = tuple(f"i{n:02d}" for n in range(len(rates)))
    found = mistaken.Mistakes(("wires",), 40, (asked(0.35),), {})
    counted = mistaken.ERASED(SampleTable.batch(ids, {"rates": rates[:, None]}))
    step = next(
        one for one in mistaken.mistake_steps(SimpleNamespace(unit="image"))
        if getattr(one, "__name__", "") == "judge_erased"
    )  # fmt: skip
    manifest = SimpleNamespace(sample=lambda name: SimpleNamespace(group=name))
    context = SimpleNamespace(manifest=manifest, seed=0)
    made = step(None, context, mistaken.MISTAKES(found) | counted)
    return made[mistaken.MISTAKES].erased[0]


@pytest.mark.parametrize("high", [0.5, 0.9])
def test_a_rate_is_not_said_to_fall_by_more_than_it_is(high):
    """Few images are edited, and their mean is not the rate over all pixels of all images."""
    rng = np.random.default_rng(0)
    before = rng.uniform(high - 0.1, high, 12)
    gone, random = 0.01 * rng.random(12), before[:, None] + 0.02 * rng.normal(size=(12, 4))
    one = erased(np.column_stack([before, gone, random]))
    said = claim(asked(0.35), "wires", "bus", one)
    pattern = r"the rate, (\d+)% in the mean over (\d+) images, by (-\d\.\d\d), random edits by"
    rate, images, change = map(float, re.search(pattern, said).groups())
    assert (rate, images) == (round(100 * before.mean()), 12)
    assert change == pytest.approx((gone - before).mean(), abs=0.005)
    assert rate / 100 + change >= -0.01
    assert said.endswith("so they come from it.")


@pytest.mark.parametrize(("left", "said"), [(0.3, "part of them comes"), (0.02, "they come")])
def test_what_is_left_without_the_concept_comes_from_elsewhere(left, said):
    rng = np.random.default_rng(1)
    before = rng.uniform(0.5, 0.7, 12)
    gone, random = left * rng.random(12), before[:, None] + 0.01 * rng.normal(size=(12, 4))
    one = erased(np.column_stack([before, gone, random]))
    part = gone.mean() / before.mean() > 0.2
    assert part == (left == 0.3)
    assert claim(asked(0.35), "wires", "bus", one).endswith(f"so {said} from it.")


def test_of_a_concept_that_is_but_a_number_it_is_said_what_lies_there():
    plain = claim(asked(0.35), "wires", "bus", None)
    for lie_on, end in ((("sky (70%)",), " Wires lies on sky (70%)."), (("",), ""), ((), "")):
        found = mistaken.Mistakes(("wires",), 40, (asked(0.35),), {}, lie_on)
        assert told(found, 0, ["bus"]) == plain + end


def test_the_effect_is_said_beside_rates_of_all_pixels():
    """Large images weigh more in those: 0.35 less 0.01 is not the mean difference of 0.31."""
    said = claim(asked(0.35), "wires", "bus", None)
    assert "35% of wires that is not bus is taken for it, 1.0% of the rest" in said
    assert "In the mean over 40 images both rates differ by 0.31." in said


def test_no_change_has_no_sign():
    before = np.full(12, 0.57)
    one = erased(np.column_stack([before, before - 1e-3, np.tile(before - 1e-4, (4, 1)).T]))
    said = claim(asked(0.64), "bottom left", "road", one)
    assert "57% in the mean over 12 images, by 0.00, random edits by 0.00, which does not" in said


NOTHING, BRICK = none_shown("Nothing was shown.", "Look."), concern("car by brick.", "Audit it.")


@pytest.mark.parametrize(
    ("masks", "gone", "before", "status", "sentence", "advice"),
    [
        (
            {},
            True,
            NOTHING,
            "none shown",
            "Nothing was shown. Mistakes lie on one concept",
            "Look.",
        ),
        ({"wires": "w"}, False, NOTHING, "none shown", "Nothing was shown. Mistakes lie", "Look."),
        (
            {"wires": "w"},
            True,
            NOTHING,
            "concern",
            "The network is misled by what was d",
            "Keep it",
        ),
        ({"wires": "w"}, True, BRICK, "concern", "The network is misled by what was dra", "Audit"),
        (
            {},
            True,
            BRICK,
            "concern",
            "car by brick. Mistakes lie on one concept rather",
            "Audit it.",
        ),
    ],
)
def test_mistakes_are_part_of_the_answer_and_a_concern_where_they_come_from_what_was_drawn(
    masks, gone, before, status, sentence, advice
):
    rng = np.random.default_rng(2)
    rates = rng.uniform(0.5, 0.7, (12, 1)) + 0.01 * rng.normal(size=(12, 6))
    if gone:
        rates[:, 1] = 0.01
    one = mistaken.Mistakes(("wires",), 40, (asked(0.35),), {}, erased={0: erased(rates)})
    found = findings(one, ["bus"])
    assert found[0].details["caused"] == gone
    result = SimpleNamespace(findings=found, config={"masks": masks})
    made = beside(result, before)
    assert made.status == status and made.sentence.startswith(sentence)
    assert made.advice.startswith(advice)
    assert "bus is seen where there is none on wires" in made.sentence
    assert before.sentence in made.sentence or before is NOTHING
    assert beside(SimpleNamespace(findings=[], config={}), before) == before
