"""What decides whether a finding counts as evidence, on rows made by hand."""

import pytest

from conceptseg.result.finding import ranked
from conceptseg.study.segnbdt.findings import _fidelity, _pairs, _wrong_nodes

NOTES = {"kind": "x", "null_mean": 0.5, "p_random": 0.6, "random_trees": 199, "groups": 9}
NOTES |= {"unit": "group", "labelled": 1}


def decided(name, change, low, high):
    agreement = {"agreement": 0.5, "agreement_low": 0.4, "agreement_high": 0.6}
    row = {"decided_by": name, "miou": 0.8 + change, "change": change}
    return agreement | row | {"change_low": low, "change_high": high}


def test_a_change_of_miou_is_evidence_by_its_interval_and_not_sorted_last():
    """Without a p it was shown as passed, whatever its interval, and sorted last."""
    rows = [decided("network", 0, 0, 0), decided("tree, hard", -0.3, -0.4, -0.2)]
    rows.append(decided("tree, soft", 0.1, -0.1, 0.3))
    agreement, hard, soft = _fidelity(rows, NOTES)
    assert (agreement.standing, hard.standing, soft.standing) == (
        "no evidence", "evidence", "no evidence"
    )  # fmt: skip
    assert ranked([agreement, soft, hard])[0] is hard
    assert {one.counted for one in (agreement, hard, soft)} == {"9 groups"}


@pytest.mark.parametrize("groups", [4, 5])
def test_a_share_of_wrong_pixels_is_a_description_without_an_interval_of_four_groups(groups):
    share = {"wrong_share": 0.7, "wrong_share_low": 0.6, "wrong_share_high": 0.8}
    row = share | {f"network_{key}": value for key, value in share.items()}
    row |= {"node": 0, "depth": 0, "question": "a | b", "accuracy": 0.9}
    for finding in _wrong_nodes([row], NOTES | {"groups": groups}):
        assert finding.standing == "description" and finding.n == groups
        assert finding.ci == (None if groups == 4 else (0.6, 0.8))


@pytest.mark.parametrize("labelled", [0, 1])
def test_a_wrong_pair_is_the_trees_and_what_the_network_does_stands_beside_it(labelled):
    row = {"true_class": "bus", "decided": "car", "share": 0.3, "share_low": 0.1}
    row |= {"share_high": 0.5, "pixels": 640, "images": 7, "first_wrong_node": 2, "depth": 1}
    (finding,) = _pairs([row | {"pixels_network": 3}], NOTES | {"labelled": labelled})
    assert finding.claim.startswith("The tree takes bus for car: 30% of its wrong pixels (640)")
    assert ("The network itself does so at 3 pixels." in finding.claim) == bool(labelled)
    assert finding.plain == "The tree takes bus for car."


def test_how_often_a_node_goes_wrong_is_told_as_it_is():
    share = {"wrong_share": 0.011, "wrong_share_low": 0.0, "wrong_share_high": 0.03}
    row = share | {f"network_{key}": value for key, value in share.items()}
    row |= {"node": 1, "depth": 0, "question": "a | b", "accuracy": 0.9}
    tree, network = _wrong_nodes([row], NOTES)
    assert tree.plain == "The tree goes wrong at node 1 in 1% of wrong pixels: a | b."
    assert network.plain.startswith("The network goes wrong at node 1 in 1%")
