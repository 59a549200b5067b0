"""What is a concern of noise, and what says nothing."""

import pytest

from conceptseg.study.noise.verdict import verdict as noise
from tests.study.verdicts import result


@pytest.mark.parametrize(("last", "beats"), [(0.2, True), (-0.2, False)])
def test_noise_asks_something_else_and_says_whether_its_maps_may_be_read(last, beats):
    rows = [
        {"class": "car", "difference": d, "p_adjusted": p}
        for d, p in ((0.3, 0.01), (last, 0.01), (-0.4, None))  # the last one is not tested
    ]
    found = noise(result("noise", {"visible": 0.5}, against=rows))
    assert found.status == "cannot tell"
    assert ("keeps more of car" in found.sentence) == beats
    assert ("Do not read" in found.advice) != beats
