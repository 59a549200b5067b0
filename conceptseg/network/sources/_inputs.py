"""What networks of transformers are given besides an image: OneFormer its task, others nothing."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import nn

from conceptseg.errors import InputError

TASKS = ("semantic", "instance", "panoptic")


def takes_images(module: nn.Module, what: str) -> None:
    """Refuse a network whose forward needs more than `pixel_values` [n, c, h, w].

    Raises :class:`~conceptseg.errors.InputError` naming what it takes.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    first, *others = (p.name for p in parameters)
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    more = [name for name in needed if name not in ("pixel_values", *_given(module))]
    if first == "pixel_values" and not more:
        return
    told = f"needs {' and '.join(more)} as well" if more else f"takes {first}"
    raise InputError(
        f"model.name: {what} is no network of images alone: its forward {told}; wrap it in a "
        "module that is called with pixel_values and adds the rest (source: factory)"
    )


def _given(module: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, _ in module.named_buffers(recurse=False) if name == "task_inputs")


def split_task(model_type: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """`arguments` for the constructor, and of OneFormer the `task` and `task_inputs` among them.

    OneFormer is built without its text branch, which only training needs.

    Raises :class:`~conceptseg.errors.InputError` for an unknown task.
    """
    if model_type != "oneformer":
        return arguments, None, None
    rest = {"is_training": False, **arguments}
    task, ids = rest.pop("task", "semantic"), rest.pop("task_inputs", None)
    if task not in TASKS:
        raise InputError(f"model.arguments.task: {task!r} is none of {', '.join(TASKS)}")
    if rest["is_training"]:
        raise InputError(
            "model.arguments.is_training: OneFormer wants texts while it is trained; leave the key "
            "out"
        )
    return rest, task, ids


def task_tokens(source: str, task: str) -> list[int]:
    """Token ids of "the task is ..." by the tokenizer that lies beside OneFormer's weights.

    As OneFormer's own processor makes them: padded to its `task_seq_length`, the padding 0.

    Raises :class:`~conceptseg.errors.InputError` where there is no tokenizer.
    """
    try:
        processor: Any = transformers.OneFormerProcessor.from_pretrained(source)
        found = processor._preprocess_text([f"the task is {task}"], processor.task_seq_length)
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model.weights: {source} has no processor that tells OneFormer its task "
            f"({text[:160]}); save its processor there, or give the token ids in "
            "model.arguments.task_inputs"
        ) from error
    return [int(one) for one in found[0]]


def give_task(module: nn.Module, ids: Sequence[int]) -> None:
    """Have a OneFormer called with these token ids beside every image; layers keep their names.

    Raises :class:`~conceptseg.errors.InputError` for another number of ids than it takes.
    """
    settings: Any = module.config
    length = settings.task_seq_len
    given = ids if isinstance(ids, (list, tuple)) else [ids]
    if len(given) != length or not all(type(one) is int for one in given):
        raise InputError(
            f"model.arguments.task_inputs: OneFormer is told its task by {length} token ids "
            f"(task_seq_len), got {len(given)} values; they are what its processor returns as "
            "task_inputs"
        )
    # Of its state, so that it moves along and counts for the fingerprint, but of no checkpoint.
    module.register_buffer("task_inputs", torch.tensor([given]), persistent=False)
    module.register_forward_pre_hook(_with_task, with_kwargs=True)


def _with_task(module: Any, args: Any, kwargs: Any) -> Any:
    images = args[0] if args else kwargs["pixel_values"]
    return args, {"task_inputs": module.task_inputs.expand(len(images), -1), **kwargs}
