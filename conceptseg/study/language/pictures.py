"""Pass 2: the objects that stand for words, and what the receiver draws for other words."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import photo
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.language.assess import LANGUAGE, SEEDS, Seed
from conceptseg.study.language.config import Language
from conceptseg.study.language.objects import SPOKEN, Spoken
from conceptseg.study.shared.packed import packed, together
from conceptseg.study.shared.parts import cut_out
from conceptseg.study.shared.sweep import One, Sweep

SHOWN: Key[tuple[tuple[int, int, int], ...]] = Key("words shown", tuple)
"""Place, word, and the row of an object of which it is said."""
EXPLORED: Key[tuple[int, ...]] = Key("objects explored", tuple)
"""Rows of the objects of which words are exchanged."""
PICTURED = Key("words pictured", SampleTable)
DRAWN: Key[dict[int, bytes]] = Key("words drawn", dict)
EXPLORERS = 2


def choose_shown(study: Language, context: Context, known: Known) -> Known:
    """Of each word the surest objects of other images; and one object each of the first classes."""
    one, told = known[SPOKEN], known[SEEDS][0].told[LANGUAGE]
    shown = list[tuple[int, int, int]]()
    for place in range(told.words.shape[1]):
        for word in np.unique(told.words[:, place]).tolist():
            rows = np.flatnonzero(told.words[:, place] == word)
            rows = rows[np.argsort(-told.sure[rows, place], kind="stable")]
            first = list({one.ids[row]: row for row in reversed(rows.tolist())}.values())[::-1]
            shown += [(place, word, row) for row in first[: study.exemplars]]
    judges = [np.flatnonzero(one.judging & (one.class_id == c)) for c in one.classes]
    explored = tuple(int(rows[0]) for rows in judges if len(rows))[:EXPLORERS]
    return SHOWN(tuple(shown)) | EXPLORED(explored)


@dataclass(frozen=True)
class Pictures(Sweep):
    """Each chosen object with its outline."""

    study: Language

    name = "pictures"
    cost = "1 forward per image that is shown"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        rows = {row for *_, row in known[SHOWN]} | set(known[EXPLORED])
        return {known[SPOKEN].ids[row] for row in rows}

    def forwards(self, context: Context) -> float:
        shown = self.study.words * self.study.vocabulary * self.study.exemplars
        return float(min(len(context.manifest.samples), shown))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        objects = known[SPOKEN]
        with torch.no_grad():
            regions = label_map(context.model(one.image))[0].cpu().numpy()
        image, side = one.image[0].float().cpu().numpy(), self.study.picture_px
        rows = sorted({row for *_, row in known[SHOWN]} | set(known[EXPLORED]))
        return packed(
            (
                row,
                cut_out(
                    image, regions == int(objects.class_id[row]), objects.box[row].tolist(), side
                ),
            )
            for row in rows
            if objects.ids[row] == one.id
        )

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together(table))


def masks(one: Spoken, seed: Seed, row: int, side: int) -> dict[tuple[int, int], bytes]:
    """The receiver's mask of an object for each word at each place, as pictures."""
    words, vocabulary = seed.other.shape[1:3]
    grid = round(one.mask.shape[1] ** 0.5)
    return {
        (place, word): photo(
            seed.other[row, place, word].reshape(1, grid, grid).astype(np.float32), side
        )
        for place in range(words)
        for word in range(vocabulary)
    }
