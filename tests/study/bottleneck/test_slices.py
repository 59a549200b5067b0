"""Slices and their enrichment on planted kinds of images."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.data.manifest import load_manifest
from conceptseg.engine.known import Known
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck import slices
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.judge import JUDGED, Judged
from conceptseg.study.bottleneck.sections import illustrate
from conceptseg.study.bottleneck.sliced import (
    SLICED,
    PictureSlices,
    Sliced,
    _metadata,
    _slices,
)
from conceptseg.study.bottleneck.tables import enrichment_table, slice_table
from conceptseg.study.shared.attributes import columns


def sampling(groups):
    """Groups [n] are counted; their numbers are in the order of their names."""
    names = tuple(f"{group:03d}" for group in groups)
    return Sampling(tuple(map(str, range(len(names)))), names, "groups", (0, 11), 1000)


def slice_p(members, quality, groups, seed):
    tests = slices.slice_tests(members, quality, sampling(groups), seed)
    return np.array([test.p for test in tests]), np.array([test.adjusted for test in tests])


def test_a_bad_kind_is_found_and_an_irrelevant_one_is_not():
    rng = np.random.default_rng(0)
    bad = np.arange(120) < 30
    quality = rng.normal(0.8, 0.05, 120) - 0.4 * bad
    kinds = {("cluster", "bad"): bad, ("metadata", "coin"): rng.random(120) < 0.5}
    found = slices.judged_slices(kinds, quality, quality, sampling(range(120)), least=5, seed=0)
    assert [one.name for one in found] == ["bad", "coin"]
    assert (
        found[0].difference.value == pytest.approx(-0.4, abs=0.03) and found[0].test.adjusted < 0.01
    )
    assert found[1].test.adjusted > 0.05


def test_p_values_are_calibrated_alone_and_together():
    """Ten slices of noise, 100 times: each is wrong in 10 %, any of them in 10 % of the times."""
    rng = np.random.default_rng(1)
    alone, together = [], []
    for seed in range(100):
        p, family = slice_p(rng.random((10, 30)) < 0.3, rng.random(30), np.arange(30), seed)
        alone += list(p <= 0.1)
        together.append(family.min() <= 0.1)
    assert 0.07 < np.mean(alone) < 0.13
    assert 0.03 < np.mean(together) < 0.18


def test_groups_that_are_alike_are_one_piece_of_evidence():
    """All images of one bad group in the slice: one of ten groups tells it, which is no test."""
    group = np.repeat(np.arange(10), 20)
    quality = np.where(group == 0, 0.1, 0.8)
    assert slices.effective_groups(group == 0, group) == pytest.approx(1.23, abs=0.01)
    p, family = slice_p((group == 0)[None], quality, group, 0)
    assert np.isnan(p).all() and np.isnan(family).all()
    kinds = {("metadata", "site = 0"): group == 0, ("metadata", "odd"): np.arange(200) % 2 == 1}
    found = slices.judged_slices(kinds, quality, quality, sampling(group), least=8, seed=0)
    assert {one.name: not one.test.testable for one in found} == {"site = 0": True, "odd": False}
    rows = slice_table(found, judged(quality), ()).rows
    remarks = {row["slice"]: row["remark"] for row in rows}
    assert remarks == {"site = 0": "too few groups to test", "odd": ""}


def judged(quality):
    return SimpleNamespace(ids=[f"i{n:03d}" for n in range(len(quality))], quality=quality)


def test_what_pictures_a_slice_is_of_it_and_as_good_as_it_is():
    """Not the worst images of all, which lie in other slices."""
    quality = np.linspace(0.1, 0.9, 60)
    kinds = {("metadata", f"third = {n}"): np.arange(60) // 20 == n for n in range(3)}
    kinds[("cluster", "cluster 1")] = np.arange(60) % 2 == 0
    found = slices.judged_slices(kinds, quality, quality, sampling(np.arange(60)), least=8, seed=0)
    seen = judged(quality)
    table = slice_table(found, seen, set(seen.ids))
    assert "examples" not in table.columns
    for row, one in zip(table.rows, found, strict=True):
        places = [seen.ids.index(name) for name in row["examples"]]
        assert len(places) == 6 and one.members[places].all()
        away, rest = np.abs(quality - row["quality"]), one.members.copy()
        rest[places] = False
        assert away[places].max() <= away[rest].min()
    images = [{"sample": name, "picture": f"p-{name}", "true": 0.5, "predicted": 0.5, "low": 0.4,
               "high": 0.6} for name in seen.ids]  # fmt: skip
    tables = {"images": Table(images), "slices": table, "searched": Table([])}
    chosen = illustrate(SimpleNamespace(tables=tables))
    for row in table.rows:
        about = SimpleNamespace(details={"slice": row["slice"]})
        assert [one.key for one in chosen(about)] == [f"p-{name}" for name in row["examples"]]
    assert chosen(SimpleNamespace(details={"slice": "of an earlier version"})) == []
    assert len(chosen(SimpleNamespace(details={}))) == 6


def test_images_of_slices_that_are_told_of_are_pictured_if_they_were_not():
    quality = np.where(np.arange(60) < 20, 0.1, 0.9) + 0.01 * np.arange(60) / 60
    kinds = {("metadata", "bad"): np.arange(60) < 20, ("metadata", "odd"): np.arange(60) % 2 == 1}
    found = slices.judged_slices(kinds, quality, quality, sampling(np.arange(60)), least=8, seed=0)
    assert [one.test.passed for one in found] == [True, False]
    seen = judged(quality)
    stand = {seen.ids[row] for row in slices.examples(found[0], quality)}
    whole = object.__new__(Judged)  # of which no more is asked
    measured = SimpleNamespace(ids=tuple(seen.ids), pictures={min(stand): b""})
    parts = {"measured": measured, "rows": np.arange(60), "quality": quality}
    for key, value in parts.items():
        object.__setattr__(whole, key, value)
    known = JUDGED(whole) | SLICED(Sliced(np.zeros(60), {}, found, []))
    assert PictureSlices(None).wanted(Known() | known) == stand - {min(stand)}


def test_a_slice_that_runs_within_groups_is_found():
    """Half of the images of each of 20 groups are of the night, and worse; groups differ too."""
    group, night = np.repeat(np.arange(20), 6), np.arange(120) % 2 == 0
    rng = np.random.default_rng(0)
    quality = 0.8 - 0.4 * night + rng.normal(0, 0.1, 20)[group] + rng.normal(0, 0.05, 120)
    kinds = {("metadata", "night"): night, ("metadata", "coin"): rng.random(120) < 0.4}
    found = {
        one.name: one
        for one in slices.judged_slices(kinds, quality, quality, sampling(group), least=8, seed=0)
    }
    assert found["night"].difference.value == pytest.approx(-0.4, abs=0.03)
    assert found["night"].test.adjusted < 0.005 and found["coin"].test.adjusted > 0.05


def test_the_statistic_is_the_difference_that_is_reported():
    rng = np.random.default_rng(2)
    night, quality, group = rng.random(60) < 0.3, rng.random(60), rng.integers(0, 12, 60)
    share = night.mean()
    scores = (night - share) * (quality - quality.mean())
    gap = quality[night].mean() - quality[~night].mean()
    assert scores.sum() / (60 * share * (1 - share)) == pytest.approx(gap)
    p, family = slice_p(night[None], quality, group, 0)
    sums = np.bincount(group, scores)
    signs = 1 - 2 * ((np.arange(2**12)[:, None] >> np.arange(12)) & 1)
    exact = (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean()
    assert p[0] == pytest.approx(exact, abs=0.02) and family[0] == p[0]


@pytest.mark.parametrize("kind", ["unequal groups", "by group", "skewed images"])
def test_no_difference_is_found_where_there_is_none(kind):
    """Ten groups of one image against thirty of eight; whole groups that differ; few bad images."""
    rng = np.random.default_rng(3)
    wrong = []
    for seed in range(150):
        if kind == "unequal groups":
            group = np.r_[np.arange(10), 10 + np.repeat(np.arange(30), 8)]
            inside, quality = (group < 10)[None], rng.normal(0.7, 0.15, 250)
        elif kind == "by group":
            group = np.repeat(np.arange(20), 6)
            inside = (rng.permutation(20)[group] < 9)[None]
            quality = rng.normal(0.7, 0.1, 20)[group] + rng.normal(0, 0.1, 120)
        else:
            group, quality = np.arange(120), 1 - rng.exponential(0.15, 120)
            inside = np.stack([rng.permutation(120) < 8 for _ in range(10)])
        wrong.append(slice_p(inside, quality, group, seed)[1].min() <= 0.05)
    assert np.mean(wrong) <= 0.09


def test_metadata_frequent_in_a_cluster_is_told():
    cluster = np.repeat([0, 1], 40)
    values = {"weather": ["rain"] * 36 + ["sun"] * 44, "side": ["left", "right"] * 40}
    rows = enrichment_table(cluster, values, [f"{i:02d}" for i in range(80)]).rows
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
    kept = columns({"t": [float(i) for i in range(30)], "id": [f"n{i}" for i in range(30)]})
    assert set(kept) == {"t"} and kept["t"].count("lowest third") == 10


def test_clusters_are_the_planted_ones():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)) + 20 * np.repeat(np.eye(5)[:3], [30, 20, 10], axis=0)
    found = slices.clusters(rows, 3, 0)
    assert found.tolist() == [0] * 30 + [1] * 20 + [2] * 10


def test_concepts_of_the_user_are_kinds_of_images(tmp_path):
    """The network fails where a badge is shown; a stain lies anywhere, and one image is unsaid."""
    rng = np.random.default_rng(0)
    badge, stain = np.arange(60) < 20, rng.random(60) < 0.5
    for part in ("images", "badge", "stain"):
        (tmp_path / part).mkdir()
    for number in range(60):
        name = f"s{number:02d}.png"
        Image.new("L", (12, 8)).save(tmp_path / "images" / name)
        for concept, there in (("badge", badge), ("stain", stain)):
            if (concept, number) != ("stain", 59):
                mask = np.zeros((8, 12), np.uint8)
                mask[2:4, 5:7] = 255 * there[number]
                Image.fromarray(mask).save(tmp_path / concept / name)
    content = {"name": "badges", "channels": 1, "folders": [{"images": "images/{id}.png"}]}
    content["labels"] = {"names": ["ground", "thing"], "background": "ground"}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content))
    manifest = load_manifest(tmp_path / "set.yaml")
    ids = tuple(sample.id for sample in manifest.samples)
    masks = {name: f"{name}/{{id}}.png" for name in ("badge", "stain")}
    study = Bottleneck.model_construct(masks=masks, min_slice=8, seed=0)
    quality = rng.normal(0.8, 0.05, 60) - 0.4 * badge
    judged = SimpleNamespace(ids=ids, quality=quality, sampling=sampling(range(60)))
    values = _metadata(study, SimpleNamespace(manifest=manifest), judged)
    assert values["concept stain"].count("not annotated") == 1
    found = _slices(study, judged, quality, np.zeros(60, int), columns(values))
    shown = {one.name: one for one in found if one.test.passed and one.difference.value < 0}
    assert "concept badge = shown" in shown
    assert shown["concept badge = shown"].difference.value == pytest.approx(-0.4, abs=0.05)
    assert not any("stain" in name for name in shown if "badge" not in name)
