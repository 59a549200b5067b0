"""The user's screen: what other libraries warn of, log and count by bars stays off it.

They speak to programmers, in many lines, of what is told here in one or does not matter.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from tqdm import std as bars

OURS = "conceptseg"


QUIET = {"PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
"""Of the environment, what silences processes that are started; what the user has set stays."""


@contextlib.contextmanager
def ours_alone() -> Iterator[None]:
    """Within it no warning and no bar of tqdm is shown, here or in processes that are started, and
    only the loggers of this package are heard. Warnings that a filter turns into errors still are
    errors."""
    heard, counted = logging.Logger.callHandlers, bars.tqdm.__init__

    def hear(self: logging.Logger, record: logging.LogRecord) -> None:
        # A logger has handlers of its own in torch and transformers, made when they are imported:
        # only here all pass.
        if self.name.partition(".")[0] == OURS:
            heard(self, record)

    def count(self: Any, *args: Any, **options: Any) -> None:
        # Each library has a class of its own, and asks for bars in its own way; all begin here. Of
        # one that is off, what comes after the first four (whether it is left) does not count.
        counted(self, *args[:4], **{**options, "disable": True})

    added = QUIET.keys() - os.environ.keys()
    with warnings.catch_warnings():
        warnings.showwarning = lambda *args, **options: None
        logging.Logger.callHandlers = hear  # type: ignore[method-assign]
        bars.tqdm.__init__ = count
        os.environ.update({name: QUIET[name] for name in added})
        try:
            yield
        finally:
            logging.Logger.callHandlers = heard  # type: ignore[method-assign]
            bars.tqdm.__init__ = counted
            for name in added:
                os.environ.pop(name, None)
