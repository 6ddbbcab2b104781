"""Choice of the three frames of a training sample (method specification section 6.5)."""

from __future__ import annotations

import numpy as np

#: Frames of a training sample.
SAMPLE_FRAMES = 3


def choose_frames(
    num_frames: int, max_jump: int, rng: np.random.RandomState
) -> tuple[int, int, int]:
    """Draw three frame indices in the order in which they are used.

    Each frame lies at most ``max_jump`` frames after the one before it; half of the samples run
    backwards in time. In short videos the limits can make two indices equal.

    Args:
        num_frames: frames of the video, at least 3.
        max_jump: largest distance of neighbouring frames, at least 1.
        rng: source of the four draws.
    """
    if num_frames < SAMPLE_FRAMES:
        raise ValueError(f"a video needs at least {SAMPLE_FRAMES} frames, got {num_frames}")
    if max_jump < 1:
        raise ValueError(f"max_jump must be at least 1, got {max_jump}")
    jump = min(num_frames, max_jump)
    last = num_frames - 1
    start = int(rng.randint(num_frames - jump + 1))
    second = min(start + int(rng.randint(jump + 1)) + 1, num_frames - jump, last)
    third = min(second + int(rng.randint(jump + 1)) + 1, num_frames - jump // 2, last)
    if rng.rand() < 0.5:
        return third, second, start
    return start, second, third
