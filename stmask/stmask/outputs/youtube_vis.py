"""The submission of YouTube-VIS and OVIS: scored tracks with a class. Source: spec section 9.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stmask.inference.postprocess import FrameResult
from vidseg_common import rle
from vidseg_common.errors import DatasetError


@dataclass
class _Track:
    """What was seen of one object: its mask by frame, its score and class of every frame."""

    masks: dict[int, rle.RLE] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    classes: Counter[int] = field(default_factory=Counter)


class VideoTracks:
    """Gathers the results of one video, frame by frame; masks are kept as run lengths.

    Args:
        video_id: of the data set.
        category_ids: of the data set in ascending order: class l is `category_ids[l - 1]`; None
            leaves classes as they are.
    """

    def __init__(self, video_id: int, category_ids: Sequence[int] | None = None) -> None:
        self.video_id = video_id
        self._category_ids = category_ids
        self._tracks: dict[int, _Track] = {}
        self._last_frame = -1

    @property
    def ids(self) -> list[int]:
        """Ids of the objects in the order in which they appeared, that of `entries`."""
        return list(self._tracks)

    def add(self, frame_idx: int, result: FrameResult) -> None:
        """Adds a frame.

        Args:
            frame_idx: from 0, greater than that of the frame before.
            result: with masks.

        Raises:
            DatasetError: the frame comes out of order, or has a class that the data set lacks.
        """
        if frame_idx <= self._last_frame:
            raise DatasetError(
                f"video {self.video_id}, frame {frame_idx}: expected a frame after "
                f"{self._last_frame}"
            )
        self._last_frame = frame_idx
        for i, object_id in enumerate(result.ids.tolist()):
            label = int(result.classes[i])
            if self._category_ids is not None and not 1 <= label <= len(self._category_ids):
                raise DatasetError(
                    f"video {self.video_id}, object {object_id}: class {label}, but the data set "
                    f"has {len(self._category_ids)} categories; is the configuration the one of "
                    "this data set?"
                )
            track = self._tracks.setdefault(object_id, _Track())
            track.masks[frame_idx] = rle.encode(result.masks[i])
            track.scores.append(float(result.scores[i]))
            track.classes[label] += 1

    def entries(self, num_frames: int) -> list[dict[str, Any]]:
        """What the submission holds about the video, in the order in which objects appeared.

        Args:
            num_frames: of the video; every list of masks is as long, with None where the object
                is not seen.

        Raises:
            DatasetError: frames beyond that number were added.
        """
        if self._last_frame >= num_frames:
            raise DatasetError(
                f"video {self.video_id}: results of frame {self._last_frame}, but the video has "
                f"{num_frames} frames"
            )
        return [
            {
                "video_id": self.video_id,
                # In single precision, as released results are.
                "score": float(np.mean(np.array(track.scores, np.float32))),
                "category_id": self._category_of(_most_frequent(track.classes)),
                "segmentations": [track.masks.get(i) for i in range(num_frames)],
            }
            for track in self._tracks.values()
        ]

    def _category_of(self, label: int) -> int:
        return label if self._category_ids is None else self._category_ids[label - 1]


def _most_frequent(classes: Mapping[int, int]) -> int:
    """The class of most frames, the smallest of equally frequent ones."""
    return min(classes, key=lambda label: (-classes[label], label))
