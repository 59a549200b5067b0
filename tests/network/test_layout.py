from collections import namedtuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conceptseg.errors import InputError
from conceptseg.network.layout import as_map, channel_order, rows_match, spread


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_convolution_map_is_itself():
    raw = randn(2, 5, 4, 6)
    found, restore = as_map(raw, (16, 24))
    assert torch.equal(found, raw)
    assert torch.equal(restore(found), raw)
    assert restore(found).data_ptr() != raw.data_ptr()


def test_memory_format_is_restored():
    raw = randn(2, 5, 4, 6).contiguous(memory_format=torch.channels_last)
    found, restore = as_map(raw, (16, 24))
    assert restore(found.contiguous()).stride() == raw.stride()


def test_channels_last():
    raw = randn(2, 4, 6, 5)
    found, restore = as_map(raw, (16, 24))
    assert found.shape == (2, 5, 4, 6)
    assert found[1, 2, 3, 4] == raw[1, 3, 4, 2]
    assert torch.equal(restore(found), raw)
    assert restore(found).is_contiguous()


def test_a_cube_goes_by_the_module():
    raw = randn(1, 8, 8, 8)
    assert torch.equal(as_map(raw, (64, 64))[0], raw)
    order = channel_order(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)))
    assert torch.equal(as_map(raw, (64, 64), channels=order)[0], raw.permute(0, 3, 1, 2))
    assert channel_order(nn.Conv2d(1, 1, 1)) == "first"
    assert channel_order(nn.Sequential(nn.Conv2d(1, 1, 1), nn.LayerNorm(8))) is None


def test_the_whole_stride_wins_over_the_rounded_one():
    """[n, 7, 8, 8] of a 64 px image: 8 x 8 is exact, 7 x 8 only up to rounding."""
    assert as_map(randn(1, 7, 8, 8), (64, 64), channels="last")[0].shape == (1, 7, 8, 8)


@given(
    y=st.integers(3, 9),
    x=st.integers(3, 9),
    patch=st.integers(4, 9),
    extra=st.sampled_from([0, 1, 2, 5]),
)
def test_tokens_of_whole_patches(y, x, patch, extra):
    """Read right or called ambiguous, never read wrong."""
    raw = randn(2, extra + y * x, 3)
    try:
        found, restore = as_map(raw, (y * patch, x * patch))
    except InputError as error:
        assert "may be" in str(error)
        return
    assert found.shape == (2, 3, y, x)
    assert torch.equal(found[:, :, 1, 0], raw[:, extra + x])
    assert torch.equal(restore(found), raw)


def test_rounded_token_grid():
    """Overlapping patches of stride 4, 8, 16 round up."""
    found, _ = as_map(randn(1, 12 * 17, 3), (90, 130))
    assert found.shape == (1, 3, 12, 17)


def test_ambiguous_tokens_are_refused():
    """9 tokens of a 64 px image: 3 x 3 of a rounded stride, or 2 x 2 and 5 class tokens."""
    with pytest.raises(InputError, match=r"9 tokens, which may be 2 x 2 and 5 .* or 3 x 3 and 0"):
        as_map(randn(1, 9, 3), (64, 64))


@pytest.mark.parametrize(
    "shape", [(2, 5), (2, 5, 1, 1), (2, 35, 5), (2, 7, 31, 11), (2, 3, 4, 5, 6)]
)
def test_no_map(shape):
    with pytest.raises(InputError):
        as_map(randn(*shape), (16, 24))


def test_wrong_number_of_rows():
    with pytest.raises(InputError, match="not one row for each of 2 images"):
        as_map(randn(8, 4, 6, 5), (16, 24), batch=2)


def test_variants_keep_their_image_s_class_tokens():
    raw = randn(2, 1 + 24, 3)
    found, restore = as_map(raw, (16, 24))
    back = restore(torch.stack((found, found + 1, found + 2), 1).flatten(0, 1))
    assert back.shape == (6, 25, 3)
    assert torch.equal(back[0:3, 0], raw[[0, 0, 0], 0])
    assert torch.equal(back[3:6, 0], raw[[1, 1, 1], 0])
    assert torch.equal(back[5, 1:], raw[1, 1:] + 2)


Pair = namedtuple("Pair", "sizes states")


@pytest.mark.parametrize(
    ("wrap", "get"),
    [
        (lambda raw: (torch.ones(2, 3), raw, None), lambda new: new[1]),
        (lambda raw: [raw, raw * 2], lambda new: new[0]),
        (lambda raw: {"sizes": (4, 6), "out": raw}, lambda new: new["out"]),
        (lambda raw: Pair((4, 6), raw), lambda new: new.states),
        (lambda raw: (None, {"deep": [raw]}), lambda new: new[1]["deep"][0]),
    ],
)
def test_containers(wrap, get):
    raw = randn(2, 5, 4, 6)
    whole = wrap(raw)
    found, restore = as_map(whole, (16, 24), batch=2)
    assert torch.equal(found, raw)
    new = restore(found + 1)
    assert type(new) is type(whole)
    assert torch.equal(get(new), raw + 1)
    assert torch.equal(get(whole), raw)
    assert torch.equal(get(restore(found.repeat_interleave(2, 0)))[2], raw[1])


def test_all_parts_that_hold_the_same_numbers_change():
    """As where a stage returns tokens, and beside sizes and its input the same again as a map."""
    tokens = randn(2, 24, 5)
    same = tokens.transpose(1, 2).unflatten(2, (4, 6))
    earlier = randn(2, 5, 4, 6)
    whole = (tokens, (4, 6), {"states": (earlier, same)})
    found, restore = as_map(whole, (16, 24), batch=2)
    new = restore(found + 1)
    assert torch.equal(new[0], tokens + 1)
    assert torch.equal(new[2]["states"][1], same + 1)
    assert torch.equal(new[2]["states"][0], earlier)
    assert torch.equal(whole[2]["states"][1], same)


def test_output_objects():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    raw = outputs.BaseModelOutput(last_hidden_state=randn(2, 24, 5))
    found, restore = as_map(raw, (16, 24))
    assert found.shape == (2, 5, 4, 6)
    new = restore(found * 2)
    assert isinstance(new, outputs.BaseModelOutput)
    assert torch.equal(new.last_hidden_state, raw.last_hidden_state * 2)
    assert torch.equal(new[0], new.last_hidden_state)


def test_half_precision_is_read_as_float32():
    raw = randn(1, 5, 4, 6).bfloat16()
    found, restore = as_map(raw, (16, 24))
    assert found.dtype == torch.float32
    assert torch.equal(restore(found), raw)


def test_spread_and_rows():
    value = (torch.arange(2), {"a": torch.ones(3, 1), "b": 5})
    assert not rows_match(value, 2)
    assert rows_match((torch.ones(2, 1), None), 2)
    assert not rows_match((torch.ones(2, 1), object()), 2), "nobody knows what it holds"
    first, rest = spread(value, 2, 2)
    assert first.tolist() == [0, 0, 1, 1]
    assert rest["a"].shape == (3, 1) and rest["b"] == 5
