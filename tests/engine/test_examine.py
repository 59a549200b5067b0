"""The examination names what is wrong, with its number, and stays silent where nothing is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.config import Preprocessing, Reading, RunConfig, StudyKeys
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.engine.start import prepare
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel

NAMES = ("grey", "red", "green", "blue")


class Colours(nn.Module):
    """Tells the colour of a pixel, if colours come from 0 to 1 with their mean taken off."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(3, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.deep.weight.copy_(torch.eye(3)[..., None, None])
            self.deep.bias.zero_()
        self.mean = 0.4

    def forward(self, x):
        self.unused(x)
        away = self.deep(x)
        # A squashed distance: numbers on another scale lose what tells the classes apart.
        scores = [0.3 - away.abs().sum(1)]
        scores += [away[:, c] - away.sum(1) / 3 - 0.1 * (away**2).sum(1) for c in range(3)]
        return 8 * torch.stack(scores, 1)


class Data:
    """A manifest of painted images: patches of a colour on grey ground."""

    name = where = "painted"
    classes = NAMES
    background = "grey"
    block = SimpleNamespace(used=range(4))

    def __init__(self, change=lambda labels: labels, masks=True):
        self.change, self.masks = change, masks
        self.samples = [SimpleNamespace(id=f"{i}", group=f"{i}") for i in range(6)]

    @property
    def any_labelled(self):
        return bool(self.labelled_samples())

    def labelled_samples(self):
        return [sample for sample in self.samples if self.labelled(sample)]

    def labelled(self, sample):
        return self.masks

    def image(self, sample):
        return self._painted(sample)[0]

    def labels(self, sample):
        return self.pair(sample)[1]

    def pair(self, sample):
        image, labels = self._painted(sample)
        return image, self.change(labels) if self.masks else None

    def sample(self, name):
        return self.samples[int(name)]

    def _painted(self, sample):
        rng = np.random.default_rng(int(sample.id))
        labels = np.zeros((40, 56), dtype=np.int64)
        for c in (1, 2, 3):
            y, x = rng.integers(1, 24), rng.integers(1, 30)
            labels[y : y + 12, x : x + 20] = c
        image = np.full((3, 40, 56), 0.4, dtype=np.float32)
        for c in (1, 2, 3):
            image[:, labels == c] = 0.15
            image[c - 1, labels == c] = 0.9
        return image + rng.normal(0, 0.02, image.shape).astype(np.float32), labels


RIGHT = Preprocessing(mean=(0.4, 0.4, 0.4))


def context_of(module=None, preprocessing=RIGHT, data=None, layer="deep", **reading):
    model = SegmentationModel(
        module or Colours(), NAMES, preprocessing, name="toy", reading=Reading(**reading)
    )
    return Context(model, data or Data(), RunConfig(device="cpu"), layer, 0)


def doubts(context):
    return {one.what: one.found for one in examine(context).doubts}


def test_nothing_is_doubted_where_all_is_right():
    found = examine(context_of())
    assert found.doubts == ()
    said = {one.what: one.found for one in found.verdicts}
    assert said["masks"] == "mean IoU 1.00 on 4 images" or said["masks"].startswith("mean IoU 0.9")
    assert said["other sizes"] == "taken" and said["layer"].startswith(
        "deep: 3 channels on 40 x 56"
    )
    assert [row["class"] for row in found.classes] == list(NAMES)
    assert found.passed <= 12 * found.images


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m[::-1].copy(), "masks turned upside down"),
        (lambda m: m[:, ::-1].copy(), "masks mirrored"),
        (lambda m: np.roll(m, (3, -6), (0, 1)), "masks shifted by -3 px down and +6 px right"),
        (lambda m: (m + 1) % 4, "class names"),
        (lambda m: np.array([0, 3, 2, 1])[m], "class names"),
    ],
)
def test_masks_that_do_not_fit_are_named_with_their_number(change, words):
    found = doubts(context_of(data=Data(change)))
    # Red and blue exchanged in the masks cannot be told from channels reversed.
    assert set(found) - {"images with channels reversed"} == {words}
    assert "mean IoU 0.9" in found[words] or "mean IoU 1.00" in found[words]
    assert " against 0." in found[words]


def test_names_shifted_by_one_are_called_so():
    found = doubts(context_of(data=Data(lambda m: (m + 1) % 4)))
    assert "all are shifted by -1" in found["class names"]


def test_classes_that_no_mask_holds_are_not_said_to_be_others():
    moved = np.array([1, 2, -1, -1])
    found = doubts(context_of(data=Data(lambda m: moved[m])))["class names"]
    pairs = f"{NAMES[1]} by {NAMES[0]}, {NAMES[2]} by {NAMES[1]}"
    assert f"all are shifted by -1: {pairs}: mean IoU" in found


@pytest.mark.parametrize(
    ("preprocessing", "words", "key"),
    [
        ({"channels": (2, 1, 0)}, "images with channels reversed", "channels: [0, 1, 2]"),
        ({"mean": None}, "images less their mean colour", "mean: [0."),
        ({"range": (0.0, 255.0)}, "images from 0 to 1", "range: [0.0, 1.0]"),
    ],
)
@pytest.mark.parametrize("masks", [True, False])
def test_images_that_are_not_prepared_as_the_network_wants_them(preprocessing, words, key, masks):
    if not masks and "channels" in preprocessing:
        pytest.skip("without masks nothing tells red from blue")
    data = Data(masks=masks)
    found = doubts(context_of(preprocessing=RIGHT.model_copy(update=preprocessing), data=data))
    if masks:
        assert key in found[words]


def test_what_differs_when_asked_again_is_refused():
    class Random(Colours):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.3, training=True)

    with pytest.raises(InputError, match="other numbers when it is asked again: .*dropout"):
        examine(context_of(Random()))


def test_what_depends_on_the_rest_of_the_batch_is_refused():
    class Mates(Colours):
        def forward(self, x):
            return super().forward(x - x.mean((0, 2, 3), keepdim=True) + x[:1].mean())

    with pytest.raises(InputError, match="for an image when others are beside it: .*pixels"):
        examine(context_of(Mates(), preprocessing=Preprocessing()))


def test_norms_of_the_batch_are_made_to_be_of_the_image():
    class Normed(Colours):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)

        def forward(self, x):
            return super().forward(0.2 * self.norm(x))

    context = context_of(Normed(), Preprocessing())
    said = {one.what: one.found for one in examine(context).verdicts}
    assert "1 batch norms without stored statistics (the first is norm)" in said["passes"]
    images = torch.rand(4, 3, 8, 8)
    alone = torch.cat([context.model(one[None]) for one in images])
    torch.testing.assert_close(context.model(images), alone)
    # For one image it is what the batch norm itself gives.
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False).eval()
    torch.testing.assert_close(context.model.module.norm(images[:1]), norm(images[:1]))


def test_a_layer_without_influence_is_doubted():
    class Steps(Colours):
        def forward(self, x):
            return super().forward(x + (self.unused(x) > 0).float().mean())

    assert "it has no influence on the logits" in doubts(context_of(layer="unused"))["layer"]
    found = examine(context_of(Steps(), layer="unused"))
    said = {v.what: v.found for v in found.verdicts}["layer"]
    assert "; it acts by steps, without a gradient; unused runs 2 times in a pass" in said


def test_a_network_that_leaves_torch_is_examined_too():
    class Leaves(Colours):
        def forward(self, x):
            return torch.from_numpy(super().forward(x).numpy())

    found = examine(context_of(Leaves()))
    (layer,) = (one.found for one in found.verdicts if one.what == "layer")
    assert found.doubts == () and layer.endswith("without a gradient")


def test_outputs_that_may_be_independent_are_doubted_until_it_is_said():
    class NoGround(Colours):
        def forward(self, x):
            return super().forward(x)[:, 1:] - 2

    def context(**reading):
        model = SegmentationModel(NoGround(), NAMES[1:], RIGHT, reading=Reading(**reading))
        data = Data(masks=False)
        data.classes = NAMES[1:]
        return Context(model, data, RunConfig(device="cpu"), "deep", 0)

    assert "no logit is positive" in doubts(context())["classes"]
    assert doubts(context(values="logits")) == {}


class Yes(Colours):
    """Of three yes or no: red or green, which contains red, red, and blue."""

    def __init__(self, ground=False):
        super().__init__()
        self.ground = ground

    def forward(self, x):
        z = super().forward(x)[:, 1:] - 2
        z = torch.stack([z[:, :2].amax(1), z[:, 0], z[:, 2]], 1)
        return torch.cat([-z.amax(1, keepdim=True), z], 1) if self.ground else z


def yes_or_no(names, background=None, masks=False, **reading):
    model = SegmentationModel(
        Yes(ground=len(names) > 3), names, RIGHT, name="toy", reading=Reading(**reading)
    )
    data = Data(masks=masks)
    data.classes, data.background = names, background
    return Context(model, data, RunConfig(device="cpu"), "deep", 0)


WARM = ("warm", "red", "blue")


def test_outputs_that_look_independent_are_refused_where_nothing_says_what_they_are():
    with pytest.raises(InputError, match="rise and fall together.*model.values: independent"):
        examine(yes_or_no(WARM))
    assert "classes" not in doubts(yes_or_no(WARM, values="logits"))
    assert "classes" not in doubts(yes_or_no(WARM, drop=("blue",)))


@pytest.mark.parametrize("name", ["background", "Void"])
def test_independent_outputs_beside_one_that_is_called_background_are_doubted(name):
    for background in (None, name):
        found = doubts(yes_or_no((name, *WARM), background))
        assert "several classes are at" in found["classes"] and "model.values" in found["classes"]
    assert "classes" not in doubts(yes_or_no((name, *WARM), name, values="logits"))


def test_masks_tell_independent_classes_from_one_of_many():
    context = yes_or_no(("background", *WARM), "background")
    nested = np.array([0, 2, 1, 3])  # red lies in what is warm, as masks of one value a pixel say
    context.manifest.change, context.manifest.masks = (lambda labels: nested[labels]), True
    assert "several classes are at" in doubts(context)["classes"]


@pytest.mark.parametrize("name", ["clean", "weak"])
def test_a_softmax_whose_logits_share_much_is_not_doubted_where_masks_tell(name, tmp_path):
    """Trained by cross-entropy from a start far from 0: what is added to all logits stays there."""
    content = {"data": {"manifest": "builtin:planted"}, "model": {"source": "planted"}}
    content["model"]["name"], content["run"] = name, {"device": "cpu"}
    # Of some images the signs of the logits say the same, and of few that `weak` errs in more.
    few = "n: 800\ncontext: balanced\npair_share: 0.8\n"
    for seed, drawn in (*((s, "n: 60\ncontext: biased\n") for s in range(4)), (2, few)):
        rows = f"format: planted\nname: planted\nseed: {seed}\n{drawn}"
        content["data"]["manifest"] = str(tmp_path / f"{seed}.yaml")
        (tmp_path / f"{seed}.yaml").write_text(rows)
        found = examine(prepare(StudyKeys.model_validate(content)))
        said = {one.what: one for one in found.verdicts}["classes"]
        assert not said.doubt and said.found.startswith("one at each pixel"), said.found


def test_the_verdicts_are_kept_as_plain_data():
    context = context_of(data=Data(lambda m: (m + 1) % 4))
    kept = examine(replace(context, run=RunConfig(device="cpu", batch_size=2))).recorded()
    assert kept["images"] == 2 and kept["doubts"][0]["what"] == "class names"
    assert set(kept["verdicts"]) >= {"output", "numbers", "place", "passes", "layer", "masks"}


@pytest.mark.parametrize(
    ("found", "words", "doubt"),
    [
        ((0.8, 0.61), "trained on pixels of 0.8 x 0.6 mm, as the images are", False),
        ((0.8, 0.8), "but those of '0' are 0.8 x 0.8 mm: images are not resampled", True),
        (None, "the images do not tell theirs", False),
    ],
)
def test_pixels_of_another_size_than_in_training_are_doubted(found, words, doubt):
    context = context_of()
    context.model.spacing = (0.8, 0.6)
    context.manifest.source = SimpleNamespace(spacing=lambda sample: found)
    verdict = next(one for one in examine(context).verdicts if one.what == "spacing")
    assert words in verdict.found and verdict.doubt == doubt
