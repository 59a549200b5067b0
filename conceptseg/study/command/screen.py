"""The user's screen: what other libraries warn of and log stays off it.

They speak to programmers, in many lines, of what is told here in one or does not matter.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

OURS = "conceptseg"


@contextlib.contextmanager
def ours_alone() -> Iterator[None]:
    """Within it no warning is shown, here or in processes that are started, and only the loggers of
    this package are heard. Warnings that a filter turns into errors still are errors."""
    heard = logging.Logger.callHandlers

    def hear(self: logging.Logger, record: logging.LogRecord) -> None:
        # A logger has handlers of its own in torch and transformers, made when they are imported:
        # only here all pass.
        if self.name.partition(".")[0] == OURS:
            heard(self, record)

    given = os.environ.get("PYTHONWARNINGS")
    with warnings.catch_warnings():
        warnings.showwarning = lambda *args, **options: None
        logging.Logger.callHandlers = hear  # type: ignore[method-assign]
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        try:
            yield
        finally:
            logging.Logger.callHandlers = heard  # type: ignore[method-assign]
            if given is None:
                os.environ.pop("PYTHONWARNINGS", None)
