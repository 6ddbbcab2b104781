"""Propagation from every annotated frame in both directions, merged by distance in time.

A frame between two annotations of an object takes both predictions, each weighted by how near
its annotation is; a frame before the first annotation takes the backward one alone. One pass is
kept on disk, so that memory does not grow with the video.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from stcn.inference.predictor import Prediction, Predictor

#: Reads one frame, RGB uint8 (H, W, 3), by its index.
FrameReader = Callable[[int], np.ndarray]


def propagate_bidirectional(
    predictor: Predictor,
    read_frame: FrameReader,
    num_frames: int,
    masks: Mapping[int, np.ndarray],
    scratch: Path,
) -> Iterator[tuple[int, Prediction | None]]:
    """Segments a video from masks at any of its frames.

    Args:
        predictor: is reset before each pass.
        read_frame: random access to the frames.
        num_frames: of the video.
        masks: frame index to index map (H, W).
        scratch: empty folder for the backward pass, about one byte a pixel, object and frame
            at the inner size.

    Yields:
        Frame index and result in order; None where nothing is known about any object.
    """
    annotated = _frames_of_objects(masks)
    last = max(masks, default=-1)
    _backward_pass(predictor, read_frame, masks, last, scratch)
    predictor.reset()
    forward = predictor.stream(map(read_frame, range(num_frames)), masks)
    for i, result in forward:
        path = scratch / f"{i}.npz"
        if not path.exists():
            yield i, result
            continue
        with np.load(path) as stored:
            yield i, _merge(i, result, stored, annotated)
        path.unlink()


def _backward_pass(
    predictor: Predictor,
    read_frame: FrameReader,
    masks: Mapping[int, np.ndarray],
    last: int,
    scratch: Path,
) -> None:
    predictor.reset()
    mirrored = {last - i: mask for i, mask in masks.items()}
    frames = map(read_frame, range(last, -1, -1))
    for j, result in predictor.stream(frames, mirrored):
        i = last - j
        if result is None or i in masks:
            continue
        quantised = (result.inner_prob[1:].float().cpu() * 255).round().to(torch.uint8)
        np.savez(
            scratch / f"{i}.npz",
            prob=quantised.numpy(),
            object_ids=np.array(result.object_ids),
            size=np.array(result.size),
        )


def _merge(
    i: int,
    forward: Prediction | None,
    stored: Mapping[str, np.ndarray],
    annotated: Mapping[int, list[int]],
) -> Prediction:
    """Weighs both predictions of every object by the distance of its annotations."""
    back = dict(zip(stored["object_ids"].tolist(), stored["prob"], strict=True))
    ahead = dict(zip(forward.object_ids, forward.inner_prob[1:], strict=True)) if forward else {}
    height, width = stored["size"].tolist()
    planes = []
    ids = tuple(sorted({*back, *ahead}))
    for object_id in ids:
        weight = _forward_weight(i, annotated[object_id])
        plane = torch.zeros(stored["prob"].shape[1:])
        if weight > 0:
            plane += weight * ahead[object_id].float().cpu()
        if weight < 1:
            plane += (1 - weight) * torch.from_numpy(back[object_id]).float() / 255
        planes.append(plane)
    objects = torch.stack(planes)
    background = (1 - objects.sum(0, keepdim=True)).clamp(min=0)
    return Prediction(torch.cat([background, objects]), ids, (height, width))


def _forward_weight(i: int, frames: list[int]) -> float:
    """Share of the forward prediction of an object annotated in `frames`, at frame i."""
    before, after = bisect_right(frames, i), bisect_left(frames, i)
    if before == 0:
        return 0.0
    if after == len(frames):
        return 1.0
    past, future = i - frames[before - 1], frames[after] - i
    return 1.0 if past == 0 else future / (past + future)


def _frames_of_objects(masks: Mapping[int, np.ndarray]) -> dict[int, list[int]]:
    frames: dict[int, list[int]] = {}
    for i in sorted(masks):
        for object_id in np.unique(masks[i]).tolist():
            if object_id:
                frames.setdefault(int(object_id), []).append(i)
    return frames
