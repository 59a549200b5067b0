"""Brightness, a study in a page: whether classes are brighter than what lies around them."""

from typing import Literal

from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.engine.contract import Study


@technique(family="example", source="Fisher 1935, section 21, for the test")
class Brightness(Study):
    """Mean brightness inside less that outside of each class's predicted region."""

    min_images: int = Field(6, ge=2, description="Classes in fewer images are left out.")
    unit: Literal["auto", "group", "image"] = Field("auto", description="What tests count.")
