"""Everything that the study refuses, before its first step or after its survey."""

import re

import pytest

from conceptseg.study import __main__ as command
from tests.study.refusals import NO_MASKS, refused_alike
from tests.study.test_bad_input import one_line

REFUSALS = [
    ({}, NO_MASKS, "0 of the 6 images have masks, and min_images \\+ donors are 16"),
    ({"min_images": 5, "donors": 5}, {}, "6 of the 6 images have masks, and .* are 10; add masks"),
    ({"context_classes": ["gren"]}, {}, "gren"),
    ({"columns": {"hospital": []}}, {}, "has no column 'hospital'"),
    ({"attribution": "no_such"}, {}, "attribution"),
    ({"donors": 4}, {}, "donors"),
]


@pytest.mark.parametrize(("keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, keys, data, words):
    assert re.search(words, refused_alike(capsys, tmp_path, "audit", keys, data))


COLUMNS = [
    (
        ["known=false", "context_classes=[digit 3]", "min_context=0.6"],
        r"digit 3: 0 images hold it \(on 60.00% of the image or more\) .* are needed as donors",
    ),
    (
        ["margin=60"],
        "images of digit . found 5 donors of either kind, of other groups and in",
    ),
    (["most_lacking=0.5"], "an image would both hold a context and lack it; raise min_context"),
    (["columns={inks: []}"], "has no column 'inks'; did you mean 'ink'"),
    (["columns={texture_0: [brik]}"], "no image has the value 'brik'; did you mean 'brick'"),
    (["columns={glyph: []}"], "values, and 2 to 12 can be taken unnamed; name those to test"),
    (["context_classes=[]", "known=false"], "no context is named"),
    (
        ["context_classes=[digit 3]", "columns={}", "masks={digit 3: '{id}.png'}"],
        "has no root folder",
    ),
    (["min_images=50"], "min_images: 50, but images, which are swapped, is 40"),
    (
        ["context_classes=[digit 3]", "data.classes=[digit 3]", "known=false"],
        "no class can be tested",
    ),
]


@pytest.mark.parametrize(("sets", "words"), COLUMNS)
def test_contexts_that_there_cannot_be(capsys, tmp_path, sets, words):
    keys = [word for one in ("data.manifest=builtin:planted", *sets) for word in ("--set", one)]
    code = command.main(["audit", "--out", str(tmp_path / "out"), "-q", *keys])
    streams = capsys.readouterr()
    assert re.search(words, one_line(code, streams.out, streams.err))
