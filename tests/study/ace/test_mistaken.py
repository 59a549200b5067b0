"""What is said to lie under ACE's concepts where mistakes lie on them."""

from types import SimpleNamespace

import numpy as np

from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.mistaken import FoundConcepts
from tests.study.ace.small import concept, direction, discovery, study


def test_what_lies_under_a_number_is_said_and_under_a_users_own_mask_is_not():
    along = direction([1.0, 0.0], 0.0)
    truth = np.array([[0.7, 0.3], [0.9, 0.1], [0.0, 1.0]], np.float32)
    found = discovery(
        3,
        2,
        2,
        truth=truth,
        concepts=(concept(1, [0, 1], along), concept(2, [2], along, label="text")),
    )
    asked, known = FoundConcepts.of(study()), DISCOVERY(found)
    context = SimpleNamespace(model=SimpleNamespace(classes=("sky", "road")))
    assert asked.names(known) == ("concept 1", "text")
    assert asked.lie_on(context, known) == ("sky (80%), road (20%)", "")
