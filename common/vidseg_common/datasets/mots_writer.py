"""Writes annotation sets as KITTI-MOTS and MOTSChallenge. Source: spec common section 1.5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vidseg_common import rle as codec
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track, Video
from vidseg_common.datasets.mask_writer import OVERLAP, clips_to_write, id_maps, note_lost_fields
from vidseg_common.datasets.mots_files import (
    CLASS_NAMES,
    IDS_PER_CLASS,
    IGNORE_CLASS,
    IGNORE_ID,
    MotsObject,
    format_txt,
    write_id_map,
)
from vidseg_common.datasets.mots_layout import Form
from vidseg_common.datasets.overlap import separate
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_text
from vidseg_common.rle import RLE

__all__ = ["write", "write_results"]

_CLASS_OF = {name: i for i, name in CLASS_NAMES.items()} | {"person": 2}


def write(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    split: str = "val",
    progress: bool = False,
    form: Form = "png",
) -> list[str]:
    """Writes the cars and pedestrians of a data set.

    Crowds become ignore regions. An id that is not of its class gets the class in front, or a
    new number where that is taken.

    Args:
        annotations: what to write.
        out: root: gets `instances/SEQ/NNNNNN.png` or `instances_txt/SEQ.txt` and `SPLIT.seqmap`,
            or `MOTS-SPLIT/SEQ/gt/gt.txt` with seqinfo.ini and `seqmaps/MOTS-SPLIT.txt`.
        split: name of the list of sequences.
        progress: shows a bar on stderr.
        form: "png", "txt" or "challenge".

    Returns:
        What the format cannot hold.

    Raises:
        DatasetError: no category is car or pedestrian, a video without frames, or more than 999
            objects of a class.
        OSError: a file cannot be written.
    """
    out, losses = Path(out), WriteLosses()
    first = 1 if form == "challenge" else 0
    for clip in _mots_clips(annotations, losses, progress):
        name = clip.video.name
        if form == "png":
            values = [track.id for track in clip.tracks]
            maps = id_maps(clip, clip.tracks, values, losses, ignore_value=IGNORE_ID)
            for t, id_map in maps:
                write_id_map(out / "instances" / name / f"{t:06d}.png", id_map)
        elif form == "txt":
            write_text(out / "instances_txt" / f"{name}.txt", _text(clip, first, losses))
        else:
            folder = out / f"MOTS-{split}" / name
            write_text(folder / "gt" / "gt.txt", _text(clip, first, losses))
            write_text(folder / "seqinfo.ini", _seqinfo(clip.video))
    _write_seqmap(annotations.videos, out, split, form)
    return losses.warnings()


def write_results(
    annotations: AnnotationSet, out: str | Path, *, progress: bool = False
) -> list[str]:
    """Writes results, `SEQUENCE.txt`; arguments, result and errors as `write`.

    Frames count from `Video.extra["first_frame"]`, by default 0. Ids are kept where they are
    different numbers above 0: the evaluations only compare them.
    """
    losses = WriteLosses()
    for clip in _mots_clips(annotations, losses, progress, any_id=True):
        first = int(clip.video.extra.get("first_frame", 0))
        write_text(Path(out) / f"{clip.video.name}.txt", _text(clip, first, losses))
    return losses.warnings()


def _write_seqmap(videos: Sequence[Video], out: Path, split: str, form: Form) -> None:
    if form == "challenge":
        names = "".join(f"{video.name}\n" for video in videos)
        write_text(out / "seqmaps" / f"MOTS-{split}.txt", f"name\n{names}")
        return
    lines = (f"{video.name} empty 000000 {video.num_frames - 1:06d}\n" for video in videos)
    write_text(out / f"{split}.seqmap", "".join(lines))


def _seqinfo(video: Video) -> str:
    return (
        f"[Sequence]\nname={video.name}\nimDir=img1\nseqLength={video.num_frames}\n"
        f"imWidth={video.width}\nimHeight={video.height}\nimExt=.jpg\n"
    )


def _mots_clips(
    annotations: AnnotationSet, losses: WriteLosses, progress: bool, *, any_id: bool = False
) -> Iterator[Clip]:
    """The clips with ids and classes of MOTS, and crowds in the ignore region."""
    classes = _classes(annotations.categories)
    for clip in clips_to_write(annotations, progress=progress):
        if not clip.video.num_frames:
            raise DatasetError(f"video {clip.video.name} has no frames")
        kept = [track for track in clip.tracks if track.category_id in classes]
        losses.add("tracks that are neither car nor pedestrian", len(clip.tracks) - len(kept))
        crowds = [track for track in kept if track.is_crowd]
        losses.add("crowds that became ignore regions", len(crowds))
        objects = [track for track in kept if not track.is_crowd]
        if clip.labelled is not None:
            missing = clip.video.num_frames - len(clip.labelled)
            losses.add("frames without annotation, which count as empty", missing)
        ids = {track.id for track in objects} - {IGNORE_ID}
        if any_id and len(ids) == len(objects) and min(ids, default=1) > 0:
            tracks = [replace(track, category_id=classes[track.category_id]) for track in objects]
        else:
            tracks = _with_ids(clip.video, objects, classes, losses)
        made = replace(clip, tracks=tracks, ignore=_ignore(clip, crowds))
        note_lost_fields(made, losses, keeps_ignore=True)
        yield made


def _classes(categories: Sequence[Category]) -> dict[int, int]:
    """Class of MOTS by category number; categories that MOTS does not have are left out."""
    classes = {c.id: _CLASS_OF[c.name.lower()] for c in categories if c.name.lower() in _CLASS_OF}
    if not classes:
        names = ", ".join(category.name for category in categories) or "none"
        raise DatasetError(
            f"MOTS holds cars and pedestrians, the categories of the data set are: {names}; "
            "rename those that are meant"
        )
    return classes


def _ignore(clip: Clip, crowds: Sequence[Track]) -> list[RLE | None] | None:
    if not crowds:
        return clip.ignore
    regions: list[RLE | None] = []
    for t in range(clip.video.num_frames):
        parts = [track.segmentations[t] for track in crowds]
        parts.append(clip.ignore[t] if clip.ignore is not None else None)
        present = [part for part in parts if part is not None]
        regions.append(codec.merge(present) if len(present) > 1 else next(iter(present), None))
    return regions


def _with_ids(
    video: Video, tracks: Sequence[Track], classes: Mapping[int, int], losses: WriteLosses
) -> list[Track]:
    """Gives every track an id of its class, its own where that is one."""
    taken = {
        track.id for track in tracks if track.id // IDS_PER_CLASS == classes[track.category_id]
    }
    made: list[Track] = []
    used: set[int] = set()
    for track in tracks:
        class_id = classes[track.category_id]
        start = class_id * IDS_PER_CLASS
        new = track.id
        if new not in taken or new in used:
            new = start + track.id
            if not start < new < start + IDS_PER_CLASS or new in taken | used:
                free = (i for i in range(start + 1, start + IDS_PER_CLASS) if i not in taken | used)
                new = next(free, 0)
            losses.add("tracks that got another id (class * 1000 + number)")
        if not new:
            raise DatasetError(
                f"video {video.name} has too many objects of class {class_id}: the format has "
                f"{IDS_PER_CLASS - 1} ids for them"
            )
        used.add(new)
        made.append(replace(track, id=new, category_id=class_id))
    return made


def _text(clip: Clip, first: int, losses: WriteLosses) -> str:
    """The text of a sequence; masks of one frame no longer overlap."""
    objects: list[MotsObject] = []
    scores = [None, *(track.score for track in clip.tracks)]
    for t in range(clip.video.num_frames):
        region = clip.ignore[t] if clip.ignore is not None else None
        masks, taken = separate(
            [region, *(track.segmentations[t] for track in clip.tracks)], scores
        )
        losses.add(OVERLAP, taken)
        if masks[0] is not None:
            objects.append(MotsObject(t + first, IGNORE_ID, IGNORE_CLASS, masks[0]))
        objects += [
            MotsObject(t + first, track.id, track.category_id, mask)
            for track, mask in zip(clip.tracks, masks[1:], strict=True)
            if mask is not None
        ]
    return format_txt(objects)
