"""P-values by all ways of dealing, a planted outlier, names, and how often nothing is claimed."""

from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import hypergeom

from conceptseg.stats.estimate import Sampling
from conceptseg.study.prototypes import assess
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.findings import findings
from conceptseg.study.prototypes.mixture import fit
from conceptseg.study.prototypes.naming import named, phi
from conceptseg.study.prototypes.regions import CALIBRATES, FITTED, JUDGED, Regions, parts_of
from conceptseg.study.shared.outcomes import Outcomes, more_often

STUDY = Prototypes.model_construct(rare=0.1, exemplars=2, concepts=2)


def regions(groups, part, wrong=None, class_id=None, relevance=None, confidence=None):
    """Regions [m] of named groups, of which each is in a part."""
    m = len(groups)
    names = tuple(str(one) for one in groups)
    return Regions(
        ids=tuple(f"{name}-{i}" for i, name in enumerate(names)),
        class_id=np.ones(m, int) if class_id is None else np.asarray(class_id),
        box=np.zeros((m, 4), int),
        area=np.ones(m),
        confidence=np.full(m, 0.5) if confidence is None else confidence,
        right=np.ones(m),
        wrong=np.zeros(m, int) if wrong is None else np.asarray(wrong),
        relevance=np.ones((m, 1)) if relevance is None else relevance,
        outside=np.zeros(m),
        attributes={},
        dealt=names,
        dealt_of="group",
        part=np.asarray(part),
        sampling=Sampling(names, names, "groups", 0, draws=200),
    )


def test_a_groups_least_p_is_uniform_over_all_ways_of_dealing():
    """Five groups of one to three regions; each is judged in turn by all sets of three others."""
    rng = np.random.default_rng(0)
    sizes = [1, 3, 2, 1, 2]
    groups = np.repeat(np.arange(5), sizes)
    unlikely = rng.permutation(len(groups)).astype(float)
    least, every = [], []
    for judged in range(5):
        for others in combinations([g for g in range(5) if g != judged], 3):
            kept = np.isin(groups, (judged, *others))
            part = np.where(groups[kept] == judged, JUDGED, CALIBRATES)
            p = assess.p_values(regions(groups[kept], part), unlikely[kept]).p
            least.append(np.nanmin(p))
            every.append(p[np.isfinite(p)])
    counts = [np.isclose(least, (k + 1) / 4).sum() for k in range(4)]
    assert counts == [5, 5, 5, 5]  # of 20 ways
    # Of the regions of a group none has a smaller p than its least likely one.
    for level in (0.25, 0.5, 0.75):
        assert np.mean([(one <= level).any() for one in every]) == pytest.approx(level)


def test_right_regions_calibrate_alone_and_classes_by_themselves():
    groups = [f"c{i}" for i in range(9)] + [f"k{i}" for i in range(9)] + ["j", "j"]
    part = [CALIBRATES] * 18 + [JUDGED] * 2
    class_id = [1] * 9 + [2] * 9 + [1, 2]
    wrong = [0] * 8 + [1] + [0] * 11
    unlikely = np.array([*range(8), 99.0, *range(100, 109), 50.0, 50.0])
    placed = assess.p_values(regions(groups, part, wrong, class_id), unlikely)
    np.testing.assert_allclose(placed.p[-2:], [1 / 9, 1.0])  # the wrong one of 99 does not count
    assert placed.calibrating == {1: 8, 2: 9} and placed.of_right
    unknown = assess.p_values(regions(groups, part, [-1] * 20, class_id), unlikely)
    assert unknown.p[-2] == pytest.approx(2 / 10) and not unknown.of_right


def test_a_planted_outlier_is_found_among_others():
    rng = np.random.default_rng(1)
    rows = rng.dirichlet([8, 8, 1], 300) @ np.eye(3, 5)
    part = np.repeat([FITTED, CALIBRATES, JUDGED], 100)
    part[290:] = FITTED
    rows[289] = np.eye(5)[4]
    own = regions(np.arange(300), part, relevance=rows)
    mixture = fit(rows[part == FITTED], [str(i) for i in range(110)], (1,), 8, 0)[0]
    # One among ninety has to be of a p that 100 groups cannot give: 20 more of its kind can.
    alone = assess.p_values(own, -mixture.log_density(rows))
    assert alone.p[289] == pytest.approx(1 / 101) and not alone.outlier.any()
    rows[270:290] = np.eye(5)[4]
    found = assess.p_values(own, -mixture.log_density(rows)).outlier
    assert found[270:290].all() and found[200:270].sum() <= 4


def test_rare_ones_by_all_ways_to_deal_outcomes_within_classes():
    own = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0], bool)
    bad = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0])
    strata = np.array([0] * 5 + [1] * 4)
    sums = [
        own[list(a)].sum() + own[[5 + i for i in b]].sum()
        for a, b in product(combinations(range(5), 2), combinations(range(4), 1))
    ]
    expected = np.mean(np.array(sums) >= 2)
    names = tuple("abcdefghi")
    test = more_often(Outcomes(own, bad, Sampling(names, names, "images", 0)), strata, 0)
    assert test.p >= expected - 1e-12 and test.floor >= hypergeom(4, 1, 1).pmf(1) / 10
    one = more_often(Outcomes(own, own.astype(int), Sampling(names, names, "images", 0)), strata, 0)
    assert one.p == pytest.approx(1 / 8) or one.p == pytest.approx(0.1 * 0.25, abs=0.2)


def test_groups_are_never_cut_and_parts_do_not_hang_on_order():
    groups = [f"g{i % 40}" for i in range(100)]
    part = parts_of(groups, 3)
    assert all(len({p for p, g in zip(part, groups, strict=True) if g == n}) == 1 for n in groups)
    counts = [len({g for p, g in zip(part, groups, strict=True) if p == k}) for k in range(3)]
    assert counts == [16, 12, 12]
    assert (parts_of(groups[::-1], 3)[::-1] == part).all()


def test_a_name_has_to_be_borne_out():
    rng = np.random.default_rng(0)
    own = rng.random(200) < 0.4
    true = tuple(np.where(own, "tram", "bus").tolist())
    half = np.where(np.arange(200) < 100, own, rng.random(200) < 0.4)
    attributes = {"kind": true, "odd": tuple(np.where(half, "yes", "no").tolist())}
    first, second = np.arange(100), np.arange(100, 200)
    found = named(attributes, first, own[first], second, own[second])
    assert (found.text, found.here, found.elsewhere) == ("kind: bus", 0.0, 1.0) or (
        found.text == "kind: tram" and found.here == 1.0 and found.elsewhere == 0.0
    )
    attributes.pop("kind")
    assert named(attributes, first, own[first], second, own[second]).text == ""
    a, b = rng.random(50) < 0.5, rng.random(50) < 0.5
    assert phi(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])


def concluded(rng, groups, effect=0.0, scatter=0.0):
    """All conclusions on regions of unlike groups; `effect`: what wrong ones use more of a concept,
    `scatter`: of any, more or less."""
    held = np.repeat(np.arange(groups), rng.integers(1, 4, groups))
    n, level = len(held), rng.normal(size=groups)
    wrong = (rng.random(n) < 1 / (1 + np.exp(1 - level[held]))).astype(int)
    values = rng.normal(size=(n, 5)) + rng.normal(size=(groups, 5))[held]
    values[:, 0] += effect * wrong
    values += scatter * wrong[:, None] * rng.normal(size=values.shape)
    context = SimpleNamespace(seed=0)
    dealt = [f"g{one}" for one in held]
    own = regions(dealt, parts_of(dealt, int(rng.integers(99))), wrong, relevance=values,
                  confidence=rng.random(n))  # fmt: skip
    study = STUDY.model_copy(update={"counts": (2,), "dimensions": 3})
    known = assess.LISTED(own)
    known |= assess.group(study, context, known)
    known |= assess.place(study, context, known)
    found = findings(
        own, known[assess.GROUPED], known[assess.PLACED], known[assess.FORETOLD], ["", "one"]
    )
    return {one.evidence for one in found if one.standing == "evidence"}


@pytest.mark.parametrize("sets", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_of_nothing_little_is_claimed(sets):
    claims = [concluded(np.random.default_rng([7, seed]), 90) for seed in range(sets)]
    counts = {
        kind: sum(kind in one for one in claims)
        for kind in ("standing", "outliers", "rare", "foretell")
    }
    print(f"of {sets}: {counts}")
    assert max(counts.values()) <= (0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)) * sets


def test_what_is_there_is_found():
    assert "standing" in concluded(np.random.default_rng(3), 120, effect=6.0)
    assert {"rare", "foretell"} <= concluded(np.random.default_rng(3), 150, scatter=6.0)
