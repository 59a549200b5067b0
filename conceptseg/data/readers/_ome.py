"""What an OME-Zarr image says of itself, checked. Source: OME-NGFF 0.4 and 0.5."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError


class Resolution(BaseModel):
    """An array of an OME-Zarr image."""

    path: str


class Axis(BaseModel):
    """An axis as OME-NGFF 0.4 and later have it; of earlier ones it is its name alone."""

    name: str


class Multiscale(BaseModel):
    """What an OME-Zarr image says of itself, as far as it is read; all else may stand beside it."""

    datasets: tuple[Resolution, ...] = Field(min_length=1)
    axes: tuple[Axis | str, ...] | None = None


class Attributes(BaseModel):
    """A group's or an array's attributes, of which an OME-Zarr image's are some."""

    multiscales: tuple[Multiscale, ...] | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """From the file of either format. Raises ValueError for what is no such description."""
        told = content.get("attributes", content)
        told = told.get("ome", told) if isinstance(told, Mapping) else told
        if isinstance(told, Mapping) and not isinstance(told.get("multiscales"), list):
            return cls()  # other conventions have a mapping of that name
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("attributes", *first["loc"])))
            raise ValueError(f"{where}: {first['msg']}") from None
