"""One frame with its objects while it is changed for the network (spec 8.1, 8.3).

Letters: H rows, W columns, n objects. Images are in the order red, green, blue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from stmask.data.annotations import TrainVideos
from stmask.losses.targets import FrameTargets
from stmask.pixels import SIZE_DIVISOR, pad_mask, place_boxes, resize_image, resize_mask, to_network
from vidseg_common.errors import DatasetError
from vidseg_common.video_images import read_image


@dataclass(frozen=True)
class Frame:
    """A frame and its objects.

    Attributes:
        image: (H, W, 3) uint8.
        boxes: (n, 4) float32 corners in pixels.
        labels: (n,) classes from 1.
        ids: (n,) ids.
        masks: n masks (H, W) uint8.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    masks: tuple[np.ndarray, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.image.shape[1], self.image.shape[0]

    def keep(self, is_kept: np.ndarray) -> Frame:
        """With some of the objects, by (n,) booleans."""
        masks = tuple(mask for mask, kept in zip(self.masks, is_kept, strict=True) if kept)
        return replace(
            self,
            boxes=self.boxes[is_kept],
            labels=self.labels[is_kept],
            ids=self.ids[is_kept],
            masks=masks,
        )


def load_frame(data: TrainVideos, video_idx: int, frame_idx: int) -> Frame:
    """Reads a frame and the masks of its objects.

    Raises:
        DatasetError: the image is missing, damaged or of another size than the file states.
        MaskError: a mask is malformed.
    """
    video = data.videos[video_idx]
    path = data.images / video.file_names[frame_idx]
    try:
        image = read_image(path)
    except ValueError as error:
        raise DatasetError(f"video {video.name}, frame {frame_idx}: {error}") from error
    if image.shape[:2] != video.size:
        (height, width), found = video.size, image.shape
        raise DatasetError(
            f"video {video.name}, frame {frame_idx}: {path} has {found[1]} x {found[0]} pixels, "
            f"{data.file} says {width} x {height}"
        )
    objects = video.objects_in(frame_idx)
    return Frame(
        image=image,
        boxes=video.boxes[frame_idx, objects],
        labels=video.labels[objects],
        ids=video.ids[objects],
        masks=tuple(data.store.decode(n, video.size) for n in video.masks[frame_idx, objects]),
    )


def to_tensors(
    frame: Frame,
    size: tuple[int, int],
    *,
    is_flipped: bool = False,
    divisor: int = SIZE_DIVISOR,
) -> tuple[torch.Tensor, FrameTargets]:
    """Stretches, mirrors, normalises and pads a frame.

    Objects whose box has no area (left) are left out: no network output can equal them.

    Args:
        frame: the frame.
        size: (width, height) to stretch it to.
        is_flipped: mirror it left to right.
        divisor: of the padded sides.

    Returns:
        (3, H', W') float32 and the targets.
    """
    boxes = place_boxes(frame.boxes, frame.size, size, is_flipped=is_flipped, divisor=divisor)
    is_kept = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(1))
    frame, boxes = frame.keep(is_kept), boxes[is_kept]
    image = resize_image(frame.image, size)
    masks = [resize_mask(mask, size) for mask in frame.masks]
    if is_flipped:
        image, masks = image[:, ::-1], [mask[:, ::-1] for mask in masks]
    pixels = to_network(np.ascontiguousarray(image), divisor)
    padded = np.zeros((len(masks), *pixels.shape[1:]), np.uint8)
    for place, mask in zip(padded, masks, strict=True):
        place[:] = pad_mask(mask, divisor)
    targets = FrameTargets(
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(frame.labels),
        ids=torch.from_numpy(frame.ids),
        masks=torch.from_numpy(padded),
    )
    return torch.from_numpy(pixels), targets
