"""Where nothing is there, findings of changes by removal are false in one of twenty data sets."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.segnbdt.findings import evidence_findings, part_findings
from conceptseg.study.segnbdt.removal import Removals, beyond, family


def false_findings(sets, groups, branches=15, each=2):
    """Share of data sets, by family, with a finding although no margin changes beyond chance.

    Changes are heavy-tailed, their size differs between groups, and branches share a part of them.
    """
    rng = np.random.default_rng([groups, branches])
    ids = tuple(f"i{i}" for i in range(groups * each))
    sampling = Sampling(ids, tuple(f"g{i // each}" for i in range(len(ids))), "groups", 0)
    words = {"node": 0, "question": "a | b", "branch": "a", "removed": 0.0, "by_chance": 0.0}
    wrong = np.zeros(2)
    for _ in range(sets):
        scale = rng.exponential(size=groups)
        mean = scale * (rng.normal(size=(branches, groups)) + rng.normal(size=groups))
        values = mean.repeat(each, 1) + rng.normal(size=(branches, len(ids)))
        rows = [words | {"edge": edge, "part": "sky"} for edge in range(branches)]
        changes = [(row, ids, own) for row, own in zip(rows, values, strict=True)]
        seed = int(rng.integers(99))
        gone = family(changes, sampling, "less", seed)
        # Any fill moves margins, here or elsewhere.
        again = scale * (rng.normal(size=(branches, groups)) + rng.normal(size=groups))
        again = again.repeat(each, 1) + rng.normal(size=(branches, len(ids)))
        both = np.stack([3 + values, np.abs(3 + again)], 2)
        parts = beyond(
            [(*one[:2], own) for one, own in zip(changes, both, strict=True)], sampling, seed
        )
        claims = evidence_findings(Removals(gone, ())), part_findings(Removals((), parts))
        wrong += [any(one.standing == "evidence" for one in each) for each in claims]
    return wrong / sets


@pytest.mark.parametrize("groups", [8, 13])
def test_findings_of_removal_are_false_in_one_of_twenty_data_sets(groups):
    sets = 80
    assert (false_findings(sets, groups) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)).all()
