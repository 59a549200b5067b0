"""What is a concern of segnbdt, and what says nothing."""

import pytest

from conceptseg.study.segnbdt.verdict import verdict as segnbdt
from tests.study.verdicts import result


@pytest.mark.parametrize(
    ("p", "agreement", "moved", "status"),
    [
        (0.5, 0.99, True, "cannot tell"),
        (0.01, 0.5, True, "cannot tell"),
        (0.01, 0.99, True, "concern"),
        (0.01, 0.99, False, "none shown"),
    ],
)
def test_a_tree_no_better_than_random_is_not_to_be_read(p, agreement, moved, status):
    from conceptseg.study.segnbdt.columns import KNOWN

    fidelity = [{"decided_by": "tree, hard", "agreement": agreement}]
    parts = [{"part": KNOWN, "branch": "car", "p_holm": 0.01 if moved else 0.4}]
    found = segnbdt(result("segnbdt", {"p_random": p}, fidelity=fidelity, parts=parts))
    assert found.status == status
    if status == "none shown":
        for rows, why in (([], "names none"), ([{**parts[0], "p_holm": None}], "be tested")):
            unasked = segnbdt(result("segnbdt", {"p_random": p}, fidelity=fidelity, parts=rows))
            assert unasked.status == "cannot tell" and why in unasked.sentence
