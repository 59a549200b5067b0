"""What a run refuses before its first step, the command's `check` refuses with the same words."""

import yaml

from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from tests.study.ace import test_study as scenes
from tests.study.test_bad_input import edit, one_line

NO_MASKS = {"folders": [{"images": "images/{id}.png"}]}
"""A change of the manifest, after which no image has a mask."""


def refused_alike(capsys, folder, study, keys, data=(), images=6):
    """The one line with which run and check of a study refuse `keys` of its file.

    The data are small painted scenes with groups, their manifest changed by the mapping `data`
    (its `labels` aside).
    """
    file = scenes.write_scenes(folder / "files", images)
    if data:
        edit(file, **data)
    content = yaml.safe_load(file.read_text())
    shared = {key: content[key] for key in ("data", "model", "run", "layer") if key in content}
    file.write_text(yaml.safe_dump({**shared, **keys}))
    lines = []
    for verb in ([study, "--out", str(folder / "out")], ["check", "--study", study]):
        code = command.main([*verb, "--config", str(file)])
        streams = capsys.readouterr()
        lines.append(one_line(code, streams.out, streams.err))
    assert lines[0] == lines[1]
    assert not list(folder.rglob(FOLDER)), "a pass was begun"
    return lines[0]
