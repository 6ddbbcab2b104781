"""Cuts a list of videos into a training and a validation part with alike categories."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

_MOST_TRIES = 50
_VIDEOS_OF_ALL_TRIES = 10_000


def split_videos(
    categories: Sequence[Mapping[int, int]], num_val: int, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Chooses the videos of both parts; iterative stratification, rarest category first.

    Each step takes the category with the fewest videos left and gives its next video to the part
    that is farthest below its share of that category (Sechidis et al., 2011). The evenest of
    several tries is taken.

    Args:
        categories: category number to number of tracks, one mapping per video.
        num_val: number of videos of the validation part.
        seed: the same seed gives the same parts.

    Returns:
        Positions of the videos for training and for validation, ascending.

    Raises:
        ValueError: one of the parts would be empty.
    """
    total = len(categories)
    if not 0 < num_val < total:
        raise ValueError(f"{num_val} of {total} videos leave one part empty")
    rng = random.Random(seed)
    sums = _sum(categories)
    tries = max(1, min(_MOST_TRIES, _VIDEOS_OF_ALL_TRIES // total))
    found = (_stratify(categories, num_val, sums, rng) for _ in range(tries))
    train, val = min(found, key=lambda parts: parts[1].unevenness(sums))
    return sorted(train.videos), sorted(val.videos)


def _stratify(
    categories: Sequence[Mapping[int, int]],
    num_val: int,
    sums: Mapping[int, int],
    rng: random.Random,
) -> tuple[_Part, _Part]:
    total = len(categories)
    order = list(range(total))
    rng.shuffle(order)
    parts = (_Part(total - num_val, total), _Part(num_val, total))
    remaining = Counter(c for tracks in categories for c in tracks)
    while order:
        rarest = min(remaining, key=lambda c: (remaining[c], c), default=None)
        chosen = next(i for i in order if rarest is None or rarest in categories[i])
        part = max(parts, key=lambda p: p.wish(rarest, sums))
        part.take(chosen, categories[chosen])
        order.remove(chosen)
        remaining -= Counter(dict.fromkeys(categories[chosen], 1))
    return parts


class _Part:
    """The videos given to one part, and what it still lacks.

    Args:
        size: number of videos that it gets in the end.
        total: number of all videos.
    """

    def __init__(self, size: int, total: int) -> None:
        self.size = size
        self.share = size / total
        self.videos: list[int] = []
        self.tracks: Counter[int] = Counter()

    def wish(self, category: int | None, sums: Mapping[int, int]) -> tuple[bool, float, float]:
        """Sort key: whether there is room, then what share of its tracks and videos is missing."""
        left = self.size - len(self.videos)
        missing = 0.0
        if category is not None:
            missing = 1 - self.tracks[category] / (self.share * sums[category])
        return left > 0, missing, left / self.size

    def unevenness(self, sums: Mapping[int, int]) -> float:
        """How far the shares of the categories are from that of the videos, summed."""
        return sum(abs(self.tracks[c] / number - self.share) for c, number in sums.items())

    def take(self, video: int, tracks: Mapping[int, int]) -> None:
        """Adds a video."""
        self.videos.append(video)
        self.tracks.update(tracks)


def _sum(categories: Sequence[Mapping[int, int]]) -> Counter[int]:
    sums: Counter[int] = Counter()
    for tracks in categories:
        sums.update(tracks)
    return sums
