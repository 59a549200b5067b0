"""What is a concern of deepdream, and what says nothing."""

import pytest

from conceptseg.study.deepdream.verdict import verdict as deepdream
from tests.study.verdicts import result


@pytest.mark.parametrize(
    ("p", "low", "status"),
    [(0.01, 0.5, "concern"), (0.01, 0.1, "none shown"), (0.4, 0.5, "none shown"),
     (None, 0.5, "cannot tell")],
)  # fmt: skip
def test_deepdream(p, low, status):
    rows = [{"path": "car is to vanish", "p_holm": p, "low": low}]
    assert deepdream(result("deepdream", outside=rows)).status == status
