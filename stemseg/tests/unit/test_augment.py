import random

import numpy as np

from stemseg.data.augment import video_augmenter


def test_video_clips_of_more_than_two_frames_keep_their_geometry():
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    mask = np.eye(60, 80, dtype=np.uint8)
    rng = random.Random(3)
    assert (video_augmenter(8).apply(image, (mask,), rng)[1][0] == mask).all()
    assert (video_augmenter(2).apply(image, (mask,), rng)[1][0] != mask).any()
