"""What is swapped, by loops; which donors are chosen; and effects that are known exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.engine.known import Known
from conceptseg.planted import constructed, exact
from conceptseg.result.saved import Result
from conceptseg.study import __main__ as command
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.kept import Kept
from conceptseg.study.audit.match import choose_donors, in_sight
from conceptseg.study.audit.survey import GRID, HOLDINGS, PLAN, Plan, coarse
from tests.study.audit.small import audit, holdings

MARGIN = 3.0


def scene(seed=0, side=24):
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int64)
    labels[8:14, 5:12], labels[0:3], labels[20:, 20:] = 1, -1, 2
    return torch.from_numpy(rng.random((1, 3, side, side)).astype(np.float32)), labels


def kept(labels, class_id=1, feather=2.0):
    return Kept.of(torch.from_numpy(labels), class_id, MARGIN, feather)


def distances(labels, class_id=1):
    """Each pixel's distance to the region, by loops."""
    own = np.argwhere(labels == class_id)
    every = np.indices(labels.shape).reshape(2, -1).T
    return np.sqrt(((every[:, None] - own[None]) ** 2).sum(2)).min(1).reshape(labels.shape)


def test_the_region_and_its_margin_stay_and_all_beyond_the_seam_is_the_donors():
    image, labels = scene()
    donor, _ = scene(1)
    mixed, far = kept(labels).within(image, donor)[0].numpy(), distances(labels)
    inside, outside = far <= MARGIN, far >= MARGIN + 2
    assert (mixed[:, inside] == image[0].numpy()[:, inside]).all()
    assert (mixed[:, outside] == donor[0].numpy()[:, outside]).all()
    between = ~inside & ~outside
    share = 1 - (far[between] - MARGIN) / 2
    expected = share * image[0].numpy()[:, between] + (1 - share) * donor[0].numpy()[:, between]
    np.testing.assert_allclose(mixed[:, between], expected, atol=1e-5)


@pytest.mark.parametrize("background", [0, None])
def test_scores_by_loops(background):
    _, labels = scene()
    logits = torch.randn(4, 3, *labels.shape, generator=torch.Generator().manual_seed(2))
    found = kept(labels).scores(logits, torch.from_numpy(labels), background)
    far = distances(labels)
    for row, predicted in zip(found, logits.argmax(1).numpy(), strict=True):
        shared = either = hit = missed = 0
        for at in np.ndindex(*labels.shape):
            own = labels[at] == 1
            hit += own and predicted[at] == 1
            missed += own and predicted[at] == background
            if far[at] <= MARGIN and labels[at] >= 0:
                shared += own and predicted[at] == 1
                either += own or predicted[at] == 1
        size = (labels == 1).sum()
        expected = [shared / either, hit / size, 1 - hit / size - missed / size, missed / size]
        np.testing.assert_allclose(row, expected, atol=1e-6)
        assert row[1:].sum() == pytest.approx(1)


def chosen(held, study, tested, class_id=1, empty=None):
    classes = ["background", "digit", "other"]
    context = SimpleNamespace(
        seed=0,
        model=SimpleNamespace(classes=classes),
        manifest=SimpleNamespace(background=None if empty is None else classes[empty]),
    )
    known = HOLDINGS(held) | CONTEXTS(tested) | PLAN(Plan({class_id: ("s000",)}, {class_id: (0,)}))
    _, labels = scene()
    rows, arm = choose_donors(study, context, Known() | known, "s000", kept(labels), [0])
    return rows, arm[:, 0]


@pytest.mark.parametrize(
    ("kind", "there", "lacking"),
    [("column", {0.3, 0.005, 5e-4}, {0.0}), ("concept", {0.3}, {0.0, 5e-4})],
)
def test_donors_are_of_other_groups_and_hold_the_context_or_lack_it(kind, there, lacking):
    """Of what was drawn one pixel is enough; of a concept some are noise."""
    share = np.array([[0.5], *([[0.3], [0.0], [0.005], [np.nan], [5e-4]] * 20)])
    held = holdings(share, groups=["own"] * 9 + [f"g{i}" for i in range(92)])
    held.cells[:] = 255  # everywhere
    rows, arm = chosen(held, audit(donors=16), (ContextType("t", kind),))
    assert (arm == 1).sum() == (arm == -1).sum() == 16
    assert set(share[rows[arm == 1], 0]) == there and set(share[rows[arm == -1], 0]) == lacking
    assert all(held.groups[row] != "own" for row in rows)


def test_a_mask_that_lies_nowhere_is_never_in_sight():
    held = holdings(np.array([[0.5], *([[0.3], [0.0]] * 20)]))
    rows, _ = chosen(held, audit(donors=6), (ContextType("t", "mask"),))
    assert not len(rows)


def test_a_context_under_the_region_is_not_in_sight():
    _, labels = scene()
    zone, share = coarse(distances(labels) <= MARGIN), np.array([[0.5], *([[0.2], [0.0]] * 30)])
    held, where = holdings(share), np.zeros((61, GRID, GRID), bool)
    where[1::4], where[3::4] = zone, ~zone
    held.cells[:, 0] = np.packbits(where.reshape(61, -1), axis=1)
    rows, arm = chosen(held, audit(donors=6), (ContextType("t", "mask"),))
    with_it = rows[arm == 1]
    assert len(with_it) == 6 and (with_it % 4 == 3).all()
    np.testing.assert_allclose(in_sight(where[[1, 3]], zone), [0, 1])


def test_twins_are_alike_in_all_but_the_context():
    """Donors that hold the context have their own things under the region; so have their twins."""
    _, labels = scene()
    zone, share = (
        coarse(distances(labels) <= MARGIN),
        np.array([[0.5], *([[0.2]] * 10 + [[0.0]] * 40)]),
    )
    held = holdings(share, classes=3)
    under = np.zeros(51, bool)
    under[1:11], under[11:31] = True, True
    held.ground[under] = np.where(zone, 2, 0)
    rows, arm = chosen(held, audit(donors=6), (ContextType("t", "column"),), empty=0)
    lacking = rows[arm == -1]
    assert len(lacking) == 6 and under[lacking].all() and len(set(lacking.tolist())) == 6


class Pixelwise(nn.Module):
    """Eleven classes by a pixel's own brightness: whatever lies around it says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 16, 1)
        self.head = nn.Conv2d(16, 11, 1)
        for layer in (self.body, self.head):
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.head.weight.mul_(20)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(images)))


def audited(folder, model, manifest="builtin:planted", **keys):
    """The result of an audit through the command."""
    import yaml

    content = {
        "data": {"manifest": str(manifest)},
        "model": model,
        "run": {"batch_size": 16},
        "context_classes": [],
        "compare": [],
        **keys,
    }
    path = folder / "audit_test.yaml"
    path.write_text(yaml.safe_dump(content))
    out = folder / "out"
    assert command.main(["audit", "-c", str(path), "--out", str(out), "-q"]) == 0
    return Result.load(out)


def exact_scenes(folder):
    path = folder / "exact.yaml"
    path.write_text("format: planted\nname: exact\nscenes: exact\nn: 102\n")
    return path


def test_a_network_that_sees_single_pixels_relies_on_nothing_exactly(tmp_path):
    """Its layer is worth nothing to what is around; effects are 0, not small. Their intervals are
    what pairs that were not met may do."""
    model = {"source": "factory", "name": "tests.study.audit.test_swap:Pixelwise"}
    result = audited(tmp_path, model, layer="body", look_images=2, images=20, margin=4)
    rows = result.tables["verdicts"].rows
    assert len(rows) >= 2 and not result.findings
    assert all(row["effect"] == 0 and -0.04 < row["low"] < 0 < row["high"] < 0.04 for row in rows)
    hardly = {row["verdict"] for row in rows if "nothing to lose" in row["sentence"]}
    others = {row["verdict"] for row in rows if "nothing to lose" not in row["sentence"]}
    assert hardly == {"underpowered"} and others == {"no reliance shown"}
    hiding = [row["hiding"] for row in result.tables["looks"].rows]
    assert 0 in hiding and set(hiding) <= {0, None}  # none where few images hold it


@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
def test_the_constructed_networks_effect_is_the_closed_form_of_what_is_seen(w, tmp_path):
    """Each composite's context evidence g is read off the image, by the formula of `exact`."""
    model = {"source": "planted", "name": f"constructed-{w}"}
    manifest = exact_scenes(tmp_path)
    result = audited(tmp_path, model, manifest, margin=8, images=51, look_images=2)
    rows = {row["class"]: row for row in result.tables["verdicts"].rows}
    truth = exact.constructed_truth(w)
    for name, effect in (("digit 3", truth.effect), ("digit 9", truth.confuser_effect)):
        row = rows[name]
        assert row["low"] - 0.02 <= effect <= row["high"] + 0.02
        assert row["effect"] == pytest.approx(effect, abs=0.04)
    confirmed_with_a_line(result, w)
    assert len(constructed.CHANNELS) == 6  # the layer that the report names is the bottleneck's


@pytest.mark.parametrize("w", [0.5, 0.75])
def test_a_reliance_on_absence_is_confirmed_as_one_on_presence_is(w, tmp_path):
    """In a layer of six channels no ablation of the brick exceeds all random ones for digit 9."""
    model = {"source": "planted", "name": f"constructed-{w}"}
    manifest = exact_scenes(tmp_path)
    result = audited(tmp_path, model, manifest, margin=8, images=51, look_images=2)
    confirmed_with_a_line(result, w)


def confirmed_with_a_line(result, w):
    """Both digits, or neither; by hiding in the direction of the swap at least."""
    rows, parts, looks = (result.tables[key].by("class") for key in ("verdicts", "parts", "looks"))
    assert set(rows) == {"digit 3", "digit 9"}
    for name, sign in (("digit 3", 1), ("digit 9", -1)):
        verdict, own, hiding = (
            of[name].rows[0][key]
            for of, key in ((rows, "verdict"), (parts, "own"), (looks, "hiding"))
        )
        assert (verdict == "confirmed") == (w > 0)
        assert sign * hiding > 0 or w == 0
        # Flat surroundings are no brick: as if none held it, whatever the glyphs.
        assert hiding == pytest.approx(own, abs=1e-9) or 0 < w < 0.75


class Ground(nn.Module):
    """Class 1 or 2 of bright pixels by the mean of what lies around them; 0 of dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 5, padding=2, padding_mode="replicate", bias=False)
        self.head = nn.Conv2d(4, 3, 1)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.weight[0, 0, 2, 2] = 1.0  # the pixel itself
            self.body.weight[1, 0] = 1 / 24
            self.body.weight[1, 0, 2, 2] = 0.0  # all around it
            self.head.weight.zero_()
            self.head.weight[0, 0], self.head.weight[1, 1] = -40.0, 40.0
            self.head.bias.copy_(torch.tensor([20.0, -8.0, 0.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def grounds(folder, count=40):
    """Bright dots of class 1 or 2 at random, on ground that is light or dark; `light` is drawn."""
    import yaml
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("images", "masks", "light"):
        (folder / name).mkdir()
    for i in range(count):
        light, labels = i % 2 == 0, np.zeros((40, 40), np.uint8)
        pixels = np.full((40, 40), 100 if light else 20) + rng.integers(0, 8, (40, 40))
        for y, x in rng.integers(4, 36, (4, 2)):
            labels[y, x], pixels[y, x] = 1 if light else 2, 250
        drawn = {"images": pixels, "masks": labels, "light": (labels == 0) & light}
        for name, array in drawn.items():
            Image.fromarray(array.astype(np.uint8)).save(folder / name / f"s{i:02d}.png")
    path = folder / "set.yaml"
    content = {
        "name": "dots",
        "channels": 1,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": ["ground", "one", "two"], "background": "ground"},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_ground_that_reaches_up_to_the_object_is_swapped_away(tmp_path):
    """Within a margin it would stay in all surroundings, and the network sees 2 px far."""
    model = {"source": "factory", "name": "tests.study.audit.test_swap:Ground"}
    keys = {"masks": {"light": "light/{id}.png"}, "known": False, "feather_px": 0, "layer": "body"}
    result = audited(tmp_path, model, grounds(tmp_path), look_images=2, images=16, **keys)
    rows = {row["class"]: row for row in result.tables["verdicts"].rows}
    parts = {row["class"]: row for row in result.tables["parts"].rows}
    assert parts["one"]["margin"] == 0 and rows["one"]["effect"] > 0.9
    assert rows["one"]["verdict"] in ("confirmed", "behaviour only")
