"""The bench of self tests: studies of the planted benchmark, made ready without any file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from conceptseg import catalogue
from conceptseg.engine.contract import Context, Named, Study
from conceptseg.engine.known import Known
from conceptseg.engine.run import known_after
from conceptseg.engine.start import prepare_each
from conceptseg.study.shared.nulls import SCENES, Selftest

EXACT = {"format": "planted", "scenes": "exact"}


def selftest_of(study: str) -> Selftest:
    """What a study says of its own errors, read from `null.py` in its folder."""
    found: Selftest = import_module(f"conceptseg.study.{study}.null").SELFTEST
    return found


class Planted:
    """The bench on which all self tests run (:class:`conceptseg.study.shared.nulls.Bench`)."""

    def ready(
        self,
        study: str,
        keys: Mapping[str, Any],
        *,
        network: str = "clean",
        scenes: Mapping[str, Any] = SCENES,
        n: int = 120,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
    ) -> tuple[Study, Context]:
        """A study of a planted network on `n` fresh scenes, and what its passes may see."""
        run = {"device": "cpu", "batch_size": 16, "processes": 1, "threads": 1, "workers": 0}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scenes.yaml"
            path.write_text(yaml.safe_dump({**scenes, "name": "selftest", "n": n, "seed": seed}))
            given = {
                "data": {"manifest": str(path), "classes": tuple(classes)},
                "model": {"source": "planted", "name": network, "arguments": dict(arguments or {})},
                "run": run,
                "seed": seed,
                "compare": (),
            }
            made = catalogue.load("study", study)(**{**given, **keys})
            ((own, context),) = prepare_each(made)
        return own, context

    def known_after(
        self, study: Study, context: Context, last: Named, but: Sequence[Named] = ()
    ) -> Known:
        """What is known after the study's steps up to the last, but for some."""
        return known_after(study, context, last, but)
