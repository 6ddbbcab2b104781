"""Which random changes make further frames. Source: spec 7.3, 7.4."""

from __future__ import annotations

from vidseg_common.frame_augment import Affine, FrameAugmenter, MotionBlur, Photometric


def image_augmenter(rotation: float, blur: float) -> FrameAugmenter:
    """What makes further frames of an image.

    Args:
        rotation: largest angle in degrees.
        blur: probability of motion blur.
    """
    return FrameAugmenter(Photometric(), 0.08, Affine(rotation), MotionBlur(blur))


def video_augmenter(num_frames: int) -> FrameAugmenter:
    """What may be done to every frame of a video clip; geometry changes in clips of two only."""
    photometric = Photometric(brightness=50, color=15)
    if num_frames != 2:
        return FrameAugmenter(photometric)
    affine = Affine(15.0, 0.15, (0.8, 1.2), is_diagonal=False)
    return FrameAugmenter(photometric, affine=affine, blur=MotionBlur(0.3, (5, 7)))
