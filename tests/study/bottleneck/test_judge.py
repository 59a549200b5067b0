"""What folds keep whole, whatever it is that intervals and tests count."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.bottleneck.judge import grouped
from conceptseg.study.bottleneck.sections import kept_whole, unseen


@pytest.mark.parametrize(
    ("groups", "unit", "kept", "counted"),
    [
        (10, "image", 10, 30),
        (10, "group", 10, 10),
        (10, "auto", 10, 10),
        (5, "auto", 5, 30),
        (4, "image", 30, 30),
        (4, "auto", 4, 30),
    ],
)
def test_folds_cut_no_group_unless_groups_are_fewer_than_folds(groups, unit, kept, counted):
    manifest = SimpleNamespace(sample=lambda name: SimpleNamespace(group=int(name) % groups))
    study = SimpleNamespace(unit=unit, folds=5, seed=0)
    ids = [str(number) for number in range(30)]
    whole, sampling = grouped(study, SimpleNamespace(manifest=manifest), ids)
    assert len(np.unique(whole)) == kept and sampling.n == counted


def test_the_report_says_what_was_cut():
    cut, whole = ({"fold_groups": count, "manifest_groups": 4} for count in (30, 4))
    assert kept_whole(cut) == "image" and kept_whole(whole) == "group"
    assert unseen(whole) == "saw nothing of its group"
    assert "may have seen others of its group" in unseen(cut)
