"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.engine.contract import Pass
from conceptseg.study.saliency.choose import Choose
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.saliency.judge import Judge


def passes(study: Saliency) -> Sequence[Pass]:
    return (Choose(study), Judge(study))
