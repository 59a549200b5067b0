"""Networks whose answer for an image depends on what else is in the batch."""

from torch import nn

_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: nn.InstanceNorm1d,
    nn.BatchNorm2d: nn.InstanceNorm2d,
    nn.BatchNorm3d: nn.InstanceNorm3d,
}


def alone(module: nn.Module) -> str:
    """Let norms without stored statistics take each image's own; what was changed, in words.

    A batch norm without running statistics takes those of the batch in evaluation too, so that an
    image is segmented by what lies beside it. On a batch of one image it is an instance norm, and
    that is what it becomes: the network then answers for each image as it does for that image
    alone. Nothing else is changed; "" where nothing was.
    """
    changed = []
    for name, part in module.named_modules():
        kind = _NORMS.get(type(part))
        if kind is not None and getattr(part, "running_mean", None) is None:
            part.__class__ = kind
            changed.append(name)
    if not changed:
        return ""
    return (
        f"{len(changed)} batch norms without stored statistics (the first is {changed[0]}) take "
        "each image's own, as they do for a batch of one"
    )
