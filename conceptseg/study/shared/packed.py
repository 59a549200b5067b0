"""Pictures of an image's rows as one table of numbers, which a pass can gather and keep."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from conceptseg.stats.mergeable.sample_table import SampleTable, Tables


def packed(pictures: Iterable[tuple[int, bytes]]) -> Tables:
    """Encoded pictures by row, one behind the other; :func:`unpacked` takes them apart."""
    each = list(pictures)
    return {
        "row": np.array([row for row, _ in each], np.int64),
        "ends": np.cumsum([0, *(len(data) for _, data in each)], dtype=np.int64),
        "data": np.frombuffer(b"".join(data for _, data in each), np.uint8),
    }


def unpacked(table: Mapping[str, np.ndarray]) -> Iterator[tuple[int, bytes]]:
    """The pictures of :func:`packed`, by row."""
    ends = table["ends"].tolist()
    for row, start, stop in zip(table["row"].tolist(), ends, ends[1:], strict=False):
        yield row, table["data"][start:stop].tobytes()


def together(table: SampleTable) -> dict[int, bytes]:
    """The pictures of all images by row, in the order of rows."""
    found = dict(one for own in table.tables.values() for one in unpacked(own))
    return dict(sorted(found.items()))


def packed_by_name(pictures: Sequence[tuple[str, bytes]]) -> Tables:
    """Encoded pictures by name; :func:`together_by_name` takes them apart."""
    made = packed((row, data) for row, (_, data) in enumerate(pictures))
    names = "\n".join(name for name, _ in pictures).encode()
    return {**made, "names": np.frombuffer(names, np.uint8)}


def together_by_name(table: SampleTable) -> dict[str, bytes]:
    """The pictures of all images by name, in the order of names."""
    found = dict[str, bytes]()
    for name in table.ids:
        own = table.tables[name]
        keys = own["names"].tobytes().decode().split("\n")
        found |= {keys[row]: data for row, data in unpacked(own)}
    return dict(sorted(found.items()))
