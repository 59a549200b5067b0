"""A sender and a receiver that learn from each other, and receivers of codes that are given."""

from dataclasses import dataclass

import numpy as np

from conceptseg.stats.intervals import Floats

HIDDEN = 64
HOT, COLD = 2.0, 0.3
"""Temperature of the words at the first and at the last step."""
STARTS = 3
"""Pairs that begin to learn, of which the one is kept that ends with the least loss: two values
that share a word early on often share it to the end."""


@dataclass(frozen=True)
class Told:
    """What was said of each object and what was heard: `words` [m, L], `sure` [m, L] the largest
    probability of each; `mask` [m, g g] and `classes` [m, k] in [0, 1], the receiver's."""

    words: np.ndarray
    sure: np.ndarray
    mask: np.ndarray
    classes: np.ndarray


def spoken(
    features: Floats,
    masks: np.ndarray,
    classes: np.ndarray,
    learning: np.ndarray,
    words: int,
    vocabulary: int,
    steps: int,
    rate: float,
    seed: int,
) -> tuple[Told, np.ndarray, np.ndarray]:
    """A language, learnt on the objects `learning` [m]; what it says of all.

    The sender is linear. Words are drawn by the Gumbel-softmax, whose temperature falls from 2 to
    0.3, and are passed on soft for half of the steps, and then as they are, with the gradient of
    the soft ones (straight through). The loss is the cross-entropy of the class and, over the g g
    cells, of the mask. Objects are judged by the likeliest words.

    Returns what was told, and what the receiver makes of each object if place l were word v, as
    masks [m, L, V, g g] and classes [m, L, V].
    """
    import torch

    given = torch.from_numpy(np.asarray(features, np.float32))
    n = len(given)
    options = (words, vocabulary, steps, rate)
    pairs = [
        grown(given, masks, classes, learning, options, 1000 * seed + start)
        for start in range(STARTS)
    ]
    _, sender, receiver = min(pairs, key=lambda one: one[0])
    with torch.no_grad():
        likely = sender(given).view(n, words, vocabulary).softmax(-1)
        said = likely.argmax(-1)
        told = _told(receiver, said, vocabulary, masks.shape[1], likely.amax(-1).numpy())
        other = [
            _told(receiver, _changed(said, place, word), vocabulary, masks.shape[1], None)
            for place in range(words)
            for word in range(vocabulary)
        ]
    shape = (words, vocabulary)
    drawn_masks = np.stack([one.mask for one in other], 1).reshape(n, *shape, -1)
    named = np.stack([one.classes.argmax(1) for one in other], 1).reshape(n, *shape)
    return told, drawn_masks.astype(np.float16), named.astype(np.int16)


def grown(  # type: ignore[no-untyped-def]
    given,
    masks: np.ndarray,
    classes: np.ndarray,
    learning: np.ndarray,
    options: tuple[int, int, int, float],
    seed: int,
):
    """The last loss of a pair, without noise, its sender and its receiver."""
    import torch
    from torch import nn

    words, vocabulary, steps, rate = options
    torch.manual_seed(seed)  # of the weights, and then of the noise, in one stream
    sender = nn.Linear(given.shape[1], words * vocabulary)
    receiver = _receiver(words * vocabulary, masks.shape[1] + int(classes.max()) + 1)
    optimiser = torch.optim.Adam([*sender.parameters(), *receiver.parameters()], lr=rate)
    own = given[torch.from_numpy(np.flatnonzero(learning))]
    told = masks[learning], classes[learning]
    for step in range(steps):
        heat = HOT + (COLD - HOT) * step / max(1, steps - 1)
        logits = sender(own).view(-1, words, vocabulary)
        drawn = torch.rand(logits.shape).clamp(1e-9, 1 - 1e-9)
        soft = ((logits - torch.log(-torch.log(drawn))) / heat).softmax(-1)
        hard = nn.functional.one_hot(soft.argmax(-1), vocabulary).float()
        passed = soft if 2 * step < steps else hard + soft - soft.detach()
        loss = _loss(receiver(passed.flatten(1)), *told)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        said = sender(own).view(-1, words, vocabulary).argmax(-1)
        last = _loss(receiver(nn.functional.one_hot(said, vocabulary).float().flatten(1)), *told)
    return float(last), sender, receiver


def heard(
    codes: np.ndarray,
    values: int,
    masks: np.ndarray,
    classes: np.ndarray,
    learning: np.ndarray,
    steps: int,
    rate: float,
    seed: int,
) -> Told:
    """What a receiver of the same make learns from codes [m, L] in [0, values) that are given."""
    import torch

    torch.manual_seed(seed)
    said = torch.from_numpy(np.asarray(codes, np.int64))
    given = torch.nn.functional.one_hot(said, values).float().flatten(1)
    receiver = _receiver(given.shape[1], masks.shape[1] + int(classes.max()) + 1)
    optimiser = torch.optim.Adam(receiver.parameters(), lr=rate)
    own = torch.from_numpy(np.flatnonzero(learning))
    for _ in range(steps):
        loss = _loss(receiver(given[own]), masks[learning], classes[learning])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return _told(receiver, said, values, masks.shape[1], np.ones(codes.shape))


def _receiver(inputs: int, outputs: int):  # type: ignore[no-untyped-def]
    from torch import nn

    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


def _loss(heard, masks: np.ndarray, classes: np.ndarray):  # type: ignore[no-untyped-def]
    import torch
    from torch.nn import functional

    cells = masks.shape[1]
    wanted = torch.from_numpy(np.asarray(masks, np.float32))
    drawn = functional.binary_cross_entropy_with_logits(heard[:, :cells], wanted)
    named = functional.cross_entropy(heard[:, cells:], torch.from_numpy(np.asarray(classes)))
    return drawn + named


def _changed(said, place: int, word: int):  # type: ignore[no-untyped-def]
    other = said.clone()
    other[:, place] = word
    return other


def _told(receiver, said, values: int, cells: int, sure: np.ndarray | None) -> Told:  # type: ignore[no-untyped-def]
    from torch.nn import functional

    out = receiver(functional.one_hot(said, values).float().flatten(1))
    certain = np.ones(tuple(said.shape)) if sure is None else sure
    mask, classes = out[:, :cells].sigmoid().numpy(), out[:, cells:].softmax(1).numpy()
    return Told(said.numpy(), np.asarray(certain, np.float32), mask, classes)
