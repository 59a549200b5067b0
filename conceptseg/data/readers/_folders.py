"""Finds image files by a pattern with the sample's id in it, and their masks."""

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from conceptseg.data.manifest import Sample
from conceptseg.data.places import place_of
from conceptseg.data.readers._files import read_lines, relative, resolve
from conceptseg.data.readers._matching import Matcher
from conceptseg.errors import InputError, nearest
from conceptseg.strict import Strict, one_or_more

_WORD = re.compile(r"\{([A-Za-z_]\w*)\}")


class FolderSpec(Strict):
    """Image and mask files that share their ids."""

    images: Annotated[tuple[str, ...], one_or_more(str)] = Field(
        min_length=1,
        description="Pattern of the image file, such as train/images/{id}.jpg; several patterns "
        "are stacked as channels.",
    )
    masks: str | dict[str, str] | None = Field(
        None,
        description="Pattern of the mask file, or {class: pattern} of one file for each class; "
        "none without masks.",
    )
    group: str | None = Field(
        None, description="Template of the group, such as {patient}, a word of the patterns."
    )
    split: str | None = Field(None, description="Split of these samples.")
    ids: str | None = Field(
        None, description="Text file that lists the ids to take, one a line; all when absent."
    )

    @field_validator("masks", mode="before")
    @classmethod
    def _named(cls, masks: Any) -> Any:
        return check_masks(masks)

    @field_validator("images")
    @classmethod
    def _has_id(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if any("id" not in _WORD.findall(pattern) for pattern in patterns):
            raise ValueError("each pattern needs {id}, for example train/images/{id}.jpg")
        return patterns


def check_masks(masks: Any) -> Any:
    """Masks as given, unless they are a list, which does not say which class each file shows."""
    if isinstance(masks, (list, tuple)):
        raise ValueError(
            "a list does not say which class each mask shows; write {class: file, ...}, with the "
            "names of labels.names"
        )
    return masks


def fill(template: str, words: Mapping[str, Any], where: str) -> str:
    """`template` with each {word} replaced by its value; nothing else in it has a meaning.

    Raises :class:`~conceptseg.errors.InputError` for a word that has no value.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise InputError(
                f"{where}: nothing is called {{{match[1]}}} in {template!r}; "
                f"{nearest(match[1], words)}"
            )
        return str(words[match[1]])

    return _WORD.sub(value, template)


def parts_of(template: str) -> list[str]:
    """A template's literals and the words between them, in turn."""
    return _WORD.split(template)


def find(spec: FolderSpec, root: Path, where: str) -> list[Sample]:
    """The samples of one pattern: in the order of the list of ids, else sorted by path.

    Raises :class:`~conceptseg.errors.InputError` if there is none.
    """
    masks = spec.masks if isinstance(spec.masks, dict) else {"": spec.masks}
    for pattern in (*spec.images, *(pattern for pattern in masks.values() if pattern)):
        relative(pattern, where)
    if spec.ids is not None:
        found = [{"id": name} for name in read_lines(root, spec.ids, where)]
    else:
        found = _matches(root, spec.images[0], where)
        if not found:
            raise InputError(
                f"{where}: no file matches {spec.images[0]!r} below {root}; is the root right "
                "(manifest key root, or --data-root)?"
            )
    samples = [_sample(spec, words, where) for words in found]
    if spec.ids is not None:
        return samples
    # With {id}.png and {id}_mask.png in one folder each mask is named like an image, too.
    drawn = {path for one in samples for path in (one.mask, *(path for _, path in one.masks))}
    return [one for one in samples if one.image[0] not in drawn] or samples


def _sample(spec: FolderSpec, words: Mapping[str, str], where: str) -> Sample:
    images = tuple(relative(fill(pattern, words, where), where) for pattern in spec.images)
    alone, each = (None, spec.masks) if isinstance(spec.masks, dict) else (spec.masks, {})
    return Sample(
        words["id"],
        images,
        mask=relative(fill(alone, words, where), where) if alone else None,
        masks=tuple((name, relative(fill(p, words, where), where)) for name, p in each.items()),
        split=spec.split,
        group=fill(spec.group, words, where) if spec.group else "",
        metadata={word: value for word, value in words.items() if word != "id"},
    )


def _matches(root: Path, pattern: str, where: str) -> list[dict[str, str]]:
    """What the words of a pattern stand for in each file that matches it."""
    parts = _WORD.split(pattern)
    shell = "".join("*" if i % 2 else glob.escape(part) for i, part in enumerate(parts))
    expression, seen = "", set()
    for i, part in enumerate(parts):
        if i % 2 == 0:
            expression += re.escape(part)
        elif part in seen:
            expression += f"(?P={part})"
        else:
            expression += f"(?P<{part}>[^/]+?)"
            seen.add(part)
    if (place := place_of(root)) is not None:
        names = sorted(place.below("/".join(parts[0].split("/")[:-1])))
    else:
        files = sorted(glob.glob(shell, root_dir=resolve(root, Path("."))))
        names = [Path(file).as_posix() for file in files]
    matches = Matcher(rf"{expression}\Z", f"{where}: images {pattern!r}").all(names)
    return [match.groupdict() for match in matches if match is not None]
