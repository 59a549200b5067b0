"""Exchanged names are so on every image; a network that errs is right on some."""

import pytest
import torch

from conceptseg.config import Reading, RunConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.examine import examine
from conceptseg.engine.renaming import followed, in_words
from conceptseg.network.independent import only
from conceptseg.network.model import SegmentationModel
from tests.engine.test_examine import NAMES, RIGHT, Colours, Data, context_of

MARK = 1.0
"""What the first pixel of some images is painted with."""


class Marked(Data):
    """Of six images some have a mark, on which a network may err."""

    marked = ("0", "2", "3", "5")  # the four that are looked at first

    def pair(self, sample):
        image, labels = self._painted(sample)
        image[:, 0, 0] = MARK if sample.id in self.marked else 0.4
        labels[0, 0] = -1
        return image, self.change(labels) if self.masks else None

    def image(self, sample):
        return self.pair(sample)[0]


class ByMark(Colours):
    """Calls red green, and green red, where the mark is."""

    def forward(self, x):
        logits = super().forward(x)
        there = (x[:, :, :1, :1] > (MARK - 0.4) / 2).all(1, keepdim=True)
        return torch.where(there, logits[:, [0, 2, 1, 3]], logits)


def told(examination):
    return {one.what: one for one in examination.verdicts}


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_what_is_so_on_the_images_looked_at_first_alone_is_no_doubt(share):
    data = Marked()
    data.marked = ("0", "2", "3", "5", "1", "4")[: 6 if share == 1 else 4]
    found = told(examine(context_of(ByMark(), data=data)))["class names"]
    assert "red by green, green by red" in found.found
    assert found.doubt == (share == 1)
    own = "so do 12 of 12 such objects on 6" if share == 1 else "of 6 images 4 of 12 such objects"
    assert own in found.found


class Positive(ByMark):
    """The colours alone, each a yes or no of its own."""

    def forward(self, x):
        return super().forward(x)[:, 1:] - 2


@pytest.mark.parametrize("exchanged", [True, False])
def test_names_of_independent_classes_likewise(exchanged):
    data = Marked()
    data.marked = ("0", "2", "3", "5", "1", "4")[: 6 if exchanged else 4]
    reading = Reading(values="independent")
    first = SegmentationModel(
        Positive(), NAMES[1:], RIGHT, name="toy", positive_class="red", reading=reading
    )
    first(torch.from_numpy(data.image(data.samples[0]))[None])
    each = [first, *(only(first, name) for name in NAMES[2:])]
    run = RunConfig(device="cpu", batch_size=4)
    contexts = [Context(model, data, run, "deep", 0) for model in each]
    found = [
        one for one in examine(contexts[0], contexts[1:]).verdicts if one.what == "class names"
    ]
    assert [one.doubt for one in found] == [exchanged]
    assert "red by green, green by red" in found[0].found
    own = "12 of 12 such objects on 6" if exchanged else "of 6 images 4 of 12 such objects"
    assert own in found[0].found


def test_objects_are_counted_by_image():
    """Of three images the first shows 1 as 2; in the second 1 is itself; the third lacks it. Class
    2 is seen as 1 in one image, as neither in another."""
    both = torch.zeros(3, 3, 3, dtype=torch.int64)
    both[0, 1, 2], both[0, 1, 1], both[1, 1, 1] = 9, 3, 5
    both[0, 2, 1], both[1, 2, 0] = 4, 7
    found = followed([both[:2], both[2:]], [(0, 0), (1, 2), (2, 1)])
    assert (found.images, found.objects, found.other) == (3, 3, 2)
    assert not found.exchanged


def test_a_shift_of_all_is_called_so():
    assert in_words("abc", [(0, 2), (1, 0), (2, 1)]).startswith("all are shifted by -1: a by c")
    assert in_words("abc", [(0, 1), (1, 0), (2, 2)]) == "a by b, b by a"
