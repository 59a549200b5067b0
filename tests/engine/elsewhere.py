"""What other processes are asked to do in tests: apart, for they import all beside it."""

import os
import time
from pathlib import Path

from conceptseg.errors import InputError
from tests.strange_models import Plain


def place(shared, number):
    return number, len(shared), os.getpid(), os.environ.get("CONCEPTSEG_DEVICE")


def die(number):
    os._exit(9)


def counted(shared, number):
    shared.append(number)
    return os.getpid(), len(shared), shared[0]


class Unreadable:
    """Its making, in the other process, meets something that the user can cure."""

    def __reduce__(self):
        return refuse, ("weights.pth: no such file",)


def refuse(text):
    raise InputError(text)


def die_once(folder, rows):
    """Ended from outside the first time that it is asked."""
    try:
        Path(folder, rows[0].id).touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os._exit(9)


def advancing(folder, number):
    """Six images, one after the other; ended from outside at the fourth, the first time."""
    from conceptseg.engine.base import ADVANCE

    for image in range(6):
        ADVANCE.get()(1)
        time.sleep(0.8)
        if image == 3:
            try:
                Path(folder, str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os._exit(9)
    return 6


def full(error, rows):
    raise error


def die_with(rows):
    os._exit(9)


def too_much():
    raise MemoryError("no room")


class Slow(Plain):
    """The plain network, `pause` seconds later."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.pause = pause

    def forward(self, x):
        time.sleep(self.pause)
        return super().forward(x)
