"""What networks return, in all its forms; the query fold against loops."""

from collections import namedtuple
from dataclasses import dataclass
from math import exp, log

import pytest
import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.network.outputs import check_alike, fits, fold_queries, take

MAPS = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)
COARSE = torch.zeros(2, 3, 2, 2)
FEATURES = torch.zeros(2, 8, 16, 16)
VECTOR = torch.zeros(2, 3)


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


Named = namedtuple("Named", ["out", "aux"])


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(MAPS, id="tensor"),
        pytest.param({"out": MAPS, "aux": MAPS + 1}, id="torchvision"),
        pytest.param({"aux": COARSE, "logits": MAPS}, id="logits"),
        pytest.param({"mystery": MAPS, "vector": VECTOR}, id="only-map"),
        pytest.param({"out": [MAPS, COARSE]}, id="nested"),
        pytest.param((MAPS,), id="tuple"),
        pytest.param([COARSE, MAPS], id="finest"),
        pytest.param([MAPS, MAPS.clone()], id="twice-the-same"),
        pytest.param((MAPS, VECTOR), id="with-label"),
        pytest.param((FEATURES, MAPS), id="with-features"),
        pytest.param((MAPS, torch.zeros(2, 1, 16, 20)), id="with-a-finer-single-map"),
        pytest.param({"a": MAPS, "depth": MAPS[:, :1]}, id="with-an-equal-single-map"),
        pytest.param(({"out": MAPS}, VECTOR), id="dict-in-tuple"),
        pytest.param(Output(None, MAPS), id="dataclass"),
        pytest.param(Named(MAPS, FEATURES), id="namedtuple"),
    ],
)
def test_taken(output):
    assert torch.equal(take(output, classes=3, images=2).maps, MAPS)


def test_one_map_without_its_axis():
    assert take(MAPS[:, 0], classes=2, images=2).maps.shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("output", "named"),
    [
        (VECTOR, r"tensor \[2, 3\]"),
        ({"a": MAPS, "b": COARSE}, "2 maps that could be its result .a: .*; b: .*model.output"),
        ([MAPS, MAPS + 1], r"0: \[2, 3, 4, 5\]; 1: .*such as 0 or last"),
        ({"out": (COARSE, MAPS, MAPS + 1)}, "1: .*; 2: "),
        ({"out": MAPS, "logits": MAPS + 1}, "out: .*; logits: "),
        (MAPS[:1], "no class maps .n, k, y, x. of 2 images"),
        (None, "NoneType"),
        ((VECTOR, "text"), r"tuple of a tensor \[2, 3\]"),
        (MAPS.argmax(1, keepdim=True), "argmax"),
    ],
)
def test_refused(output, named):
    with pytest.raises(InputError, match=named):
        take(output, classes=3, images=2)


@pytest.mark.parametrize(
    ("output", "wanted", "taken"),
    [
        ([MAPS + 1, MAPS], "last", MAPS),
        ([MAPS + 1, MAPS], 1, MAPS),
        ([MAPS, MAPS + 1], "0", MAPS),
        ({"a": MAPS + 1, "b": [COARSE, MAPS]}, "b.1", MAPS),
        ({"a": MAPS + 1, "b": [COARSE, MAPS]}, "b", MAPS),
        (Output(None, MAPS), "logits", MAPS),
        ({"out": MAPS, "features": FEATURES}, "features", FEATURES),
    ],
)
def test_the_part_that_is_asked_for(output, wanted, taken):
    found = take(output, classes=3, images=2, wanted=wanted)
    assert torch.equal(found.maps, taken)
    assert found.rule == "by model.output" or found.where.startswith(str(wanted))


@pytest.mark.parametrize("wanted", [2, "out", "0.logits"])
def test_a_part_that_does_not_exist(wanted):
    with pytest.raises(InputError, match="model.output is .*the network returned list"):
        take([MAPS, MAPS + 1], classes=3, images=2, wanted=wanted)


def test_what_was_taken_is_said():
    assert take(MAPS, 3, 2).where == "the output itself"
    deep = take(({"out": [MAPS, COARSE]}, VECTOR), 3, 2)
    assert (deep.where, deep.rule) == ("0.out.0", "the only one")
    assert take([COARSE, MAPS, COARSE], 3, 2).rule == "the finest of 3"
    assert take((FEATURES, MAPS), 3, 2).rule == "the only one of 2 with a map for each class"


@pytest.mark.parametrize("side", [4, 2])
@pytest.mark.parametrize("wrapped", [list, lambda parts: {"out": parts}])
def test_two_maps_of_two_classes_are_not_passed_over_for_a_finer_single_one(side, wrapped):
    two, one = torch.zeros(2, 2, side, side), torch.zeros(2, 1, 4, 4)
    with pytest.raises(InputError, match="2 maps .*1, 4, 4.*model.output"):
        take(wrapped([one, two]), classes=2, images=2)
    fine = torch.zeros(2, 2, 8, 8)
    assert take(wrapped([one, fine]), classes=2, images=2).maps is fine


def scene(k: int, side: int) -> Tensor:
    """Class maps of a square that lies off the middle, and noise around them."""
    maps = torch.full((1, k, side, side), -3.0)
    maps[:, 0], maps[:, -1, side // 4 : side // 2, side // 4 :] = 1 if k > 1 else -3.0, 3
    return maps + torch.randn(maps.shape, generator=torch.Generator().manual_seed(side)) / 4


@pytest.mark.parametrize("k", [1, 2, 3])
def test_coarser_maps_must_show_what_the_finest_does(k):
    fine, coarse = scene(k, 32), scene(k, 8)
    classes = max(k, 2)
    for changed in (lambda z: z, lambda z: z.softmax(1) if k > 1 else z.sigmoid()):
        found = take([changed(coarse), changed(fine), scene(k, 16)], classes, 1)
        assert found.maps.shape[2] == 32 and check_alike(found)
    noise = torch.randn(1, k, 32, 32, generator=torch.Generator().manual_seed(1))
    for other in (noise, scene(k, 32).flip(2)):
        with pytest.raises(
            InputError, match=r"kappa -?0.\d* at most.*model.output, such as a.1 or"
        ):
            check_alike(take([coarse, other], classes, 1).within("a"))
    # Of three the finest may be apart while the others agree.
    with pytest.raises(InputError, match="3 maps that could be its result"):
        check_alike(take([coarse, scene(k, 16), noise], classes, 1))


def test_labels_that_are_one_everywhere_tell_nothing():
    blank = [torch.zeros(1, 2, side, side) for side in (4, 8)]
    assert not check_alike(take(blank, 2, 1))
    assert check_alike(take(blank[0], 2, 1))


def test_class_logits_of_queries_are_no_map():
    queries_alone = {"logits": torch.zeros(2, 100, 4), "boxes": torch.zeros(2, 100, 4)}
    with pytest.raises(InputError, match="holds no class maps"):
        take(queries_alone, classes=3, images=2, size=(64, 80))
    assert take(torch.zeros(2, 16, 20), 2, 2, size=(64, 80)).maps.shape == (2, 1, 16, 20)


def test_query_outputs_of_either_family_are_folded():
    class_logits, mask_logits = queries()
    for names in (("class_queries_logits", "masks_queries_logits"), ("logits", "pred_masks")):
        output = dict(zip(names, (class_logits, mask_logits), strict=True))
        assert torch.equal(take(output, 3, 2).maps, fold_queries(class_logits, mask_logits))


@pytest.mark.parametrize(
    ("grid", "size", "lies"),
    [
        ((16, 20), (64, 80), True),
        ((3, 5), (65, 130), True),
        ((128, 160), (64, 80), True),
        ((82, 98), (124, 140), True),  # cut by as much on both sides
        ((100, 4), (64, 80), False),
        ((20, 16), (64, 80), False),
    ],
)
def test_a_grid_lies_on_an_image_by_one_scale(grid, size, lies):
    assert fits(grid, size) is lies


def queries(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    class_logits = scale * torch.randn(2, 4, 3 + 1, generator=rng)
    mask_logits = scale * torch.randn(2, 4, 2, 3, generator=rng)
    return class_logits, mask_logits


def test_fold_by_loops():
    class_logits, mask_logits = queries()
    found = fold_queries(class_logits, mask_logits)
    assert found.shape == (2, 3, 2, 3)
    for n in range(2):
        for k in range(3):
            for y in range(2):
                for x in range(3):
                    total = 0.0
                    for q in range(4):
                        weights = [exp(v) for v in class_logits[n, q].tolist()]
                        mask = 1 / (1 + exp(-float(mask_logits[n, q, y, x])))
                        total += weights[k] / sum(weights) * mask
                    assert float(found[n, k, y, x]) == pytest.approx(log(total), abs=1e-5)


def test_fold_neither_overflows_nor_underflows():
    found = fold_queries(*queries(200.0))
    assert torch.isfinite(found).all()
    exact = fold_queries(*(t.double() for t in queries(200.0)))
    torch.testing.assert_close(found.double(), exact.double())


def test_fold_gradient():
    class_logits, mask_logits = (t.requires_grad_() for t in queries())
    fold_queries(class_logits, mask_logits).sum().backward()
    plain = [t.detach().double().requires_grad_() for t in (class_logits, mask_logits)]
    probabilities = plain[0].softmax(2)[..., :-1]
    torch.einsum("nqk,nqyx->nkyx", probabilities, plain[1].sigmoid()).log().sum().backward()
    torch.testing.assert_close(class_logits.grad.double(), plain[0].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mask_logits.grad.double(), plain[1].grad, rtol=1e-4, atol=1e-5)


def test_query_outputs_are_found_by_name():
    class_logits, mask_logits = queries()
    output = {"class_queries_logits": class_logits, "masks_queries_logits": mask_logits}
    assert torch.equal(take(output, 3, 2).maps, fold_queries(class_logits, mask_logits))
