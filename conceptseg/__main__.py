"""`python -m conceptseg`, the same as `conceptseg` and `python -m conceptseg.study`."""

from conceptseg.study.__main__ import console

if __name__ == "__main__":
    console()
