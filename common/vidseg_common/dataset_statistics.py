"""What a data set holds, counted clip by clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tqdm import tqdm

from vidseg_common.datasets.annotations import AnnotationSet, Clip


@dataclass
class Statistics:
    """Counts of a data set.

    Attributes:
        videos: number of videos.
        frames: number of frames of all videos.
        video_lengths: number of frames of each video.
        sizes: "HxW" to number of videos.
        tracks: number of tracks.
        masks: number of visible masks.
        crowds: number of tracks that are groups of objects.
        categories: name to number of tracks, in the order of the file.
        track_lengths: number of frames in which each track is visible.
        tracks_per_video: number of tracks of each video.
        unlabelled: number of frames of unknown content.
        missing_images: names of images that are not there.
        checked_images: whether images were looked for.
    """

    videos: int = 0
    frames: int = 0
    video_lengths: list[int] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    masks: int = 0
    crowds: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    track_lengths: list[int] = field(default_factory=list)
    tracks_per_video: list[int] = field(default_factory=list)
    unlabelled: int = 0
    missing_images: list[str] = field(default_factory=list)
    checked_images: bool = False

    def to_json(self) -> dict[str, Any]:
        """Everything, lists of lengths as their summary."""
        return {
            "videos": self.videos,
            "frames": self.frames,
            "video_lengths": summary_of(self.video_lengths),
            "sizes": dict(self.sizes.most_common()),
            "tracks": self.tracks,
            "masks": self.masks,
            "crowds": self.crowds,
            "categories": dict(self.categories),
            "track_lengths": summary_of(self.track_lengths),
            "tracks_per_video": summary_of(self.tracks_per_video),
            "unlabelled_frames": self.unlabelled,
            "missing_images": self.missing_images if self.checked_images else None,
        }


def summary_of(values: Iterable[int]) -> dict[str, float] | None:
    """Smallest, median, mean and largest of some numbers, None where there are none."""
    held = list(values)
    if not held:
        return None
    return {
        "min": min(held),
        "median": float(median(held)),
        "mean": sum(held) / len(held),
        "max": max(held),
    }


def statistics_of(data: AnnotationSet, *, progress: bool = False) -> Statistics:
    """Counts a data set; images are looked for where their root is known.

    Args:
        data: the data set.
        progress: shows a bar on stderr.
    """
    names = data.category_names()
    found = Statistics(checked_images=data.image_root is not None)
    # Every category is listed, also those without a track.
    found.categories.update(dict.fromkeys(names.values(), 0))
    clips = data.clips() if data.has_annotations else (Clip(video, []) for video in data.videos)
    for clip in tqdm(
        clips, total=len(data.videos), unit="video", disable=not progress, leave=False
    ):
        _count_video(found, data, clip)
        for track in clip.tracks:
            length = sum(mask is not None for mask in track.segmentations)
            found.track_lengths.append(length)
            found.masks += length
            found.crowds += track.is_crowd
            found.categories[names.get(track.category_id, f"number {track.category_id}")] += 1
    return found


def _count_video(found: Statistics, data: AnnotationSet, clip: Clip) -> None:
    video = clip.video
    found.videos += 1
    found.frames += video.num_frames
    found.video_lengths.append(video.num_frames)
    found.sizes[f"{video.height}x{video.width}"] += 1
    found.tracks += len(clip.tracks)
    found.tracks_per_video.append(len(clip.tracks))
    if clip.labelled is not None:
        found.unlabelled += video.num_frames - len(clip.labelled)
    if data.image_root is not None:
        found.missing_images += [
            name for name in video.file_names if not (data.image_root / name).is_file()
        ]
