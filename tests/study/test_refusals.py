"""What a run refuses before its first pass, the command's `check` refuses with the same words."""

import re

import pytest
import yaml

from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from tests.study.ace import test_study
from tests.study.test_bad_input import edit, one_line

NO_MASKS = {"folders": [{"images": "images/{id}.png"}]}
REFUSALS = [
    ("ace", {"target": {"region": "labelled"}}, NO_MASKS, "target.region 'labelled' is told from"),
    ("ability", {}, NO_MASKS, "0 of the 6 images have masks"),
    ("ability", {"layers": ["boddy"]}, {}, "'boddy'.* did you mean 'body'"),
    ("ace", {"compare": ["seg_grad_camp"]}, {}, "unknown explainer 'seg_grad_camp'"),
    ("ability", {"compare": [{"kind": "seg_grad_cam", "layer": "boddy"}]}, {}, "'boddy'"),
    ("segnbdt", {"hierarchy": "given"}, {}, "tells 3 classes apart"),
    ("saliency", {"metrics": ["deletions"]}, {}, "unknown metric 'deletions'"),
]
"""Study, keys of its file, changes of the manifest (`labels` aside), and what is said."""


@pytest.mark.parametrize(("study", "keys", "data", "words"), REFUSALS)
def test_check_and_run_refuse_alike(capsys, tmp_path, monkeypatch, study, keys, data, words):
    monkeypatch.chdir(tmp_path)
    file = test_study.write_scenes(tmp_path / "files", 6)
    if data:
        edit(file, **data)
    content = yaml.safe_load(file.read_text())
    shared = {key: content[key] for key in ("data", "model", "run", "layer") if key in content}
    file.write_text(yaml.safe_dump({**shared, **keys}))
    lines = []
    for verb in ([study, "--out", "out"], ["check", "--study", study]):
        code = command.main([*verb, "--config", str(file)])
        streams = capsys.readouterr()
        lines.append(one_line(code, streams.out, streams.err))
    assert lines[0] == lines[1]
    assert re.search(words, lines[0])
    assert not list(tmp_path.rglob(FOLDER))
