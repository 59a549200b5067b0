"""A data set as the maker of a part of a pass sees it."""

import copy
from collections.abc import Iterable
from typing import Any

from conceptseg.data.manifest import Manifest, Sample


class _Unseen(tuple[Sample, ...]):
    """Samples that may not be asked for."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError(
            "what is done of a part of the samples may not look at the others: have a step before "
            "the pass find out what it needs to know of them"
        )

    __iter__ = __len__ = __getitem__ = __contains__ = _refuse


def part(manifest: Manifest, samples: Iterable[Sample]) -> Manifest:
    """The data set with these samples, by their ids, and no others.

    Asking it for all samples is an error: what is done of some may not depend on the rest.
    """
    other = copy.copy(manifest)
    vars(other).update(samples=_Unseen(), _by_id={sample.id: sample for sample in samples})
    return other
