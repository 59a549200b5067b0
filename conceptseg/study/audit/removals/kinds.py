"""All kinds, each in its file beside this one."""

from conceptseg.study.audit.removals.channels import Channels
from conceptseg.study.audit.removals.concept import Concept
from conceptseg.study.audit.removals.contract import Kind
from conceptseg.study.audit.removals.direction import Difference

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Difference(), Concept(), Channels())}
"""By name, in the order of the tables."""
