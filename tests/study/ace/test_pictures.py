"""Segments alone, and which segments are shown."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conceptseg.concepts.segments import segment
from conceptseg.data.draw import sample_priority
from conceptseg.report.thumbnails import outline
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.pictures import SHOWN, Pictures, exemplar_rows, exemplars, shown_rows
from tests.small_models import images, unet, wrapped
from tests.study.ace.small import (
    activations,
    alone,
    batch,
    concept,
    context,
    direction,
    discovery,
    packed,
    study,
)

LAYER, UNITS = "mid", 16
AXIS = direction(np.eye(UNITS)[0])


def shown_case():
    """Three images with all their segments; concepts of the first and the last of them."""
    model, pictures, one = unet(), images(3, 32, 40), study(scales=(4, 10), map_segments=12)
    found = [segment(image.numpy(), one.scales) for image in pictures]
    image = np.repeat(np.arange(3), [len(f) for f in found])
    number = np.concatenate([np.arange(len(f)) for f in found])
    rows = np.concatenate([[0, 1], np.flatnonzero(image == 2)[:2]])
    embedding = np.random.default_rng(0).random((len(image), UNITS)).astype(np.float32)
    discovered = discovery(
        3,
        UNITS,
        3,
        image=image,
        number=number,
        embedding=embedding,
        packed=packed(one, pictures),
        concepts=(concept(1, rows, AXIS),),
    )
    return model, pictures, one, found, discovered


def test_what_a_study_shows():
    model, pictures, one, found, discovered = shown_case()
    here = context(model, pictures, LAYER)
    carry = DISCOVERY(discovered)
    sweep = Pictures(one)
    assert {s.id for s in sweep.samples(here, carry)} >= {"s00", "s02"}
    state = sweep.map(here, batch(pictures), carry)
    shown = sweep.finish(here, state, carry)[SHOWN]
    tested = exemplar_rows(one, discovered)
    assert set(shown.isolation) == set(tested.tolist())
    assert set(shown.outlines) == set(np.union1d(tested, shown_rows(one, discovered)).tolist())
    for row in tested:
        i, number = discovered.image[row], discovered.number[row]
        a = alone(model, LAYER, pictures[i], found[i].mask(number))
        b = discovered.embedding[row]
        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
        assert shown.isolation[row] == pytest.approx(cosine, abs=1e-5)
    for row, path in shown.outlines.items():
        i, number = discovered.image[row], discovered.number[row]
        assert path == outline(found[i].mask(number))
    for data in shown.photos.values():
        assert Image.open(io.BytesIO(data)).size == (40, 32)


def test_crops_that_were_embedded_are_not_run_again():
    """Their cosine with the embeddings in place needs no pass, so no network."""
    _, pictures, one, _, discovered = shown_case()
    one = study(**{**one.model_dump(include={"scales", "map_segments"}), "embedding": "crops"})
    place = np.random.default_rng(1).random(discovered.embedding.shape).astype(np.float32)
    discovered = dataclasses.replace(discovered, place=place)
    here = context(wrapped(nn.Identity(), 3), pictures, "no layer")
    carry = DISCOVERY(discovered)
    sweep = Pictures(one)
    shown = sweep.finish(here, sweep.map(here, batch(pictures), carry), carry)[SHOWN]
    for row, value in shown.isolation.items():
        a, b = discovered.embedding[row].astype(float), place[row].astype(float)
        assert value == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-5)
    assert len(shown.isolation) == 4 and sweep.forwards(here) == 0


def test_a_segment_that_fills_its_image_looks_alone_as_it_does_in_place():
    """One colour, one segment: the crop is the image, so the cosine is 1."""
    model, picture = unet(), torch.full((1, 3, 32, 40), 0.5)
    one = study(scales=(1,), map_segments=10)
    pooled = activations(model, LAYER, picture).mean((2, 3)).numpy()
    whole = (concept(1, [0], AXIS),)
    found = discovery(1, UNITS, 3, embedding=pooled, concepts=whole, packed=packed(one, picture))
    here = context(model, picture, LAYER)
    carry = DISCOVERY(found)
    state = Pictures(one).map(here, batch(picture), carry)
    assert Pictures(one).finish(here, state, carry)[SHOWN].isolation[0] == pytest.approx(1)


def test_exemplars_are_nearest_first_and_of_many_images():
    found = discovery(3, UNITS, 2, image=np.array([0, 0, 0, 1, 1, 2]))
    core = np.array([4, 2, 3, 0, 5, 1])  # images 1, 0, 1, 0, 2, 0
    one = concept(1, core, AXIS)
    assert exemplars(study(exemplars=6), found, one).tolist() == [4, 2, 5, 3, 0, 1]
    assert exemplars(study(exemplars=2), found, one).tolist() == [4, 2]
    drives = discovery(
        3, UNITS, 2, image=np.array([0, 0, 0, 1, 1, 2]), groups=("a", "b", "b")
    )  # images 1 and 2 are of one drive
    assert exemplars(study(exemplars=6), drives, one).tolist() == [4, 2, 5, 3, 0, 1]
    assert exemplars(study(exemplars=6), drives, concept(1, [5, 4, 0], AXIS)).tolist() == [5, 0, 4]
    both = dataclasses.replace(found, concepts=(one, concept(2, [1], AXIS)))
    assert exemplar_rows(study(exemplars=2), both).tolist() == [1, 2, 4]
    assert exemplar_rows(study(), found).tolist() == []


def test_the_map_draws_images_by_hash():
    image = np.repeat(np.arange(9), 5)
    found = discovery(9, UNITS, 2, image=image)
    rows = shown_rows(study(map_images=4, map_segments=11), found)
    ranked = sorted(range(9), key=lambda i: sample_priority(0, f"s{i:02d}"))
    assert len(rows) == len(set(rows.tolist())) == 11 and (np.diff(rows) > 0).all()
    assert set(image[rows].tolist()) <= set(ranked[:4])
    assert set(shown_rows(study(map_images=4), found).tolist()) == set(
        np.flatnonzero(np.isin(image, ranked[:4])).tolist()
    )
