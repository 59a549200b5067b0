"""What networks return, in all its forms; the query fold against loops."""

from collections import namedtuple
from dataclasses import dataclass
from math import exp, log

import pytest
import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.network.outputs import class_maps, fold_queries

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
        pytest.param([MAPS, MAPS + 1], id="first-of-equals"),
        pytest.param((MAPS, VECTOR), id="with-label"),
        pytest.param((FEATURES, MAPS), id="with-features"),
        pytest.param(({"out": MAPS}, VECTOR), id="dict-in-tuple"),
        pytest.param(Output(None, MAPS), id="dataclass"),
        pytest.param(Named(MAPS, FEATURES), id="namedtuple"),
    ],
)
def test_taken(output):
    assert torch.equal(class_maps(output, classes=3, images=2), MAPS)


def test_one_map_without_its_axis():
    assert class_maps(MAPS[:, 0], classes=2, images=2).shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("output", "named"),
    [
        (VECTOR, r"tensor \[2, 3\]"),
        ({"a": MAPS, "b": COARSE}, "dict with a, b"),
        (None, "NoneType"),
        ((VECTOR, "text"), r"tuple of a tensor \[2, 3\]"),
        (MAPS.argmax(1, keepdim=True), "argmax"),
    ],
)
def test_refused(output, named):
    with pytest.raises(InputError, match=named):
        class_maps(output, classes=3, images=2)


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
    assert torch.equal(class_maps(output, 3, 2), fold_queries(class_logits, mask_logits))
