"""Features of the frames that the next clip shares, kept so that they are computed once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from devis.model.detector import Features
from devis.model.segmenter import STAGES
from devis.model.settings import ModelSettings


def used_stages(settings: ModelSettings) -> set[str]:
    """Names of the stages of the backbone that the mask head reads."""
    return {level for level, source in settings.mask_features if source == "backbone"}


def drop_unused(features: Features, used: set[str]) -> Features:
    """Empties the stages that nothing reads after the projection, which are half of all memory."""
    pairs = zip(STAGES, features.stages, strict=True)
    stages = [x if name in used else x[:, :0].clone() for name, x in pairs]
    return Features(stages, features.levels, features.paddings)


def pick(features: Features, frames: list[int]) -> Features:
    """Those of some frames, in the order given; a frame may be wanted several times."""

    def chosen(x: Tensor) -> Tensor:
        return x[torch.tensor(frames, device=x.device)]

    return _mapped(features, chosen)


def tail(features: Features, count: int) -> Features:
    """Those of the last frames."""
    return _mapped(features, lambda x: x[len(x) - count :])


def join(first: Features, second: Features) -> Features:
    """Those of one sequence of frames and of the next one."""

    def both(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        return [torch.cat(pair) for pair in zip(a, b, strict=True)]

    return Features(
        both(first.stages, second.stages),
        both(first.levels, second.levels),
        both(first.paddings, second.paddings),
    )


def _mapped(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    return Features(
        [change(x) for x in features.stages],
        [change(x) for x in features.levels],
        [change(x) for x in features.paddings],
    )
