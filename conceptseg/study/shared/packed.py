"""Pictures of an image's rows as one table of numbers, which a pass can gather and keep."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from conceptseg.stats.mergeable.sample_table import Tables


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
