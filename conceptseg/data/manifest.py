"""A data set as the studies see it: samples by id, images in [0, 1], labels with -1 for ignored.

A :class:`Manifest` names the samples and knows how to read each; a reader (a file of
`conceptseg/readers`) makes it from a YAML file. Pixels are read when asked for and never kept.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.data.cache import Decoded
from conceptseg.data.draw import lowest
from conceptseg.data.hashed import gathered
from conceptseg.data.labels import Colour, LabelBlock, wrong_names
from conceptseg.data.listed import Listed, listed
from conceptseg.data.reads import record_read
from conceptseg.data.sample import Sample
from conceptseg.errors import InputError, check_manifest, nearest

BUILTIN = "builtin:"
"""Prefix of manifests that need no file, such as `builtin:planted`."""
NEAR = 10_000
"""Ids among which one is looked for that is like an unknown one."""


class Source(ABC):
    """Where a manifest's pixels come from. Keeps no pixels."""

    @abstractmethod
    def image(self, sample: Sample) -> np.ndarray:
        """float32 [c, h, w] in [0, 1]."""

    @abstractmethod
    def labels(self, sample: Sample) -> np.ndarray | None:
        """int64 [h, w]; None when the sample has no mask."""

    def pair(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        """Both of them; where they come from one file it is read once."""
        return self.image(sample), self.labels(sample)

    @abstractmethod
    def labelled(self, sample: Sample) -> bool:
        """Whether the sample has labels."""

    def labelled_each(self, samples: Sequence[Sample]) -> np.ndarray:
        """The same of each: bool [n]."""
        return np.fromiter(map(self.labelled, samples), bool, len(samples))

    @abstractmethod
    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of the image, in pixels, without reading it whole where possible."""

    def context(self, sample: Sample) -> np.ndarray | None:
        """bool [h, w]: surroundings that are known to matter to a class; None if none are."""
        return None

    def orientation(self, sample: Sample) -> int:
        """EXIF's orientation by which the image is turned, 1 to 8; 1 if it is not."""
        return 1

    def as_shown(self, sample: Sample, drawn: np.ndarray) -> np.ndarray:
        """[h, w, ...] drawn for a sample, turned with its image if the source's rules say so."""
        return drawn

    def spacing(self, sample: Sample) -> tuple[float, float] | None:
        """Height and width of a pixel in mm, where the file tells."""
        return None

    def alone(self, names: frozenset[str]) -> Source:
        """Labelled as if only these classes were drawn; itself, if a pixel holds but one."""
        return self

    @abstractmethod
    def stamp(self, sample: Sample) -> Any:
        """What tells, without opening a file, whether pixels or labels are those of another time.

        Plain data: of files below the root their names, sizes and times of modification, of what
        is drawn its recipe. Where the root lies does not matter. Raises
        :class:`~conceptseg.errors.InputError` for a file that is missing or outside the root.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """How pixels are read, as plain data."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The samples of a data set, the meaning of their labels, and how they are read.

    `where` is the file it was read from, for messages; `left` counts the samples that a study
    leaves out because it keeps something of each; `cache` keeps what was decoded. Raises
    :class:`~conceptseg.errors.InputError` for no samples, repeated ids, and ids that cannot be a
    file's name; for a name, of the data set or of a class, that does not print, and two classes of
    one name.
    """

    name: str
    block: LabelBlock
    channels: int
    samples: Sequence[Sample]
    source: Source = field(repr=False)
    root: Path | None = None
    where: str = "manifest"
    left: int = 0
    cache: Decoded | None = field(default=None, repr=False)
    _checked: Sequence[Sample] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.samples:
            raise InputError(f"{self.where}: the data set is empty; it names no sample")
        if wrong := wrong_names(self.block.names):
            raise InputError(f"{self.where}: {wrong}")
        if not self.name.isprintable():
            raise InputError(
                f"{self.where}: the name {self.name!r} holds characters that do not print; give "
                "another by the key name"
            )
        if self._checked is not self.samples:
            self._listed.check(self.where)
            object.__setattr__(self, "_checked", self.samples)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""
        return self.block.names

    @property
    def colours(self) -> tuple[Colour, ...] | None:
        """One RGB colour (0 to 255) per class, where the manifest gives them."""
        return self.block.colours

    @property
    def background(self) -> str | None:
        """The name of the class that stands for "nothing in particular", if there is one."""
        return self.block.background

    @property
    def _listed(self) -> Listed:
        return listed(self.samples)

    @property
    def ids(self) -> Sequence[str]:
        """Each sample's id, in order."""
        return self._listed.ids

    @property
    def groups(self) -> Sequence[str]:
        """Each sample's group, in order."""
        return self._listed.groups

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that samples belong to, in order of appearance."""
        return self._listed.splits

    @property
    def metadata(self) -> tuple[str, ...]:
        """Names of the free columns that samples have, in order of appearance."""
        return self._listed.metadata

    @property
    def any_labelled(self) -> bool:
        """Whether some sample has labels; nothing is read."""
        return bool(self.source.labelled_each(self.samples).any())

    def labelled_samples(self) -> Sequence[Sample]:
        """The samples that have labels, in order; nothing is read."""
        labelled = self.labelled_each()
        return self.samples if labelled.all() else self._listed.take(np.flatnonzero(labelled))

    def labelled_each(self) -> np.ndarray:
        """Which samples have labels, bool [n]; nothing is read."""
        return self.source.labelled_each(self.samples)

    def named(self, ids: Iterable[str]) -> Sequence[Sample]:
        """The samples with these ids, in the manifest's order; unknown ids are passed over."""
        return self._listed.take(self._listed.rows(ids))

    def sample(self, sample_id: str) -> Sample:
        """The sample of an id. Raises :class:`~conceptseg.errors.InputError` if there is none."""
        found = self._by_id.get(sample_id)
        if found is None:
            near = nearest(sample_id, islice(self._by_id, NEAR))
            raise InputError(f"{self.where}: no sample {sample_id!r}; {near}")
        return found

    @cached_property
    def _by_id(self) -> Mapping[str, Sample]:
        return self._listed.by_id()

    def size(self, sample: Sample) -> tuple[int, int]:
        """Height and width of a sample's image, in pixels."""
        return self.source.size(sample)

    def labelled(self, sample: Sample) -> bool:
        """Whether a sample has labels; nothing is read."""
        return self.source.labelled(sample)

    def image(self, sample: Sample) -> np.ndarray:
        """A sample's image: float32 [c, h, w] in [0, 1]."""
        return self._pixels(sample, False)[0]

    def labels(self, sample: Sample) -> np.ndarray | None:
        """A sample's labels: int64 [h, w], :data:`IGNORE` where ignored; None without a mask."""
        with gathered() as files:
            labels = self.source.labels(sample)
        record_read(sample, self.root, files, labels=labels)
        if labels is not None:
            self._check_size(sample, labels.shape, self.size(sample))
        return labels

    def context(self, sample: Sample) -> np.ndarray | None:
        """Where a sample's known context lies, bool [h, w]; None where nothing is known."""
        return self.source.context(sample)

    def pair(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        """`image` and `labels` of a sample, known to be of one size."""
        image, labels = self._pixels(sample, True)
        if labels is not None:
            self._check_size(sample, labels.shape, image.shape[1:])
        return image, labels

    def _pixels(self, sample: Sample, labelled: bool) -> tuple[np.ndarray, np.ndarray | None]:
        def decode() -> tuple[np.ndarray, np.ndarray | None]:
            with gathered() as files:
                read = self.source.pair if labelled else lambda one: (self.source.image(one), None)
                image, labels = read(sample)
            record_read(sample, self.root, files, image, labels)
            return image, labels

        if self.cache is None:
            return decode()
        stamp = partial(self.source.stamp, sample)
        return self.cache.read(sample, labelled, self.root, stamp, decode)

    def _check_size(self, sample: Sample, mask: Sequence[int], image: Sequence[int]) -> None:
        if tuple(mask) == tuple(image):
            return
        turned = (
            "; if the mask was drawn on pixels as stored, before an EXIF orientation turned "
            "them, set orientation: apply_to_masks (or ignore, which turns neither)"
            if tuple(mask) == tuple(image)[::-1]
            else "; mask and image must have one size"
        )
        drawn = sample.mask or (sample.masks[0][1] if sample.masks else sample.id)
        raise InputError(
            f"{drawn}: the mask is {mask[0]} x {mask[1]} pixels (h x w), its image "
            f"{' + '.join(map(str, sample.image)) or sample.id} is {image[0]} x {image[1]}"
            f"{turned}"
        )

    def alone(self, names: Iterable[str]) -> Manifest:
        """Labelled as if nothing but some classes were drawn; the rows stay the same."""
        cache = None if self.cache is None else Decoded(self.cache.room)
        return dataclasses.replace(self, source=self.source.alone(frozenset(names)), cache=cache)

    def select(
        self,
        *,
        split: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        ids: Iterable[str] | None = None,
    ) -> Manifest:
        """The samples of a split, with these ids, at most `limit`; in the manifest's order.

        `limit` keeps the samples of lowest :func:`sample_priority`, so the draw does not depend
        on how samples are ordered, and a larger limit adds to a smaller one.

        Raises :class:`~conceptseg.errors.InputError` for an unknown split or id, and when nothing
        is left.
        """
        table = self._listed
        rows = np.arange(len(self.samples))
        if split is not None:
            if split not in self.splits:
                raise InputError(f"{self.where}: no split {split!r}; {nearest(split, self.splits)}")
            rows = np.flatnonzero(table.in_split(split))
        if ids is not None:
            wanted = [self.sample(name).id for name in ids]
            rows = np.intersect1d(rows, table.rows(wanted), assume_unique=True)
        if limit is not None and limit < len(rows):
            rows = rows[lowest(seed, listed(table.take(rows)).ids, limit)]
        if not len(rows):
            raise InputError(
                f"{self.where}: the selection is empty (split {split}, limit {limit}, ids "
                f"{'given' if ids is not None else 'not given'}); widen it"
            )
        if len(rows) == len(self.samples):
            return self
        samples = table.take(rows)
        return dataclasses.replace(self, samples=samples, _checked=samples)


def load_manifest(path: Path | str, root_override: Path | None = None) -> Manifest:
    """The manifest in a YAML file, or `builtin:planted`, which needs no file.

    The key `format` names a file of `conceptseg/readers` (`native` when absent). `root_override`
    takes the place of the manifest's `root`.

    Raises :class:`~conceptseg.errors.InputError` for anything wrong with the file or its keys.
    """
    from conceptseg import catalogue
    from conceptseg.settings import read_yaml

    path = Path(path)
    if path.name.startswith(BUILTIN):
        name = path.name.removeprefix(BUILTIN)
        if name != "planted":
            raise InputError(f"{path.name}: no such built-in data set; known are: {BUILTIN}planted")
        return catalogue.load("readers", name)(Path(path.name), {}, root_override)
    spec = read_yaml(path)
    check_manifest(spec, path)
    kind = spec.pop("format", "native")
    known = catalogue.names("readers")
    if kind not in known:
        raise InputError(f"{path}: no reader for format {kind!r}; {nearest(str(kind), known)}")
    return catalogue.load("readers", kind)(path, spec, root_override)


def problems(manifest: Manifest) -> Iterator[str | None]:
    """Opens every image and mask; for each sample, in order, what is wrong with it, or None."""
    for sample in manifest.samples:
        try:
            manifest.pair(sample)
        except InputError as error:
            yield str(error)
        else:
            yield None


def check_files(manifest: Manifest) -> list[str]:
    """Opens every image and mask; one line for each sample that cannot be used."""
    return [problem for problem in problems(manifest) if problem is not None]


Reader = Callable[["Path", Mapping[str, Any], "Path | None"], "Manifest"]
"""Manifest file, its keys without `format`, and the root that overrides its own."""
