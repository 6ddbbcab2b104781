"""The pickled result file of the original tool: a dictionary of lists over frames (spec 3.5).

It is written frame by frame and read with the restricted reader of `vidseg_common`, which makes
plain values and arrays and runs nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vatrack.inference.results import FrameResult
from vatrack.outputs.store import ResultStore
from vidseg_common.datasets.safe_pickle import load_pickle
from vidseg_common.errors import DatasetError
from vidseg_common.files import atomic_path
from vidseg_common.rle import RLE

#: Old enough for the readers of the original tool.
_PROTOCOL = 3
_START, _END, _APPEND, _SET = b"\x80\x03}", b".", b"a", b"s"
_EMPTY_LIST = b"]"
#: NumPy 2 calls its inner package so; older ones do not know that name, newer ones know both.
_NEW_NUMPY, _NUMPY = b"cnumpy._core.", b"cnumpy.core."
Tracks = dict[Any, dict[str, Any]]


def write_pickle(store: ResultStore, path: str | Path) -> None:
    """Writes the results of a data set.

    `bbox_result` has all detections, before tracking. `segm_result` has their masks where they
    were asked for; otherwise its lists are empty, as they always are with both kinds of masks.

    Args:
        store: results of every video.
        path: the .pkl file.

    Raises:
        OSError: the file cannot be written.
    """
    count, joint = len(store.categories), store.masks == "joint"
    nothing: list[Any] = [[] for _ in range(count)]
    parts: dict[str, Callable[[FrameResult], Any]] = {
        "bbox_result": lambda frame: boxes_by_class(frame, count),
        "segm_result": lambda frame: [nothing, nothing] if joint else masks_by_class(frame, count),
        "track_result": lambda frame: (
            [tracks_of(frame, "amodal"), tracks_of(frame, "visible")]
            if joint
            else tracks_of(frame, store.masks)
        ),
    }
    if joint:
        parts["segm_result_a"] = parts["segm_result_v"] = lambda _: nothing
        parts["track_result_a"] = lambda frame: tracks_of(frame, "amodal")
        parts["track_result_v"] = lambda frame: tracks_of(frame, "visible")
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(_START)
        for key, value_of in parts.items():
            handle.write(_body(key) + _EMPTY_LIST)
            for frame in store.all_frames():
                handle.write(_body(value_of(frame)) + _APPEND)
            handle.write(_SET)
        handle.write(_END)


def _body(value: Any) -> bytes:
    """A pickled value without the marks around it, to stand inside of another pickle."""
    return pickle.dumps(value, _PROTOCOL)[2:-1].replace(_NEW_NUMPY, _NUMPY)


def boxes_by_class(frame: FrameResult, num_classes: int) -> list[np.ndarray]:
    """Boxes and scores (k, 5) of the detections of every class."""
    return [frame.det_boxes[frame.det_labels == label] for label in range(num_classes)]


def masks_by_class(frame: FrameResult, num_classes: int) -> list[list[dict[str, Any]]]:
    """Masks of the detections of every class; none where they were not made."""
    lists: list[list[dict[str, Any]]] = [[] for _ in range(num_classes)]
    for label, mask in zip(frame.det_labels, frame.det_masks or (), strict=False):
        lists[label].append(_packed(mask))
    return lists


def tracks_of(frame: FrameResult, masks: str) -> Tracks:
    """Tracks by number, each with bbox (5,), label and mask.

    Args:
        frame: the frame.
        masks: "visible" or "amodal".
    """
    is_visible = masks == "visible"
    encoded = frame.visible_masks if is_visible else frame.amodal_masks
    own = frame.visible_boxes if is_visible else None
    boxes = frame.boxes if own is None else own
    assert encoded is not None
    return {
        number: {"bbox": boxes[row], "label": int(frame.labels[row]), "segm": _packed(encoded[row])}
        for row, number in enumerate(frame.ids)
    }


def _packed(mask: RLE) -> dict[str, Any]:
    return {"size": list(mask["size"]), "counts": mask["counts"].encode("ascii")}


def read_detections(path: str | Path) -> Iterator[tuple[list[Any], list[Any] | None]]:
    """Boxes by class, and masks by class where there are any, of every frame of a file.

    Raises:
        DatasetError: no result file, or one without detections.
    """
    content = load_pickle(path)
    boxes = content.get("bbox_result") if isinstance(content, dict) else None
    if not isinstance(boxes, list):
        raise DatasetError(f"{path}: bbox_result: expected a list over frames: there is none")
    masks = content.get("segm_result")
    has_masks = isinstance(masks, list) and len(masks) == len(boxes)
    for position, of_frame in enumerate(boxes):
        if not isinstance(of_frame, Sequence):
            raise DatasetError(f"{path}: frame {position}, bbox_result: expected a list by class")
        yield list(of_frame), list(masks[position]) if has_masks else None
