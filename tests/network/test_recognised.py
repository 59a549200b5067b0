"""What weights tell of the network that they are of: read back from networks that were made."""

import pytest
import segmentation_models_pytorch as smp
import torch

from conceptseg.errors import InputError
from conceptseg.network.recognised import recognise, without_prefix


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Unet", {"encoder_name": "resnet18", "in_channels": 4, "classes": 3}),
        ("Unet", {"encoder_name": "resnet18", "decoder_attention_type": "scse", "classes": 2}),
        (
            "Unet",
            {
                "encoder_name": "mobilenet_v2",
                "encoder_depth": 4,
                "decoder_channels": [64, 32, 16, 8],
            },
        ),
        ("FPN", {"encoder_name": "resnet34", "in_channels": 1, "classes": 5}),
    ],
)
def test_an_architecture_is_built_again(name, arguments):
    network = getattr(smp, name)(encoder_weights=None, **arguments)
    state = {f"model.{key}": one for key, one in network.state_dict().items()}
    found = recognise("smp", name, {"state_dict": state, "": {"step": torch.zeros(1)}})
    assert found.channels == arguments.get("in_channels", 3)
    assert found.outputs == arguments.get("classes", 1)
    again = getattr(smp, name)(
        encoder_weights=None, **{"classes": found.outputs, **found.arguments}
    )
    again.load_state_dict(network.state_dict())  # all keys and shapes


def test_what_is_of_no_encoder_is_left_open():
    plain = torch.nn.Sequential(torch.nn.Conv2d(5, 8, 3), torch.nn.Conv2d(8, 7, 1))
    found = recognise("smp", "Unet", {"": plain.state_dict()})
    assert (found.channels, found.outputs, found.arguments) == (5, 7, {})
    with pytest.raises(InputError, match="no architecture 'Unett'"):
        recognise("smp", "Unett", {"": plain.state_dict()})


def test_other_sources_tell_channels_and_outputs():
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 8, 3), torch.nn.Conv2d(8, 6, 1))
    found = recognise("factory", "package:Net", {"": net.state_dict()})
    assert (found.channels, found.outputs, found.arguments) == (2, 6, {})


def test_a_transposed_head_puts_out_as_many_as_its_bias_has():
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 8, 3), torch.nn.ConvTranspose2d(8, 3, 2))
    assert recognise("factory", "package:Net", {"": net.state_dict()}).outputs == 3


def test_what_precedes_a_network_is_taken_off():
    one = torch.zeros(1)
    assert set(without_prefix({"a.encoder.x": one, "a.head": one, "loss": one}, "encoder.")) == {
        "encoder.x",
        "head",
    }
