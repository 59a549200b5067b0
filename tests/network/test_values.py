"""Numbers that come out of a network: logits, probabilities, independent classes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.network.values import (
    as_logits,
    judge,
    judge_again,
    last_step,
    merged,
    paired,
    saturated,
)

Z = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).mul(3).requires_grad_()
ONE = Z[:, :1]


def test_logits_are_taken_as_they_are():
    assert judge(Z, None).values == "logits"
    assert as_logits(Z, "logits") is Z and as_logits(Z, "independent") is Z


@pytest.mark.parametrize(
    "made",
    [
        lambda z: z.softmax(1),
        lambda z: F.interpolate(z.softmax(1), (20, 24), mode="bilinear"),
        lambda z: z.softmax(1).detach(),  # the sum alone tells
        lambda z: nn.Softmax2d()(z).clone().contiguous()[:, :, :-1],
    ],
)
def test_a_softmax_inside_is_undone(made):
    p = made(Z)
    assert judge(p, None).values == "probabilities"
    torch.testing.assert_close(as_logits(p, "probabilities").softmax(1), p)


@pytest.mark.parametrize(
    "made",
    [
        lambda z: z.sigmoid(),
        lambda z: F.interpolate(z.sigmoid(), scale_factor=3, mode="bicubic").clamp(0, 1),
        lambda z: nn.Sequential(nn.Sigmoid(), nn.Flatten(2), nn.Unflatten(2, (5, 6)))(z),
        lambda z: F.hardsigmoid(z / 4),
    ],
)
def test_a_sigmoid_at_the_end_of_one_map_is_undone(made):
    p = made(ONE)
    assert judge(p, None).values == "probabilities"
    torch.testing.assert_close(as_logits(p, "probabilities").sigmoid(), p, atol=1e-6, rtol=1e-5)


def test_one_map_between_0_and_1_is_refused_where_nothing_tells_what_made_it():
    with pytest.raises(InputError, match="from 0.* to .*model.values: probabilities .*or logits"):
        judge(ONE.sigmoid().detach(), None)
    with pytest.raises(InputError, match="model.values"):
        judge(0.5 * (ONE / 2).tanh() + 0.5, None)
    assert judge(ONE.sigmoid().detach(), "logits").values == "logits"


def test_sigmoids_of_several_classes_are_refused_until_it_is_said_what_they_are():
    p = Z.sigmoid()
    with pytest.raises(InputError, match="3 classes and come from a sigmoid.*independent_prob"):
        judge(p, None)
    assert judge(p, "independent_probabilities").values == "independent_probabilities"
    torch.testing.assert_close(as_logits(p, "independent_probabilities"), Z, atol=1e-4, rtol=1e-4)
    # Of classes of which a pixel has one, the largest wins, and shares add to 1.
    shares = as_logits(p, "probabilities").softmax(1)
    torch.testing.assert_close(shares, p / p.sum(1, keepdim=True))


@pytest.mark.parametrize("wanted", ["probabilities", "independent_probabilities"])
def test_what_the_numbers_cannot_be_is_refused(wanted):
    with pytest.raises(InputError, match=f"model.values is {wanted}, but .* from -"):
        judge(Z, wanted)


def flat(*numbers):
    return torch.tensor(numbers).view(1, -1, 1, 1).expand(1, len(numbers), 4, 4)


def test_a_constant_tells_nothing_and_counts_as_a_logit_until_one_does():
    found = judge(flat(0.5), None)
    assert found.values == "logits" and "tells nothing" in found.evidence
    assert judge_again(found, flat(0.5)) == found
    sure = judge_again(found, ONE)
    assert (sure.values, sure.constant) == ("logits", ()) and judge_again(sure, flat(0.5)) is sure
    for further in (ONE.sigmoid(), flat(0.25)):
        with pytest.raises(InputError, match="a logit, or a probability already"):
            judge_again(found, further)
    with pytest.raises(InputError, match="sum to 1 over the 3 classes: give model.values"):
        judge_again(judge(flat(0.0, 0.0, 0.0), None), Z.softmax(1))


@pytest.mark.parametrize("number", [0.0, 0.3, 1.0])
def test_a_constant_of_a_known_step_is_told_by_it(number):
    for step, like in ((torch.sigmoid, torch.logit), (F.hardsigmoid, lambda p: 6 * p - 3)):
        made = step(like(flat(number).clone()).requires_grad_())
        assert judge(made, None).values == "probabilities"
    with pytest.raises(InputError, match="come from a sigmoid"):
        judge(flat(number, number, number).logit().requires_grad_().sigmoid(), None)


def test_constants_that_sum_to_1_are_held_to_it():
    found = judge(flat(1.0, 0.0, 0.0), None)
    assert found.values == "probabilities" and found.constant == (1, 0, 0)
    assert judge_again(found, Z.softmax(1)).constant == ()
    with pytest.raises(InputError, match="logits, it seems; but .* like probabilities.*model.val"):
        judge_again(found, Z)


@pytest.mark.parametrize(
    "made", [F.logsigmoid, lambda z: z.sigmoid().log(), lambda z: (z.sigmoid() + 1e-9).log()]
)
def test_a_log_sigmoid_is_undone(made):
    found = judge(made(ONE), None)
    assert (found.values, found.logs) == ("probabilities", True)
    torch.testing.assert_close(as_logits(made(ONE), "probabilities", True), ONE, atol=1e-3, rtol=0)
    several = made(Z)
    with pytest.raises(InputError, match="log-sigmoid .* of 3 classes: give model.values"):
        judge(several, None)
    own = judge(several, "independent")
    assert own.logs and not judge(several, "logits").logs
    torch.testing.assert_close(as_logits(several, own.values, own.logs), Z, atol=1e-3, rtol=0)
    for wanted in ("logits", "probabilities"):
        with pytest.raises(InputError, match="leave the key out"):
            judge(made(ONE), wanted)


def test_a_saturated_log_sigmoid_stays_finite():
    z = torch.tensor([-200.0, 0.0, 200.0]).view(1, 1, 1, 3).requires_grad_()
    logits = as_logits(F.logsigmoid(z), "probabilities", True)
    assert logits.isfinite().all() and logits.flatten().sign().tolist() == [-1, 0, 1]
    (gradient,) = torch.autograd.grad(logits.sum(), z)
    assert gradient.isfinite().all()


def test_what_rounding_made_0_or_1_stays_finite_and_is_counted():
    p = torch.tensor([0.0, 0.5, 1.0, 1 - 1e-7]).view(1, 1, 2, 2)
    z = as_logits(p, "probabilities")
    assert z.isfinite().all() and z.flatten().argsort().tolist()[:2] == [0, 1]
    assert saturated(p) == 0.75


def test_the_last_step_is_seen_through_what_only_moves_values():
    assert last_step(Z.sigmoid().permute(0, 1, 3, 2)[:, :2]) == "sigmoid"
    assert last_step(Z.log_softmax(1).unsqueeze(0).squeeze(0)) == "log-softmax"
    assert last_step(Z.softmax(1).clamp(min=1e-6).log()) == "log-softmax"
    assert last_step(Z.exp().log()) is None and last_step(Z.log_softmax(1).log()) is None
    assert last_step(Z.sigmoid() + 1) is None
    assert last_step(Z.sigmoid() * 2) is None
    assert last_step(Z.detach()) is None


def test_merged_classes_have_the_sum_of_their_probabilities():
    p = Z.softmax(1)
    kept = merged(Z, ((0, 2), (1,))).softmax(1)
    torch.testing.assert_close(kept, torch.stack((p[:, 0] + p[:, 2], p[:, 1]), 1))
    # Of what is left where one is dropped, each keeps its odds.
    torch.testing.assert_close(merged(Z, ((2,), (0,))), Z[:, [2, 0]])


def test_a_pair_has_the_sigmoid_as_its_softmax():
    torch.testing.assert_close(paired(ONE).softmax(1)[:, 1:], ONE.sigmoid())
    torch.testing.assert_close(paired(ONE, first=True).softmax(1)[:, :1], ONE.sigmoid())


def test_logits_are_no_probabilities_of_independent_classes():
    with pytest.raises(InputError, match="ends in a sigmoid .*give independent_probabilities"):
        judge(Z.sigmoid(), "independent")
    with pytest.raises(InputError, match="ends in a log-softmax .*give logits"):
        judge(Z.log_softmax(1), "independent")
    assert judge(Z, "independent").values == "independent"
