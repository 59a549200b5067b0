"""Slices and their enrichment on planted kinds of images."""

import numpy as np
import pytest

from conceptseg.quality import slices


def test_a_bad_kind_is_found_and_an_irrelevant_one_is_not():
    rng = np.random.default_rng(0)
    bad = np.arange(120) < 30
    quality = rng.normal(0.8, 0.05, 120) - 0.4 * bad
    kinds = {("cluster", "bad"): bad, ("metadata", "coin"): rng.random(120) < 0.5}
    found = slices.judged(kinds, quality, quality, np.arange(120), least=5, seed=0)
    assert [one.name for one in found] == ["bad", "coin"]
    assert found[0].difference.value == pytest.approx(-0.4, abs=0.03) and found[0].p_family < 0.01
    assert found[1].p_family > 0.05


def test_p_values_are_calibrated_alone_and_together():
    """Ten slices of noise, 100 times: each is wrong in 10 %, any of them in 10 % of the times."""
    rng = np.random.default_rng(1)
    alone, together = [], []
    for seed in range(100):
        p, family = slices.permuted_p(
            rng.random((10, 30)) < 0.3, rng.random(30), np.arange(30), seed
        )
        alone += list(p <= 0.1)
        together.append(family.min() <= 0.1)
    assert 0.07 < np.mean(alone) < 0.13
    assert 0.03 < np.mean(together) < 0.18


def test_groups_that_are_alike_are_one_piece_of_evidence():
    """All images of one bad group in the slice: one of ten groups, so p cannot be below 1/10."""
    group = np.repeat(np.arange(10), 20)
    quality = np.where(group == 0, 0.1, 0.8)
    p, family = slices.permuted_p((group == 0)[None], quality, group, 0)
    assert p[0] == pytest.approx(0.1, abs=0.02) and family[0] == p[0]


def test_metadata_frequent_in_a_cluster_is_told():
    cluster = np.repeat([0, 1], 40)
    values = {"weather": ["rain"] * 36 + ["sun"] * 44, "side": ["left", "right"] * 40}
    rows = slices.enriched(cluster, values, np.arange(80))
    best = rows[0]
    assert (best["cluster"], best["column"], best["value"]) in {
        (1, "weather", "rain"),
        (2, "weather", "sun"),
    }
    assert best["p_bh"] < 1e-6
    assert all(row["p_bh"] > 0.5 for row in rows if row["column"] == "side")


def test_pairs_say_more_than_their_parts():
    rain, night = np.arange(40) % 2 == 0, np.arange(40) < 20
    kinds = {"w = rain": rain, "w = sun": ~rain, "t = night": night, "t2 = night": night}
    found = slices.pairs(kinds, 5)
    assert set(found) == {f"{t} = night, w = {w}" for t in ("t", "t2") for w in ("rain", "sun")}
    assert found["t = night, w = rain"].sum() == 10


def test_numbers_of_many_values_become_thirds():
    told = slices.columns({"t": [float(i) for i in range(30)], "id": [f"n{i}" for i in range(30)]})
    assert set(told) == {"t"} and told["t"].count("lowest third") == 10


def test_clusters_are_the_planted_ones():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)) + 20 * np.repeat(np.eye(5)[:3], [30, 20, 10], axis=0)
    found = slices.clusters(rows, 3, 0)
    assert found.tolist() == [0] * 30 + [1] * 20 + [2] * 10
