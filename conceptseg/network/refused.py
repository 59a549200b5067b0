"""Why a layer cannot be read, in words."""

from conceptseg.errors import InputError


def did_not_run(layer: str, calls: int | None) -> InputError:
    """A pass did not reach the layer, or not the call of it that was asked for."""
    if calls:
        return InputError(f"layer {layer!r}: that module ran only {calls} times in the pass")
    return InputError(
        f"layer {layer!r} did not run in the forward pass (or runs inside TorchScript or a "
        "compiled graph, where it cannot be reached); choose another"
    )


def without_gradients(layer: str) -> InputError:
    """A gradient was asked for that would be zero, whatever the layer does."""
    return InputError(
        f"layer {layer!r}: the network's code runs it without gradients (torch.no_grad, or an "
        "activation checkpointing of its own): switch that off, in model.arguments if it can be, "
        "or choose another layer"
    )
