"""Ground truth of the video-level AP of SAIL-VOS: one entry per object, as in YouTube-VIS.

Source: spec vatrack section 4.1, "Per-video ground truth".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track, Video
from vidseg_common.datasets.json_stream import iter_items
from vidseg_common.datasets.sailvos_writer import dump_lists
from vidseg_common.datasets.spool import TrackSpool
from vidseg_common.errors import DatasetError
from vidseg_common.files import atomic_path

__all__ = [
    "MAX_OCCLUDE_RATE",
    "Masks",
    "box_of",
    "check_masks",
    "kind_of_results",
    "masks_of",
    "read_per_video",
    "stated_area",
    "without_hidden",
    "write_per_video",
]

MAX_OCCLUDE_RATE = 0.75
"""Official files leave out objects of which more than this share is hidden."""

Masks = Literal["visible", "amodal"]
Entry = TypeVar("Entry")


def kind_of_results(results: AnnotationSet) -> Literal["visible", "amodal", "joint"]:
    """Which masks results have: what `info["masks"]` says, else all where a track has amodal."""
    kind: Literal["visible", "amodal", "joint"] | None = results.info.get("masks")
    if kind is not None:
        return kind
    tracks = (track for clip in results.clips() for track in clip.tracks)
    return "joint" if any(track.amodal is not None for track in tracks) else "visible"


def check_masks(results: AnnotationSet, masks: Masks) -> None:
    """Makes sure that results have the masks that shall be compared.

    Raises:
        DatasetError: they have only the other ones, which would all count as missed.
    """
    kind = kind_of_results(results)
    if kind not in (masks, "joint"):
        raise DatasetError(
            f"the results have {kind} masks only, there are no {masks} ones to score"
        )


def masks_of(track: Track, masks: Masks) -> Sequence[rle.RLE | None]:
    """The visible or the amodal mask of every frame."""
    if masks == "visible":
        return track.segmentations
    return track.amodal or [None] * len(track.segmentations)


def stated_area(track: Track, frame: int, masks: Masks) -> float:
    """Area of a mask in a frame: what the file says, else its pixels; 0 without mask."""
    mask = masks_of(track, masks)[frame]
    if masks == "visible":
        stated = track.areas[frame] if track.areas else None
    else:
        stated = _frame_extra(track, frame).get("area_amodal")
    if stated is not None:
        return float(stated)
    return 0.0 if mask is None else float(rle.area(mask))


def box_of(track: Track, frame: int, masks: Masks) -> list[float] | None:
    """Box [x, y, w, h] of a mask in a frame: what the file says, else that of its pixels.

    Boxes of amodal masks are in `extra`: by frame in ground truth, as a list in results.
    """
    stated = _frame_extra(track, frame).get(f"bbox_{masks}")
    boxes = track.bboxes if masks == "visible" else track.extra.get("bboxes_amodal")
    if stated is None and boxes:
        stated = boxes[frame]
    mask = masks_of(track, masks)[frame]
    if stated is None and mask is not None:
        return rle.to_bbox(mask)
    return stated


def _frame_extra(track: Track, frame: int) -> Mapping[str, Any]:
    frames = track.extra.get("frames")
    return (frames[frame] if frames else None) or {}


def without_hidden(annotations: AnnotationSet, max_rate: float = MAX_OCCLUDE_RATE) -> AnnotationSet:
    """Leaves out the frames in which more than a share of an object is hidden.

    Args:
        annotations: with `occlude_rates`; tracks without them stay as they are.
        max_rate: the largest share that stays.
    """

    def load(position: int) -> Clip:
        clip = annotations.load(position)
        kept = [_visible_frames(track, max_rate) for track in clip.tracks]
        return replace(clip, tracks=[track for track in kept if track is not None])

    return replace(annotations, load=load)


def _visible_frames(track: Track, max_rate: float) -> Track | None:
    """The track without its hidden frames; None when nothing is left."""
    if track.occlude_rates is None:
        return track
    keep = [rate is None or rate <= max_rate for rate in track.occlude_rates]
    if all(keep):
        return track
    if not any(k and r is not None for k, r in zip(keep, track.occlude_rates, strict=True)):
        return None

    def cut(values: list[Entry | None] | None) -> list[Entry | None] | None:
        return values and [v if k else None for v, k in zip(values, keep, strict=True)]

    extra = dict(track.extra)
    if extra.get("frames"):
        extra["frames"] = cut(extra["frames"])
    return replace(
        track,
        segmentations=cut(track.segmentations) or [],
        areas=cut(track.areas),
        bboxes=cut(track.bboxes),
        amodal=cut(track.amodal),
        occlusion=cut(track.occlusion),
        occlude_rates=cut(track.occlude_rates),
        extra=extra,
    )


def write_per_video(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    masks: Masks = "visible",
    max_rate: float = MAX_OCCLUDE_RATE,
) -> None:
    """Writes the per-video ground truth that the video-level AP of SAIL-VOS reads.

    Args:
        annotations: an annotation file of any kind, as `sailvos.read` gives it.
        out: the JSON file.
        masks: which masks, boxes and areas to take.
        max_rate: the largest hidden share that stays.
    """
    kept = without_hidden(annotations, max_rate)
    content = {
        "videos": [_video_entry(video) for video in kept.videos],
        "categories": [vars(category) for category in kept.categories],
        "annotations": _entries(kept, masks),
    }
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        dump_lists(handle, content.items())


def _video_entry(video: Video) -> dict[str, Any]:
    return {
        "id": video.id,
        "name": video.name,
        "width": video.width,
        "height": video.height,
        "num_frames": video.num_frames,
        "length": video.num_frames,
        "file_names": list(video.file_names),
    }


def _entries(annotations: AnnotationSet, masks: Masks) -> Iterator[dict[str, Any]]:
    number = 0
    for clip in annotations.clips():
        for track in sorted(clip.tracks, key=lambda track: track.id):
            number += 1
            found = masks_of(track, masks)
            frames = range(clip.video.num_frames)
            rates = track.occlude_rates or [None] * len(frames)
            yield {
                "id": number,
                "video_id": clip.video.id,
                "category_id": track.category_id,
                "iscrowd": int(track.is_crowd),
                "segmentations": list(found),
                "areas": [stated_area(track, f, masks) if found[f] else None for f in frames],
                "bboxes": [box_of(track, f, masks) if found[f] else None for f in frames],
                "occlude_rate": [rates[f] if found[f] else None for f in frames],
            }


def read_per_video(path: str | Path, *, masks: Masks = "visible") -> AnnotationSet:
    """Reads per-video ground truth, own or upstream's.

    Args:
        path: the JSON file.
        masks: whether its masks are the visible or the amodal ones; the file does not say.

    Raises:
        DatasetError: the file is not of this form; the first fault is named.
    """
    videos: list[Video] = []
    categories: list[Category] = []
    spool = TrackSpool()
    rows: dict[int, list[int]] = defaultdict(list)
    for key, item in iter_items(path, ["videos", "categories", "annotations"]):
        try:
            if key == "videos":
                videos.append(_video_of(item))
            elif key == "categories":
                categories.append(Category(item["id"], item["name"], item.get("supercategory", "")))
            else:
                rows[item["video_id"]].append(spool.append(_track_of(item, masks)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"{path}: bad entry of {key!r} ({error!r}): {item!r:.100}") from None
    _check_lengths(Path(path), videos, rows, spool)
    return AnnotationSet(
        videos=videos,
        categories=categories,
        load=lambda position: Clip(
            videos[position], [spool[row] for row in rows.get(videos[position].id, ())]
        ),
        info={"masks": masks},
    )


def _video_of(item: Mapping[str, Any]) -> Video:
    length = int(item["num_frames"] if "num_frames" in item else item["length"])
    # Upstream's files have no names; those of the official tree count up.
    names = item.get("file_names") or [f"{item['name']}/images/{i:06d}.png" for i in range(length)]
    return Video(item["id"], item["name"], item["height"], item["width"], tuple(names))


def _track_of(item: Mapping[str, Any], masks: Masks) -> Track:
    found = list(item["segmentations"])
    nothing: list[Any] = [None] * len(found)
    areas, bboxes = list(item["areas"]), list(item["bboxes"])
    rates = list(item["occlude_rate"])
    if not len(found) == len(areas) == len(bboxes) == len(rates):
        raise ValueError("lists of different lengths")
    frames = [
        None if mask is None else {f"bbox_{masks}": bboxes[f], f"area_{masks}": areas[f]}
        for f, mask in enumerate(found)
    ]
    return Track(
        id=int(item["id"]),
        category_id=int(item["category_id"]),
        segmentations=found if masks == "visible" else nothing,
        is_crowd=bool(item.get("iscrowd", 0)),
        areas=areas if masks == "visible" else None,
        bboxes=bboxes if masks == "visible" else None,
        amodal=found if masks == "amodal" else None,
        occlude_rates=rates,
        extra={"frames": frames},
    )


def _check_lengths(
    path: Path, videos: list[Video], rows: Mapping[int, list[int]], spool: TrackSpool
) -> None:
    lengths = {video.id: video.num_frames for video in videos}
    unknown = sorted(rows.keys() - lengths.keys())
    if unknown:
        raise DatasetError(f"{path}: annotations of videos that are not listed: {unknown}")
    for video_id, positions in rows.items():
        for track in map(spool.__getitem__, positions):
            if len(track.segmentations) != lengths[video_id]:
                raise DatasetError(
                    f"{path}: annotation {track.id}: {len(track.segmentations)} masks, video "
                    f"{video_id} has {lengths[video_id]} frames"
                )
