import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conceptseg.errors import InputError
from conceptseg.explain.regions import (
    Boundary,
    Box,
    Component,
    Correct,
    Everything,
    FalseNegative,
    FalsePositive,
    Labelled,
    Pixel,
    Predicted,
    Region,
    TruePositive,
    UserMask,
    Valid,
)

K, H, W = 3, 5, 6
predictions = hnp.arrays(np.int64, (2, H, W), elements=st.integers(0, K - 1))
labellings = hnp.arrays(np.int64, (2, H, W), elements=st.integers(-1, K - 1))
simple = st.sampled_from([
    Predicted(0), Predicted(1), Labelled(1), TruePositive(1), FalsePositive(0), FalseNegative(2),
    Everything(), Valid(), Correct(), Box(1, 1, 4, 3), Pixel(2, 5), Boundary(Predicted(1), 1.5),
    Component(Predicted(0)), Component(Labelled(1), "smallest"), Component(Predicted(1), (2, 2)),
])  # fmt: skip
regions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=4,
)
quick = settings(max_examples=40, deadline=None)


def logits_of(prediction):
    """Logits whose argmax is a given prediction."""
    prediction = torch.as_tensor(prediction)
    return torch.nn.functional.one_hot(prediction, K).movedim(-1, 1).float() * 3 - 1


def mask(region: Region, prediction, labels):
    return region.mask(logits_of(prediction), torch.as_tensor(labels)).numpy()


@quick
@given(regions, regions, predictions, labellings)
def test_algebra(a, b, prediction, labels):
    of = lambda region: mask(region, prediction, labels)  # noqa: E731
    assert of(a).dtype == bool and of(a).shape == (2, H, W)
    assert (of(a & b) == (of(a) & of(b))).all()
    assert (of(a | b) == (of(a) | of(b))).all()
    assert (of(~a) == ~of(a)).all()
    assert (of(~(a & b)) == of(~a | ~b)).all()
    assert (of(~~a) == of(a)).all()
    assert (a & ~b).needs_labels == (a.needs_labels or b.needs_labels)


@quick
@given(regions, predictions, labellings)
def test_an_image_s_region_is_its_own(region, prediction, labels):
    both = mask(region, prediction, labels)
    for i in range(2):
        assert (mask(region, prediction[i : i + 1], labels[i : i + 1])[0] == both[i]).all()


@quick
@given(predictions, labellings)
def test_errors_pixel_by_pixel(prediction, labels):
    c = 1
    expected = {kind: np.zeros(prediction.shape, bool) for kind in
                (Predicted, Labelled, TruePositive, FalsePositive, FalseNegative)}  # fmt: skip
    for at in np.ndindex(prediction.shape):
        p, y = prediction[at] == c, labels[at] == c
        expected[Predicted][at] = p
        if labels[at] == -1:
            continue
        expected[Labelled][at] = y
        expected[TruePositive][at] = p and y
        expected[FalsePositive][at] = p and not y
        expected[FalseNegative][at] = y and not p
    for kind, answer in expected.items():
        assert (mask(kind(c), prediction, labels) == answer).all()
    assert (mask(Valid(), prediction, labels) == (labels != -1)).all()
    assert (mask(Correct(), prediction, labels) == (labels == prediction)).all()


@quick
@given(predictions, st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_boundary_by_all_pairs(prediction, radius):
    found = mask(Boundary(Predicted(1), radius), prediction, prediction)
    inside = prediction == 1
    for n, y, x in np.ndindex(inside.shape):
        others = np.argwhere(inside[n] != inside[n, y, x])
        near = ((others - (y, x)) ** 2).sum(1) <= radius**2 + 1e-9
        assert found[n, y, x] == near.any()


@quick
@given(predictions, st.sampled_from(["largest", "smallest", (2, 3)]))
def test_components_by_flooding(prediction, which):
    found = mask(Component(Predicted(1), which), prediction, prediction)
    for n, image in enumerate(prediction == 1):
        parts = list(flooded(image))
        if isinstance(which, tuple):
            expected = next((part for part in parts if which in part), set())
        else:
            choose = max if which == "largest" else min
            expected = choose(parts, key=len, default=set())
        assert {(int(y), int(x)) for y, x in np.argwhere(found[n])} == expected


def flooded(image):
    """Connected parts in the order in which a reader meets them."""
    left = [(int(y), int(x)) for y, x in np.argwhere(image)]
    while left:
        part, edge = set(), [left[0]]
        while edge:
            at = edge.pop()
            part.add(at)
            edge += [
                q for q in left if q not in part and max(abs(q[0] - at[0]), abs(q[1] - at[1])) == 1
            ]
        left = [q for q in left if q not in part]
        yield part


def test_user_masks():
    one = torch.zeros(H, W, dtype=torch.bool)
    one[2, 3] = True
    logits = logits_of(np.zeros((2, H, W), np.int64))
    assert UserMask(one).mask(logits).sum((1, 2)).tolist() == [1, 1]
    both = torch.stack((one, ~one))
    assert (UserMask(both) & Everything()).mask(logits).equal(both)
    with pytest.raises(InputError, match=r"user mask of shape \[5, 5\] for images of \[2, 5, 6\]"):
        UserMask(one[:, 1:]).mask(logits)
    with pytest.raises(InputError, match="holds booleans"):
        UserMask(one.int()).mask(logits)


def test_what_cannot_be_read_is_refused():
    logits = logits_of(np.zeros((2, H, W), np.int64))
    with pytest.raises(InputError, match="Labelled.*needs labels and the images have none"):
        (Predicted(0) & ~Labelled(1)).mask(logits)
    with pytest.raises(InputError, match=r"labels of shape \[2, 4, 6\].*expected \[2, 5, 6\]"):
        Labelled(1).mask(logits, torch.zeros(2, 4, 6, dtype=torch.int64))
    for region in (Pixel(5, 0), Box(0, 0, 9, 2), Box(2, 2, 2, 3), Component(Predicted(0), (9, 9))):
        with pytest.raises(InputError, match="does not lie in an image of 5 x 6"):
            region.mask(logits)
    with pytest.raises(InputError, match="radius_px is at least 1"):
        Boundary(Predicted(0), 0)


def test_regions_compare_by_value():
    assert Predicted(1) & ~Box(0, 0, 1, 1) == Predicted(1) & ~Box(0, 0, 1, 1)
    assert Predicted(1) | Predicted(2) != Predicted(1) & Predicted(2)
    assert Labelled(1) != TruePositive(1)
