"""What every generator promises, and what each is known to do."""

import numpy as np
import pytest
import torch

from conceptseg.catalogue import load, names
from conceptseg.explain.generate import Generator, Subject
from conceptseg.explain.generators.autoencoder import Autoencoder
from conceptseg.explain.generators.layers import Layers
from conceptseg.explain.generators.pca import Pca
from conceptseg.explain.generators.renderer import Renderer
from conceptseg.explain.looks import looks, octaves
from conceptseg.planted.generator import render, sample, with_context
from conceptseg.planted.recipe import half_mask, ink_mask


def recipe(index=0):
    return sample(index, "test", context="with", strength=1.0, digits=(3,))


def subject(index=0, colours=1):
    """A scene with its digit and halves as regions, and how such regions look in others."""
    made = recipe(index)
    image = torch.from_numpy(render(made)[0])[None, None].repeat(1, colours, 1, 1)
    ink, tile = ink_mask(made), half_mask(made, made.context_half)
    regions = {"digit": ink, "tile": tile & ~ink, "ground": ~tile & ~ink}
    masks = {name: torch.from_numpy(mask) for name, mask in regions.items()}
    limits = {}
    for name, mask in masks.items():
        own = looks(image, octaves(image), mask)
        limits[name] = np.stack([own - 0.3, own + 0.3])
    return Subject(image, masks, limits, drawn=made)


SMALL = {"autoencoder": {"steps": 2}, "pca": {"components": 5}}


@pytest.fixture(scope="module", params=names("generators"))
def generator(request):
    return load("generators", request.param)(**SMALL.get(request.param, {}))


@pytest.fixture(scope="module")
def code(generator):
    images = [subject(i).image[0] for i in range(7)]
    return generator.encode(subject(), generator.fit(images, 0) if generator.fitted else {})


def test_catalogue_line(generator):
    assert isinstance(generator, Generator)
    assert generator.about.family and generator.about.source
    assert all(field.description for field in type(generator).model_fields.values())


def test_no_change_gives_the_image_bit_for_bit(code):
    theta = torch.zeros(3, len(code.low))
    assert torch.equal(code.render(theta), subject().image.expand(3, -1, -1, -1))
    entered = theta.clone().requires_grad_()
    assert torch.equal(code.render(entered).detach(), subject().image.expand(3, -1, -1, -1))


def test_groups_part_the_parameters_and_zero_is_allowed(code):
    slots = [slot for group in code.groups for slot in group.slots]
    assert len(slots) == len(set(slots)) and set(slots) <= set(range(len(code.low)))
    assert (code.low <= 0).all() and (code.high >= 0).all()
    assert (code.low >= -1).all() and (code.high <= 1).all()


def test_each_group_changes_the_image_and_says_how(code):
    for group in code.groups:
        theta = code.high.where(code.high > 0, code.low)[None] * code.masks([[group]])
        choices = code.choices(group)
        theta = theta if choices is None else choices[:1]
        changed = code.render(theta)
        assert changed.min() >= 0 and changed.max() <= 1
        assert not torch.equal(changed, subject().image), group.name
        assert code.describe(theta[0], group)


def test_a_row_does_not_hang_on_its_batch(code):
    theta = torch.zeros(2, len(code.low))
    theta[1, list(code.groups[0].slots)] = code.high[list(code.groups[0].slots)]
    both = code.render(theta)
    torch.testing.assert_close(both[1:], code.render(theta[1:]), rtol=1e-5, atol=1e-6)


def test_layers_change_their_own_region_alone():
    given, code = subject(), Layers(attributes=("colour", "texture", "blur")).encode(subject(), {})
    for group in code.groups:
        changed = code.render(code.high[None] * code.masks([[group]]))
        off = ~given.regions[group.region]
        assert torch.equal(changed[0, 0][off], given.image[0, 0][off]), group.name


def test_a_colour_is_the_offset_that_it_says():
    given, code = subject(colours=3), Layers(attributes=("colour",)).encode(subject(colours=3), {})
    (group,) = [one for one in code.groups if one.region == "ground"]
    theta = torch.zeros(len(code.low))
    theta[list(group.slots)] = 0.1 / code.scale[list(group.slots)]
    inside = given.regions["ground"]
    moved = code.render(theta[None])[0][:, inside] - given.image[0][:, inside]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1), rtol=0, atol=1e-5)
    assert code.describe(theta, group) == "10 % of the range brighter"


def test_a_shift_by_whole_pixels_is_numpy_s():
    given, code = subject(), Layers(attributes=("place",), shift=0.1).encode(subject(), {})
    assert [group.region for group in code.groups] == ["digit"]
    down, right = -3, 2
    theta = torch.tensor([[down, right]]) / code.scale
    moved, mask = code.render(theta)[0, 0].numpy(), given.regions["digit"].numpy()
    there = np.roll(mask, (down, right), (0, 1))
    if mask[:4].any() or mask[:, -4:].any():
        there &= ~np.roll(mask, (down, right), (0, 1)) | there
    expected = np.roll(given.image[0, 0].numpy(), (down, right), (0, 1))
    inner = np.zeros_like(mask)
    inner[4:-4, 4:-4] = True
    assert np.abs(moved - expected)[there & inner].max() < 1e-4
    untouched = ~there & ~mask & inner
    assert np.abs(moved - given.image[0, 0].numpy())[untouched].max() < 1e-4


def test_octaves_and_the_softest_image_sum_to_the_image():
    from conceptseg.explain.fill import blurred

    image = subject(colours=3).image
    torch.testing.assert_close(octaves(image).sum(0, keepdim=True) + blurred(image, 8.0), image)


def test_the_renderer_draws_what_the_recipe_says():
    made = recipe()
    code = Renderer(glyphs=2, places=3).encode(subject(), {})
    assert {group.region for group in code.groups} == {"digit", "tile", "other half"}
    (tile,) = [group for group in code.groups if group.region == "tile"]
    shown = {code.describe(row, tile): code.render(row[None])[0, 0] for row in code.choices(tile)}
    without = with_context(made, False)
    expected = torch.from_numpy(render(without)[0])
    assert torch.equal(shown[f"{made.alternative.texture} there"], expected)
    (glyph,) = [group for group in code.groups if group.attribute == "glyph"]
    assert len(code.choices(glyph)) == 9 * 2


def test_components_are_those_of_the_covariance():
    images = [torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(i)) for i in range(9)]
    found = Pca(components=3).fit(images, 0)
    rows = np.stack([one.flatten().numpy() for one in images])
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    np.testing.assert_allclose(found["spread"].numpy() ** 2, values[::-1][:3], rtol=1e-4)
    for k in range(3):
        assert abs(found["vectors"][k].numpy() @ vectors[:, -1 - k]) == pytest.approx(1, abs=1e-4)


def test_an_autoencoder_comes_nearer_by_its_fit():
    images = [subject(i).image[0] for i in range(8)]

    def error(steps):
        own = Autoencoder(steps=steps, batch=4, width=8)
        return (
            (own.encode(subject(), own.fit(images, 0)).recovered() - subject().image)
            .square()
            .mean()
        )

    assert error(60) < 0.5 * error(1)
