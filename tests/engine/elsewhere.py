"""What other processes are asked to do in tests: apart, for they import all beside it."""

import os

from conceptseg.errors import InputError


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
