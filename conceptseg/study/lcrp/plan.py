"""The steps of an L-CRP study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.study.lcrp.assess import assess
from conceptseg.study.lcrp.background import Background
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, choose, name_channels
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import Control
from conceptseg.study.lcrp.engines import open_engines
from conceptseg.study.lcrp.flip import Flip
from conceptseg.study.lcrp.maps import Maps
from conceptseg.study.lcrp.named import assess_named
from conceptseg.study.lcrp.ranks import Ranks, rank
from conceptseg.study.lcrp.suit import Suit
from conceptseg.study.lcrp.survey import Survey
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.user_masks import open_masks


def steps(study: Lcrp) -> tuple[Step, ...]:
    """Channels are chosen by relevance, and their maps held against shuffled networks'.

    What a run refuses at once is refused by `name_channels`, `open_masks` and `open_engines`.
    """
    return (
        name_channels,
        open_masks,
        open_engines,
        Survey(study),
        choose,
        Maps(study),
        Ranks(study),
        rank,
        Control(study),
        Suit(study),
        Background(study),
        Flip(study),
        assess,
        assess_named,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


COMPARED_CLASSES = 4


def to_compare(study: Lcrp, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of the classes with the most images, the first drawn."""
    chosen = known[CHOSEN_PAIRS]
    order = sorted(chosen.classes, key=lambda c: (-chosen.count[c], c))
    return CHOSEN(tuple((chosen.images[c][0], c) for c in order[:COMPARED_CLASSES]))
