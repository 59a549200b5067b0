"""Languages of made-up objects whose factors are known, and codes by hand."""

import numpy as np
import pytest
import torch

from conceptseg.stats.estimate import Sampling
from conceptseg.study.language import assess, codes
from conceptseg.study.language.learn import grown, heard, spoken
from conceptseg.study.language.objects import Spoken, components, shrunk


@pytest.fixture(scope="module")
def made():
    """Colours tell the class and shapes the mask, of three each; four features are noise."""
    rng = np.random.default_rng(0)
    colour, shape = rng.integers(0, 3, (2, 300))
    features = np.concatenate(
        [np.eye(3)[colour], np.eye(3)[shape], rng.normal(0, 0.3, (300, 4))], 1
    )
    masks = np.repeat(np.eye(3)[shape], 4, 1)
    return colour, shape, features, masks, np.arange(300) < 180


@pytest.fixture(scope="module")
def language(made):
    colour, _, features, masks, learning = made
    return spoken(features, masks, colour, learning, 2, 3, 300, 0.02, 1)


def test_messages_are_the_factors(made, language):
    colour, shape, _, masks, learning = made
    told, *_ = language
    factors = codes.joint(np.stack([colour, shape], 1))
    said = codes.joint(told.words)[~learning]
    assert assess.information(said, factors[~learning]) > 0.9
    for factor in (colour, shape):
        assert assess.best_place(told.words[~learning], factor[~learning])[1] > 0.9
    assert assess.dice(told.mask[~learning], masks[~learning]).mean() > 0.95
    assert (told.classes.argmax(1) == colour)[~learning].mean() > 0.95
    mixed = np.random.default_rng(2).permutation(said)
    assert abs(assess.information(mixed, factors[~learning])) < 0.15


def test_an_exchanged_word_is_heard_as_that_message(language):
    told, other, named = language
    rows = np.arange(len(told.words))
    for place in range(2):
        own = other[rows, place, told.words[:, place]]
        np.testing.assert_allclose(own, told.mask, atol=1e-3)
        np.testing.assert_array_equal(
            named[rows, place, told.words[:, place]], told.classes.argmax(1)
        )


def test_the_same_seed_gives_the_same_language(made, language):
    colour, _, features, masks, learning = made
    again = spoken(features, masks, colour, learning, 2, 3, 300, 0.02, 1)[0]
    np.testing.assert_array_equal(again.words, language[0].words)


def test_noise_is_no_copy_of_the_weights(monkeypatch):
    """Both are uniform: from one seed each they would be the same numbers but for their scale."""
    drawn, rand = [], torch.rand
    monkeypatch.setattr(torch, "rand", lambda *a, **k: drawn.append(rand(*a, **k)) or drawn[-1])
    given, all_of = torch.zeros(100, 40), np.ones(100, bool)
    own = np.zeros((100, 4)), np.arange(100) % 2, all_of
    _, sender, _ = grown(given, *own, (2, 4, 1, 0.0), 7)
    weights = sender.weight.detach().flatten().numpy()
    noise = drawn[0].flatten().numpy()[: len(weights)]
    assert abs(np.corrcoef(weights, noise)[0, 1]) < 0.3


def test_a_receiver_of_a_perfect_code_hears_all(made):
    colour, shape, _, masks, learning = made
    told = heard(np.stack([colour, shape], 1), 3, masks, colour, learning, 300, 0.02, 0)
    assert assess.dice(told.mask[~learning], masks[~learning]).mean() > 0.99


def test_codes_of_separate_parts_are_their_clusters():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, (2, 90))
    features = np.stack([10.0 * one, 9.0 * other], 1) + rng.normal(0, 0.1, (90, 2))
    found = codes.product(features, np.arange(90) < 60, 2, 3, 0)
    assert assess.information(found[:, 0], one) == pytest.approx(1)
    assert assess.information(found[:, 1], other) == pytest.approx(1)
    assert codes.bits(np.arange(8)[:, None] % 4) == pytest.approx(2)


def test_a_mask_is_shrunk_to_the_parts_of_cells():
    mask = np.zeros((8, 8), bool)
    mask[:, :6] = True
    np.testing.assert_allclose(shrunk(mask, 2), [[1, 0.5], [1, 0.5]])


def test_components_are_learnt_on_one_part():
    rng = np.random.default_rng(0)
    rows, learning = rng.normal(size=(50, 5)), np.arange(50) < 30
    rows[:, 4] = 7.0
    other = np.where(learning[:, None], rows, 9 * rows)
    np.testing.assert_allclose(components(rows, learning)[:30], components(other, learning)[:30])
    assert components(rows, learning).shape == (50, 4)


def spoken_of(words, values, groups):
    """Objects of one code and one attribute, all of which judge but the first third."""
    n = len(words)
    judging = np.arange(n) >= n // 3
    ids = tuple(f"s{i}" for i in range(n))
    masks = np.ones((n, 4), np.float32)
    told = assess.Told(words, np.ones(words.shape), masks, np.ones((n, 1)))
    seed = assess.Seed(
        dict.fromkeys((assess.LANGUAGE, *assess.RIVALS), told), np.empty(0), np.empty(0)
    )
    one = Spoken(
        ids,
        np.zeros(n, int),
        (0,),
        np.zeros((n, 4), int),
        np.zeros((n, 1)),
        masks,
        {"a": values},
        {"a": ("x", "y")},
        judging,
        Sampling(ids, groups, "groups", 0),
    )
    return one, seed


@pytest.mark.parametrize("unlike", [False, True])
def test_an_attribute_of_whole_groups_is_no_news_of_their_objects(unlike):
    """Words go by group, as the attribute does: few families claim that one tells the other. So it
    is, too, where groups are of unlike sizes, as patients and scenes are."""
    false = 0
    for number in range(40):
        rng = np.random.default_rng(number)
        group = np.repeat(np.arange(30), rng.geometric(0.15, 30) if unlike else 4)
        words, values = rng.integers(0, 3, 30)[group][:, None], rng.integers(0, 2, 30)[group]
        one, seed = spoken_of(words, values, tuple(f"g{g:02}" for g in group))
        false += assess.tested(one, seed, one.attributes, number)[0].test.passed
    assert false <= 40 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 40))


def test_what_words_say_is_told_and_equal_codes_are_equal():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 120)
    words = np.stack([rng.integers(0, 3, 120), values], 1)
    one, seed = spoken_of(words, values, tuple(f"g{g:02}" for g in range(120)))
    (found,) = assess.tested(one, seed, one.attributes, 0)
    assert found.test.passed and found.place == 1 and found.tells.value == pytest.approx(1)
    scored, compared = assess.score(one, [seed, seed], one.attributes, 0)
    assert compared.tells.value == 0 and scored[0].stable == pytest.approx(1)


def test_codes_that_all_get_right_may_be_wrong_of_others():
    """Forty objects whose masks and classes all come out right: others may not."""
    values = np.random.default_rng(1).integers(0, 2, 60)
    one, seed = spoken_of(values[:, None], values, tuple(f"g{g:02}" for g in range(60)))
    scored, compared = assess.score(one, [seed, seed], one.attributes, 0)
    for estimate in (scored[0].dice, scored[0].classes):
        assert estimate.value == 1 and 0.85 < estimate.low < 0.95
    assert compared.dice.value == 0 and compared.dice.low < -0.05 < 0.05 < compared.dice.high
