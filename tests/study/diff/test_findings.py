"""What diff findings say of a class that owes more or less to a concept."""

import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study.diff.assess import CONCEPTS, MOVED, SHIFTS, Concept, Shift
from conceptseg.study.diff.findings import findings

TEST = Test(0.001, 0.004, 0.001, 0.002, 0.1, 0.025, 30, "images", "holm")


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        (-0.1, 0.4, "less"),  # erasing it now raises IoU, by more than it cost
        (0.4, -0.1, "more"),
        (-0.5, -0.2, "less"),
        (-0.2, -0.6, "more"),
        (-0.2, 0.1, "less"),
    ],
)
def test_what_is_owed_goes_by_the_sign(before, after, how):
    change = Estimate(after - before, after - before - 0.05, after - before + 0.05, 30)
    shift = Shift(0, 0, 30, before, after, change, 3.0, (0.5, 0.5), TEST, True)
    concept = Concept(0, ("road", "road"), 0.5, (0.1, 0.1))
    known = MOVED(()) | SHIFTS((shift,)) | CONCEPTS((concept,))
    (found,) = findings(known, ["tram"], "standard errors over images")
    assert found.plain == f"Tram owes {how} to concept 1 (road) than before."
