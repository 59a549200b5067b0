"""What words tell of attributes and let a receiver get right, beside codes of as many bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import in_turn
from conceptseg.engine.contract import Context
from conceptseg.engine.fits import all_of
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling, jackknifed
from conceptseg.stats.family import Test, given
from conceptseg.stats.intervals import Floats
from conceptseg.stats.p_values import exchangeable_p
from conceptseg.study.language.codes import bits, joint, kmeans, product
from conceptseg.study.language.config import CLASS, Language
from conceptseg.study.language.learn import Told, heard, spoken
from conceptseg.study.language.objects import SPOKEN, Spoken

LANGUAGE = "language"
ONE_WORD, ALL_BITS, PRODUCT = "k-means, one word", "k-means, all bits", "product code"
RIVALS = (ONE_WORD, ALL_BITS, PRODUCT)
CUTS = 12
"""Parts of the groups of which an interval's jackknife leaves out one at a time."""
PERMUTATIONS = 499


@dataclass(frozen=True)
class Seed:
    """One language and its rivals, by name; `other` and `named` as of :func:`learn.spoken`, for the
    first seed alone."""

    told: dict[str, Told]
    other: np.ndarray
    named: np.ndarray


@dataclass(frozen=True)
class Scored:
    """A code on the objects that judge: `tells`, the mean over attributes of the adjusted mutual
    information of the place that told most of it where it was learnt; by attribute (`each`); `dice`
    of the receiver's masks, and the part of `classes` it gets right; `bits` of its messages."""

    name: str
    tells: Estimate
    each: dict[str, float]
    dice: Estimate
    classes: Estimate
    bits: float
    stable: float


@dataclass(frozen=True)
class Attribute:
    """An attribute, and the place of the language's messages that tells most of it (in the first
    seed's); the test exchanges values between images."""

    name: str
    values: int
    place: int
    tells: Estimate
    test: Test


@dataclass(frozen=True)
class Compared:
    """How much more the language tells than the best rival, and how much better masks come out;
    each rival was chosen where languages are learnt."""

    tells: Estimate
    dice: Estimate
    rival_tells: str
    rival_dice: str


SEEDS: Key[tuple[Seed, ...]] = Key("languages", tuple)
SCORED: Key[tuple[Scored, ...]] = Key("codes scored", tuple)
ATTRIBUTES: Key[tuple[Attribute, ...]] = Key("attributes told", tuple)
COMPARED = Key("language compared", Compared)
SHUFFLED = Key("dice of shuffled messages", float)


def learn(study: Language, context: Context, known: Known) -> Known:
    """A language for each seed, and its rivals."""
    one = known[SPOKEN]
    items = [(context.seed + number,) for number in range(study.seeds)]
    options = (study.words, study.vocabulary, study.steps, study.rate)
    made = all_of(learnt, items, one.features, one.mask, one.place_of_class, ~one.judging, options)
    first, *rest = made
    empty = np.zeros((0,))
    return SEEDS((first, *(Seed(own.told, empty, empty) for own in rest)))


def learnt(
    features: Floats,
    masks: np.ndarray,
    classes: np.ndarray,
    learning: np.ndarray,
    options: tuple[int, int, int, float],
    seed: int,
) -> Seed:
    """A language and its rivals, of which `all bits` has as many clusters as the language's
    messages have bits (their entropy where it was learnt)."""
    words, vocabulary, steps, rate = options
    told, other, named = spoken(
        features, masks, classes, learning, words, vocabulary, steps, rate, seed
    )
    clusters = max(2, round(2 ** bits(told.words[learning])))
    codes = {
        ONE_WORD: kmeans(features, learning, vocabulary, seed),
        ALL_BITS: kmeans(features, learning, clusters, seed),
        PRODUCT: product(features, learning, words, vocabulary, seed),
    }
    own = {LANGUAGE: told}
    for name, code in codes.items():
        values = int(code.max()) + 1
        own[name] = heard(code, values, masks, classes, learning, steps, rate, seed)
    return Seed(own, other, named)


def assess(study: Language, context: Context, known: Known) -> Known:
    one, seeds = known[SPOKEN], known[SEEDS]
    scored, compared = score(one, seeds, one.attributes, context.seed)
    attributes = tested(one, seeds[0], one.attributes, context.seed)
    rng = np.random.default_rng([context.seed, 73])
    judges = np.flatnonzero(one.judging)
    mixed = [dice(s.told[LANGUAGE].mask[rng.permutation(judges)], one.mask[judges]) for s in seeds]
    return (
        SCORED(scored)
        | COMPARED(compared)
        | ATTRIBUTES(attributes)
        | SHUFFLED(float(np.mean(mixed)))
    )


def score(
    one: Spoken, seeds: Sequence[Seed], attributes: Mapping[str, np.ndarray], seed: int
) -> tuple[tuple[Scored, ...], Compared]:
    """Every code on the objects that judge, and the language against the best of its rivals.

    Of attributes the class is left out, and what all but says it: that is learnt. Intervals are of
    a jackknife over parts of the groups, for objects drawn twice would seem to be told.
    """
    names = unsaid(one, attributes)
    cut = _cut(one.sampling, one.judging, seed)
    tells = {
        name: Tells.of(one, seeds, name, attributes, names, cut) for name in (LANGUAGE, *RIVALS)
    }
    judges = one.judging
    own = one.sampling.at(judges)
    scored = []
    for name, told in tells.items():
        heard_of = [s.told[name] for s in seeds]
        drawn = np.mean([dice(h.mask[judges], one.mask[judges]) for h in heard_of], 0)
        right = np.mean(
            [h.classes[judges].argmax(1) == one.place_of_class[judges] for h in heard_of], 0
        )
        scored.append(
            Scored(
                name,
                _estimate(told.whole, told.without, own),
                dict(zip(names, told.each.tolist(), strict=True)),
                own.pointed(drawn, 0, 1),
                own.pointed(right, 0, 1),
                float(np.mean([bits(h.words[judges]) for h in heard_of])),
                _stable([joint(h.words[judges]) for h in heard_of]),
            )
        )
    best = max(RIVALS, key=lambda name: tells[name].learning)
    drawn_by = {
        name: np.mean([dice(s.told[name].mask, one.mask) for s in seeds], 0) for name in tells
    }
    painter = max(RIVALS, key=lambda name: float(drawn_by[name][~judges].mean()))
    better = (drawn_by[LANGUAGE] - drawn_by[painter])[judges]
    compared = Compared(
        _estimate(
            tells[LANGUAGE].whole - tells[best].whole,
            tells[LANGUAGE].without - tells[best].without,
            own,
        ),
        own.pointed(better, -1, 1).joined(own.unbounded(better)),  # draws alone fall short: null.py
        best,
        painter,
    )
    return tuple(scored), compared


SAME = 0.5
"""Adjusted mutual information from which an attribute is mostly the class by another name."""


def unsaid(one: Spoken, attributes: Mapping[str, np.ndarray]) -> list[str]:
    """The attributes that are not mostly the class by another name, where languages are learnt;
    all, if each of them is."""
    rows = ~one.judging
    own = [n for n in attributes if n != CLASS]
    kept = [n for n in own if information(one.class_id[rows], attributes[n][rows]) < SAME]
    return kept or own or list(attributes)


@dataclass(frozen=True)
class Tells:
    """What a code tells, a mean over seeds and attributes: of all objects that judge (`whole`, by
    attribute `each` [a]), of all but a part of them (`without` [CUTS]), and where it was learnt."""

    whole: float
    each: Floats
    without: Floats
    learning: float

    @classmethod
    def of(
        cls,
        one: Spoken,
        seeds: Sequence[Seed],
        name: str,
        attributes: Mapping[str, np.ndarray],
        names: Sequence[str],
        cut: np.ndarray,
    ) -> "Tells":
        judges, parts = one.judging, np.unique(cut[cut >= 0])
        each = np.zeros((len(seeds), len(names)))
        without = np.zeros((len(parts), len(seeds), len(names)))
        learning = np.zeros((len(seeds), len(names)))
        for s, seed in enumerate(seeds):
            words = seed.told[name].words
            for a, attribute in enumerate(names):
                values = attributes[attribute]
                place, learning[s, a] = best_place(words[~judges], values[~judges])
                said = words[:, place]
                each[s, a] = information(said[judges], values[judges])
                for b, part in enumerate(parts.tolist()):
                    rows = judges & (cut != part)
                    without[b, s, a] = information(said[rows], values[rows])
        return cls(float(each.mean()), each.mean(0), without.mean((1, 2)), float(learning.mean()))


def information(words: np.ndarray, values: np.ndarray) -> float:
    """Adjusted mutual information: 0 of what comes together by chance, 1 of the same division."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(values, words))


def best_place(words: np.ndarray, values: np.ndarray) -> tuple[int, float]:
    """The place of messages [m, L] that tells most of values [m], and how much."""
    each = [information(words[:, place], values) for place in range(words.shape[1])]
    best = int(np.argmax(each))
    return best, each[best]


def dice(drawn: np.ndarray, masks: np.ndarray) -> Floats:
    """Dice of masks [m, c] in [0, 1], cut at one half, with those that were drawn, [m]."""
    one, other = drawn >= 0.5, masks >= 0.5
    both = (one & other).sum(1)
    return np.asarray(2 * both / np.maximum(one.sum(1) + other.sum(1), 1))


def _cut(sampling: Sampling, judging: np.ndarray, seed: int) -> np.ndarray:
    """The part of each object that judges, by its group; -1 of all others, [m]."""
    names = {g for g, own in zip(sampling.groups, judging, strict=True) if own}
    place = in_turn(seed + 3, names, CUTS)
    return np.array(
        [place[g] if own else -1 for g, own in zip(sampling.groups, judging, strict=True)]
    )


def _estimate(value: float, without: Floats, sampling: Sampling) -> Estimate:
    return jackknifed(Estimate(value, np.nan, np.nan, sampling.n, sampling.of), without)


def _stable(codes: Sequence[np.ndarray]) -> float:
    """Mean adjusted mutual information between the messages of two seeds."""
    pairs = [(a, b) for i, a in enumerate(codes) for b in codes[i + 1 :]]
    return float(np.mean([information(a, b) for a, b in pairs]))


def tested(
    one: Spoken, seed: Seed, attributes: Mapping[str, np.ndarray], number: int
) -> tuple[Attribute, ...]:
    """Whether the language's words tell each attribute: whole groups exchange their objects'
    values, Holm over attributes.

    A group of more objects, or fewer, takes another's in their order, each as often
    (:func:`exchanged`). Values that ran on from one group into the next would fall upon groups less
    neatly than real ones do: of columns that are one value in each group, and of words that are
    each group's own, one of three was said to be told where nothing was.
    """
    judges = np.flatnonzero(one.judging)
    words, own = seed.told[LANGUAGE].words, one.sampling.at(one.judging)
    members = [np.flatnonzero(own.place == g) for g in range(own.n)]
    cut = _cut(one.sampling, one.judging, number)
    found, ps = [], []
    for a, (name, values) in enumerate(attributes.items()):
        rng = np.random.default_rng([number, 79, a])
        place = best_place(words[~one.judging], values[~one.judging])[0]
        said, real = words[judges, place], values[judges]
        null = []
        for _ in range(PERMUTATIONS):
            null.append(_mutual(said, real[exchanged(members, rng.permutation(own.n))]))
        ps.append(exchangeable_p(_mutual(said, real), np.array(null)))
        parts = np.unique(cut[cut >= 0]).tolist()
        left = [information(said[cut[judges] != b], real[cut[judges] != b]) for b in parts]
        tells = _estimate(information(said, real), np.array(left), own)
        found.append((name, int(values.max()) + 1, place, tells))
    tests = given(ps, 1 / (1 + PERMUTATIONS), n=own.n, of=own.of)
    return tuple(Attribute(*told, test) for told, test in zip(found, tests, strict=True))


def exchanged(members: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Whose value each of m objects takes, [m]: group g, its objects `members[g]`, those of group
    `order[g]`, stretched or thinned evenly to as many."""
    taken = np.empty(sum(map(len, members)), np.int64)
    for own, other in zip(members, order.tolist(), strict=True):
        source = members[other]
        taken[own] = source[np.arange(len(own)) * len(source) // len(own)]
    return taken


def _mutual(one: np.ndarray, other: np.ndarray) -> float:
    """Mutual information of two divisions [m], in nats."""
    k = int(other.max()) + 1
    p = np.bincount(one * k + other, minlength=(int(one.max()) + 1) * k).reshape(-1, k) / len(one)
    outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    held = p > 0
    return float((p[held] * np.log(p[held] / outer[held])).sum())
