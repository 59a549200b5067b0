"""What an examination found of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at, what was found, and for a doubt the key that settles it."""

    what: str
    found: str
    doubt: bool = False
