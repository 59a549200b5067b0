"""What channels of networks that have learnt nothing show, and how far beyond that one lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conceptseg.engine.known import Key
from conceptseg.stats.p_values import detectable_draw, prediction_p

NAN = float("nan")
LEAST = 3
"""Fewer shuffled networks with relevance than this say nothing of how networks differ."""


@dataclass(frozen=True)
class Shuffles:
    """Context scores of the most relevant channels of shuffled networks.

    `scores[network, class]` [channels, images]: nan where a map has no positive part; `images` of
    each class, in that order. Networks and classes without relevance have no entry.
    """

    scores: Mapping[tuple[int, int], np.ndarray]
    images: Mapping[int, tuple[str, ...]]

    def centre(self, class_id: int, without: int | None = None) -> float:
        """The mean context score of a class's channels, over networks; nan without any."""
        means = [
            float(found.mean())
            for network in self._networks
            if network != without and len(found := self._channels(network, class_id))
        ]
        return float(np.mean(means)) if means else NAN

    def baseline(
        self, class_id: int, field: Mapping[tuple[str, int], float], samples: Sequence[str]
    ) -> np.ndarray:
        """What these networks would show on images [n]: the even spread over the receptive field,
        and what they differ from it by, in the mean over the images that they were shown. nan
        where too few of them have relevance to be compared with."""
        if len(self.largest) < LEAST:
            return np.full(len(samples), NAN)
        seen = [field.get((s, class_id), NAN) for s in self.images.get(class_id, ())]
        own = np.array([field.get((s, class_id), NAN) for s in samples], np.float64)
        return own + self.centre(class_id) - float(np.nanmean(seen) if seen else NAN)

    def margin(self, class_id: int, field: Mapping[tuple[str, int], float]) -> float:
        """How far that difference may lie from what other images give: half its 95 % interval.

        Student's, over the few images that the networks were shown, each the mean of what their
        channels show on it less the field's. nan of fewer than two.
        """
        from scipy.special import stdtrit

        images = self.images.get(class_id, ())
        shown = [
            means
            for network in self._networks
            if (network, class_id) in self.scores
            for means in self.scores[network, class_id]
        ]
        if not shown:
            return NAN
        known = np.isfinite(shown)
        total = np.where(known, shown, 0.0).sum(0)
        each = np.divide(total, known.sum(0), out=np.full(len(images), NAN), where=known.any(0))
        each -= [field.get((s, class_id), NAN) for s in images]
        each = each[np.isfinite(each)]
        if len(each) < 2:
            return NAN
        return float(stdtrit(len(each) - 1, 0.975) * each.std(ddof=1) / np.sqrt(len(each)))

    def excess(self, class_id: int, context: Mapping[str, float]) -> float:
        """By how much a channel's context scores, by image, lie above that mean, on its images."""
        own = np.array([context.get(s, NAN) for s in self.images.get(class_id, ())], np.float64)
        return float(channel_means(own[None])[0]) - self.centre(class_id)

    @cached_property
    def largest(self) -> np.ndarray:
        """Of each network the largest excess of all its channels and classes, [networks].

        Over the mean of the other networks, as a trained network's is over the mean of all.
        """
        largest = []
        for network in self._networks:
            each = [
                self._channels(network, c) - self.centre(c, without=network) for c in self.images
            ]
            known = [float(np.nanmax(one)) for one in each if np.isfinite(one).any()]
            if known:
                largest.append(max(known))
        return np.array(largest, np.float64)

    def p(self, excess: float) -> float:
        """How likely a network that has learnt nothing has any channel that far above the mean.

        That is corrected for all channels and classes, since it is their largest that counts. nan
        where too few networks have relevance, or where the excess is not known.
        """
        largest = self.largest
        if len(largest) < LEAST or np.isnan(excess):
            return NAN
        return prediction_p(-excess, -largest)

    def detectable(self, level: float) -> float:
        """The excess from which on `p` is at most `level` with power 0.8."""
        largest = self.largest
        if len(largest) < LEAST:
            return NAN
        return float(largest.mean()) + detectable_draw(largest, level)

    @property
    def _networks(self) -> Sequence[int]:
        return sorted({network for network, _ in self.scores})

    def _channels(self, network: int, class_id: int) -> np.ndarray:
        """Mean context score of each channel [channels], those that are not known left out."""
        found = self.scores.get((network, class_id), np.zeros((0, 1)))
        means = channel_means(found)
        return means[np.isfinite(means)]


SHUFFLES = Key("shuffles", Shuffles)


def channel_means(scores: np.ndarray) -> np.ndarray:
    """Means [channels] over images [channels, images], nan where fewer than half are known."""
    known = np.isfinite(scores)
    count = known.sum(1)
    total = np.where(known, scores, 0.0).sum(1)
    able = (count > 0) & (2 * count >= scores.shape[1])
    return np.divide(total, count, out=np.full(len(scores), NAN), where=able)
