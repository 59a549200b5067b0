"""Concepts that the user has drawn: relevance that lies on them, and channels that they name."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from conceptseg.planted import exact, generator
from conceptseg.planted.constructed import CONTEXT, OBJECT
from conceptseg.result.saved import Result
from conceptseg.stats.estimate import Sampling
from conceptseg.study import __main__ as command
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import ON_MASKS
from conceptseg.study.lcrp.maps import MAPS, ContextScores, on_masks, shares_on
from conceptseg.study.lcrp.named import SHARES, assess_named
from conceptseg.study.lcrp.named_report import named_findings, section
from conceptseg.study.lcrp.shuffles import Shuffles
from tests.planted_files import MASKS, write_planted
from tests.study.lcrp.test_planted import BIASED, SHORT, STUDIES


def test_the_share_on_a_mask_by_hand():
    found = torch.tensor([[1.0, 3.0], [-5.0, 4.0]])
    masks = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]]).bool()
    np.testing.assert_allclose(on_masks(found, masks), [1 / 8, 4 / 8, np.nan])
    assert np.isnan(on_masks(-found.abs(), masks)).all()
    shares = shares_on(found, torch.ones(2, 2), masks)
    np.testing.assert_allclose(shares[1:, :2], 0.5)
    assert np.isnan(shares_on(None, found, masks)).all()


def run(folder, w, masks=MASKS):
    content = yaml.safe_load((STUDIES / "lcrp_planted.yaml").read_text())
    content["data"] = {"manifest": "set.yaml"}
    content |= {"model": {"source": "planted", "name": "constructed", "arguments": {"w": w}}}
    content |= {**SHORT, "masks": masks, "rules_images": 0, "sensitivity_images": 0}
    path = folder / "lcrp_masks.yaml"
    path.write_text(yaml.safe_dump(content))
    words = ["lcrp", "-c", str(path), "--out", str(folder / f"out{w}"), "-q"]
    return command.main(words), folder / f"out{w}"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_planted(folder, exact.exact_samples("test", 40, 0, generator.PAIR))
    return folder


@pytest.fixture(scope="module")
def half(scenes):
    code, out = run(scenes, 0.5)
    assert code == 0
    return out


def test_masks_name_the_channels_that_were_wired_to_read_them(half):
    """One channel reads the stripes of the tile, the other the digit's ink, and nothing else."""
    rows = json.loads((half / "result.json").read_text())["tables"]["named"]["rows"]
    rows = {(r["unit"], r["concept"]): r for r in rows if r["class"] == BIASED}
    named = {pair for pair, row in rows.items() if row["named"]}
    assert named == {(CONTEXT, "tile"), (OBJECT, "ink")}
    assert rows[CONTEXT, "tile"]["share"] == pytest.approx(1.0, abs=1e-3)
    assert rows[CONTEXT, "tile"]["active"] == pytest.approx(1.0, abs=0.05)
    assert rows[CONTEXT, "other"]["share"] == pytest.approx(0.0, abs=1e-3)
    assert rows[OBJECT, "ink"]["share"] > 0.9


def test_relevance_falls_on_the_tile_as_much_as_the_network_relies_on_it(half, scenes):
    result = json.loads((half / "result.json").read_text())
    found = {r["concept"]: r for r in result["tables"]["masks"]["rows"] if r["class"] == BIASED}
    assert found["tile"]["acts"] and not found["other"]["acts"]
    assert found["tile"]["share_low"] < found["tile"]["share"] < found["tile"]["share_high"]
    (told,) = [
        f
        for f in result["findings"]
        if f["details"].get("concept") == "tile" and f["class"] == BIASED
    ]
    assert "of what speaks for" in told["claim"] and told["evidence"] == "concept-masks"
    code, out = run(scenes, 0.0)
    assert code == 0
    without = json.loads((out / "result.json").read_text())
    rows = {r["concept"]: r for r in without["tables"]["masks"]["rows"] if r["class"] == BIASED}
    assert not rows["tile"]["acts"] and rows["tile"]["share"] < 0.02 < found["tile"]["share"]
    assert not [f for f in without["findings"] if f["details"].get("concept") == "tile"]


def test_the_report_shows_them_and_says_nothing_without_masks(half):
    result = Result.load(half)
    text = (half / "report.html").read_text()
    assert 'id="concept-masks"' in text and "by tile" in text
    result.notes["masks"] = []
    assert section(result) is None


def test_a_mask_that_no_image_has_is_refused_at_once(scenes, capsys):
    code, _ = run(scenes, 0.25, {"letters": "nothing/{id}.png"})
    assert code == 2 and "masks.letters: no image has a file" in capsys.readouterr().err


CLASSES, NETWORKS, SEEN = (1, 2), 8, 4


def known_of(seed, images, lacking, effect=0.0):
    """Shares of two classes' maps on three masks, of a network that has learnt nothing: as far
    from the others as they are from each other, or the same in the mean and varied over images."""
    rng = np.random.default_rng(seed)
    spread = 0.05 if lacking == "networks" else 0.001
    level = rng.normal(0.4, spread, (NETWORKS + 1, len(CLASSES), len(MASKS), 1))
    noise = 0.01 if lacking == "networks" else 0.1
    shares = level[-1] + rng.standard_t(4, (len(CLASSES), len(MASKS), images)) * noise + effect
    ids = tuple(f"s{i:02d}" for i in range(images))
    fields = dict.fromkeys(Chosen.__dataclass_fields__, {})
    fields |= {
        "classes": CLASSES, "sampling": Sampling(ids, ids, "groups", seed, draws=20),
        "concepts": dict.fromkeys(CLASSES, ()), "images": dict.fromkeys(CLASSES, ids),
    }  # fmt: skip
    whole = {
        (s, c): np.stack([shares[place, :, i], np.full(3, 0.1), np.full(3, 0.1)])
        for i, s in enumerate(ids)
        for place, c in enumerate(CLASSES)
    }
    none = np.zeros((0, 3))
    seen = level[:-1] + rng.normal(0, 0.005, (NETWORKS, len(CLASSES), len(MASKS), SEEN))
    scores = {
        (n, c * 3 + q): seen[n, place, q][None]
        for n in range(NETWORKS)
        for place, c in enumerate(CLASSES)
        for q in range(3)
    }
    pairs = {c * 3 + q: ids[:SEEN] for c in CLASSES for q in range(3)}
    maps = ContextScores({}, none, {}, {}, {}, none, none, whole)
    return CHOSEN_PAIRS(Chosen(**fields)) | MAPS(maps) | ON_MASKS(Shuffles(scores, pairs))


def claimed(sets, images, lacking, effect=0.0):
    """The share of data sets with any finding that counts as evidence, and with that of all."""
    study, some, every = Lcrp.model_construct(masks=MASKS, random_images=images), 0, 0
    for seed in range(sets):
        known = known_of(seed, images, lacking, effect)
        shares = assess_named(study, SimpleNamespace(seed=seed), known)[SHARES]
        made = named_findings(shares, ["", "a", "b"])
        some += any(one.standing == "evidence" for one in made)
        every += sum(one.standing == "evidence" for one in made) == len(shares)
    return some / sets, every / sets


@pytest.mark.parametrize("lacking", ["images", "networks"])
@pytest.mark.parametrize("images", [8, 20])
def test_a_network_that_learnt_nothing_has_findings_in_5_percent(images, lacking):
    assert claimed(40, images, lacking)[0] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


@pytest.mark.parametrize("images", [8, 20])
def test_shares_far_above_are_found(images):
    assert claimed(10, images, "networks", effect=0.5)[1] == 1


def test_what_shuffled_networks_were_not_shown_is_not_testable():
    known = known_of(0, 12, "networks", effect=0.5)
    shuffles = known[ON_MASKS]
    gone = {
        key: np.full_like(v, np.nan) if key[1] == 4 else v for key, v in shuffles.scores.items()
    }
    known |= ON_MASKS(Shuffles(gone, shuffles.images))
    study = Lcrp.model_construct(masks=MASKS, random_images=12)
    shares = assess_named(study, SimpleNamespace(seed=0), known)[SHARES]
    blind = {(one.class_id, one.concept): one for one in shares}[1, "other"]
    assert not blind.acts and blind.test is None and "shuffled_images" in blind.reason
    assert sum(one.acts for one in shares) == 5


if __name__ == "__main__":
    many = int(sys.argv[1])
    for lacking in ("images", "networks"):
        for images in (8, 12, 20):
            print(f"{lacking}, {images} images: {claimed(many, images, lacking)[0]:.3f} of {many}")
