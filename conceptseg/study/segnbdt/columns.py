"""The columns of a SegNBDT result that its tables and its report share."""

from collections.abc import Mapping
from typing import Any

from conceptseg.result.columns import Column
from conceptseg.stats.intervals import ALPHA

AGREEMENT = Column("agreement", "agreement with the network", interval=True, brief="agreement")
MIOU = Column("miou", "mIoU", interval=True)
CHANGE = Column("change", "change of mIoU", interval=True, brief="change")
ACCURACY = Column("accuracy", interval=True)
WRONG = Column(
    "wrong_share", "share of wrong pixels that go wrong here first", interval=True, brief="share"
)
NETWORK_WRONG = Column(
    "network_wrong_share",
    "share of the network's wrong pixels",
    interval=True,
    brief="network's share",
)
HARD = Column("tree_hard", "tree, hard", interval=True)
NETWORK = Column("network", interval=True)
SHARE = Column("share", interval=True)
CALIBRATION = Column("calibration_error", "expected calibration error")
ENTROPY = Column("entropy", "mean entropy (nats)")
EFFECT = Column("effect", "change of margin", interval=True, brief="change of margin")
REMOVED = Column("removed", "change, evidence removed")
BY_CHANCE = Column("by_chance", "change, same shape elsewhere")
DETECTABLE = Column("detectable", "detectable change", of=lambda r: r.test.detectable)
P = Column("p", of=lambda r: r.test.p)
P_HOLM = Column("p_holm", "corrected p", of=lambda r: r.test.adjusted)
_BRANCH = ("node", "question", "branch", "edge")
_TESTED = (EFFECT, DETECTABLE, P, P_HOLM)
GONE = (*_BRANCH, "images", "margin", REMOVED, BY_CHANCE, *_TESTED)
SIZE = Column("size", "size of the change")
ELSEWHERE = Column("elsewhere", "the same, as much filled elsewhere, as near")
PARTS = (*_BRANCH, "part", "images", SIZE, ELSEWHERE, *_TESTED)
"""Those of a change by removal: of evidence, and of a part of the image."""
COLUMNS = (
    AGREEMENT,
    MIOU,
    CHANGE,
    Column("at_boundaries", "agreement at boundaries"),
    Column("iou_network", "IoU, network"),
    Column("iou_hard", "IoU, tree hard"),
    Column("iou_soft", "IoU, tree soft"),
    Column("likeness", "cophenetic correlation with the studied tree"),
    Column("soft_agreement", "agreement, soft"),
)
"""Those of the tables that are shown as they were saved."""
WORDS = {
    "network": "network",
    "soft": "tree, soft",
    "hard": "tree, hard",
    "network, tuned": "tuned network",
    "soft, tuned": "tuned network's tree, soft",
    "hard, tuned": "tuned network's tree, hard",
}
"""Who decides; the last three where a network was tuned."""


KNOWN, CONCEPT = "known context", "concept: "
"""Parts that are no classes: what the data set names, and what a user's concepts begin with."""


def given_first(part: str) -> int:
    """Orders parts: context that is known to matter, then the user's concepts, then classes."""
    return 0 if part == KNOWN else 1 if part.startswith(CONCEPT) else 2


def passed(row: Mapping[str, Any]) -> bool:
    """Whether a change by removal is significant after correction."""
    return row["p_holm"] is not None and row["p_holm"] <= ALPHA
