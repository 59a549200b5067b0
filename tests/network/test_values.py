"""Numbers that come out of a network: logits, probabilities, independent classes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.network.values import as_logits, judge, last_step, merged, paired, saturated

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


def test_a_constant_tells_nothing_and_counts_as_a_logit():
    assert judge(torch.full((1, 1, 4, 4), 0.5), None).values == "logits"


def test_what_rounding_made_0_or_1_stays_finite_and_is_counted():
    p = torch.tensor([0.0, 0.5, 1.0, 1 - 1e-7]).view(1, 1, 2, 2)
    z = as_logits(p, "probabilities")
    assert z.isfinite().all() and z.flatten().argsort().tolist()[:2] == [0, 1]
    assert saturated(p) == 0.75


def test_the_last_step_is_seen_through_what_only_moves_values():
    assert last_step(Z.sigmoid().permute(0, 1, 3, 2)[:, :2]) == "sigmoid"
    assert last_step(Z.log_softmax(1).unsqueeze(0).squeeze(0)) == "log-softmax"
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
    assert judge(Z, "independent").values == "independent"
