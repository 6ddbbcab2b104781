"""Several data sets as one, by weights. Source: spec 7.2."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from stemseg.data.samples import ClipSample, ClipSet
from vidseg_common.errors import ConfigError

#: Of the choice of items where a data set has more than its share.
SUBSET_SEED = 42
_WEIGHT_TOLERANCE = 1e-6


def shares(weights: Sequence[float], total: int) -> list[int]:
    """How many of `total` samples each data set gives.

    What rounding leaves over, or takes too much, goes to the largest share.

    Raises:
        ConfigError: a weight is negative, or they do not sum to 1.
    """
    if any(weight < 0 for weight in weights) or abs(sum(weights) - 1) > _WEIGHT_TOLERANCE:
        raise ConfigError(
            f"the weights of the data sets have to sum to 1, none below 0; got {list(weights)}"
        )
    counts = [round(weight * total) for weight in weights]
    counts[counts.index(max(counts))] += total - sum(counts)
    return counts


def items_of_share(length: int, count: int) -> list[int]:
    """The items with which a data set of `length` gives `count` samples.

    Whole passes, then items at equal distances; a random subset where there are more than
    wanted.
    """
    if count < length:
        items = list(range(length))
        random.Random(SUBSET_SEED).shuffle(items)
        return items[:count]
    passes, rest = divmod(count, length)
    return [*range(length)] * passes + np.linspace(0, length - 1, rest).round().astype(int).tolist()


class Mixture(ClipSet):
    """Several data sets as one; items of the first come first.

    Args:
        parts: data sets with the number of samples that each gives.

    Raises:
        ConfigError: nothing is to be given.
    """

    name = "mixture"

    def __init__(self, parts: Sequence[tuple[ClipSet, int]]) -> None:
        used = [(part, count) for part, count in parts if count > 0]
        if not used:
            raise ConfigError("the mixture of data sets is empty")
        self.parts = [part for part, _ in used]
        self.items = [np.asarray(items_of_share(len(part), count)) for part, count in used]
        self._ends = list(accumulate(map(len, self.items)))
        self.category_names = dict(self.parts[0].category_names)

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """Number of the data set and item in it of a sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a mixture of {len(self)}")
        part = bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return part, int(self.items[part][index - start])

    def sample(self, index: int, rng: random.Random) -> ClipSample:
        """Makes the sample in the data set that `index` falls into."""
        part, item = self.locate(index)
        return self.parts[part].sample(item, rng)
