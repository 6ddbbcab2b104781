"""YouTube-VOS 2018 / 2019 and its results as annotation sets. Source: spec common section 1.3.

The splits valid and test annotate an object only in the frame in which it first appears, so
`Clip.labelled` holds just those frames. The frames that meta.json lists for an object are kept in
`Track.extra["frames"]`, and their union over the objects in `Video.extra["required"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Problem, Track, Video
from vidseg_common.datasets.mask_tree import (
    OBJECT,
    ClipLoader,
    MaskEntry,
    MaskRules,
    MaskTree,
    annotation_set,
    frame_stems,
    validate_clips,
)
from vidseg_common.datasets.mask_writer import (
    clips_to_write,
    id_maps,
    note_lost_fields,
    object_numbers,
)
from vidseg_common.datasets.records import unknown_folders
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.datasets.youtube_vos import Meta, ObjectMeta, categories_of, read_meta
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.files import write_json
from vidseg_common.masks import MAX_ID, write_mask
from vidseg_common.rle import RLE

__all__ = ["read", "read_results", "validate", "validate_results", "write", "write_results"]

_SPLITS = ("train", "train_480p", "valid", "test")
_FIRST_ONLY = ("valid", "test")


@dataclass(frozen=True)
class _Loader:
    """Reads a video and gives its objects what meta.json tells of them."""

    masks: ClipLoader
    meta: Meta
    categories: Mapping[str, int]

    def __call__(self, position: int) -> Clip:
        clip = self.masks(position)
        found = {track.id: track.segmentations for track in clip.tracks}
        empty: list[RLE | None] = [None] * clip.video.num_frames
        # An id that meta.json does not know is no object (spec 4.9).
        return replace(
            clip,
            tracks=[
                self._track(i, entry, found.get(i, empty))
                for i, entry in self.meta.get(clip.video.name, {}).items()
            ],
        )

    def _track(self, i: int, entry: ObjectMeta, masks: Sequence[RLE | None]) -> Track:
        extra: dict[str, Any] = {"frames": list(entry.frames)}
        if not entry.category:
            extra["category"] = None
        category = self.categories[entry.category or OBJECT.name]
        return Track(i, category, list(masks), extra=extra)


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    all_frames: bool = False,
) -> AnnotationSet:
    """Lists a split; masks are decoded clip by clip.

    Args:
        path: root of the data set, or folder of the split (the one with meta.json).
        images: folder with one sub-folder of images per video, by default JPEGImages of the
            split. Without images the frames are those that masks and meta.json name.
        split: "train", "train_480p", "valid" or "test"; by default "valid", or the only one.
        progress: not needed, listing is fast.
        all_frames: take the 30-fps frames of `all_frames/SPLIT_all_frames`.

    Raises:
        DatasetError: files of the layout are missing; all of them are listed. Loading a clip
            raises it for masks that cannot be used.
    """
    tree, loader = _open(Path(path), images, split, all_frames)
    videos = [entry.video for entry in loader.masks.entries]
    categories = [Category(i, name) for name, i in loader.categories.items()]
    return annotation_set(tree, loader, videos, categories, format="youtube-vos")


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    all_frames: bool = False,
) -> list[Problem]:
    """Lists everything that is wrong with a split; arguments as `read`."""
    try:
        tree, loader = _open(Path(path), images, split, all_frames, thorough=True)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]

    meta_file = tree.masks.parent / "meta.json"

    def check(clip: Clip, entry: MaskEntry) -> list[Problem]:
        return _check_clip(clip, entry, loader.meta.get(clip.video.name, {}), meta_file)

    return [*tree.problems, *validate_clips(loader.masks, check, progress=progress)]


def _check_clip(
    clip: Clip, entry: MaskEntry, objects: Mapping[int, ObjectMeta], meta_file: Path
) -> list[Problem]:
    where = f"video {clip.video.name}"
    problems: list[Problem] = []
    stems = frame_stems(clip.video)
    for track in clip.tracks:
        shown = [t for t in sorted(entry.masks) if track.is_visible(t)]
        path = entry.masks[shown[0]]
        if track.id not in objects:
            message = f"object {track.id} is not in meta.json"
            problems.append(Problem(path, where, "objects", message))
        elif stems[shown[0]] not in objects[track.id].frames:
            message = f"object {track.id} is shown, but meta.json does not list it in this frame"
            problems.append(Problem(path, where, "frames", message))
    unseen = sorted(objects.keys() - {track.id for track in clip.tracks})
    return problems + [
        Problem(meta_file, where, "objects", f"object {i} has no mask") for i in unseen
    ]


def _open(
    path: Path,
    images: str | Path | None,
    split: str | None,
    all_frames: bool,
    *,
    thorough: bool = False,
) -> tuple[MaskTree, _Loader]:
    folder = _split_folder(path, split)
    meta = read_meta(folder / "meta.json")
    dense = folder.parent / "all_frames" / f"{folder.name}_all_frames" / "JPEGImages"
    if images is None:
        images = dense if all_frames else folder / "JPEGImages"
        if all_frames and not dense.is_dir():
            raise DatasetError(f"folder of the 30-fps frames not found: {dense}")
    elif not Path(images).is_dir():
        raise DatasetError(f"folder of images not found: {images}")
    there = Path(images) if Path(images).is_dir() else None
    tree = MaskTree(folder / "Annotations", there, thorough)
    for name in sorted(set(tree.names()) - meta.keys()):
        tree.complain(folder / "meta.json", f"video {name} is missing", "videos")
    is_whole = folder.name not in _FIRST_ONLY and not all_frames
    found = (
        tree.find(name, number, required=range if is_whole else None, **_required(meta[name]))
        for number, name in enumerate(sorted(meta), start=1)
    )
    entries = [entry for entry in found if entry is not None]
    names = sorted({name or OBJECT.name for name in categories_of(meta)})
    # Frames of the 30-fps video between the annotated ones are unknown, as are frames of valid.
    loader = ClipLoader(entries, MaskRules())
    return tree, _Loader(loader, meta, {name: i for i, name in enumerate(names, start=1)})


def _required(objects: Mapping[int, ObjectMeta]) -> dict[str, Any]:
    """The frames that a submission must have, as `MaskTree.find` takes them."""
    names = sorted({frame for entry in objects.values() for frame in entry.frames})
    return {"more_frames": names, "extra": {"required": names}}


def _split_folder(path: Path, split: str | None) -> Path:
    """Folder of a split, of the data set's root or itself.

    Raises:
        DatasetError: there is none, or several and none was named.
    """
    split = "valid" if split == "val" else split
    if (path / "meta.json").is_file() and (split is None or not (path / split).is_dir()):
        return path
    if split is not None:
        return path / split
    there = [name for name in _SPLITS if (path / name / "meta.json").is_file()]
    if not there:
        raise DatasetError(f"no meta.json in {path} or in a folder {', '.join(_SPLITS)} of it")
    if len(there) > 1 and "valid" not in there:
        raise DatasetError(f"{path} has the splits {', '.join(there)}; name one")
    return path / ("valid" if "valid" in there else there[0])


def write(
    annotations: AnnotationSet, out: str | Path, *, split: str = "valid", progress: bool = False
) -> list[str]:
    """Writes `SPLIT/Annotations` and `SPLIT/meta.json`.

    Args:
        annotations: what to write; frames keep their names.
        out: root of the data set.
        split: "valid" ("val") and "test" show every object only where it first appears, any
            other split in all frames.
        progress: shows a bar on stderr.

    Returns:
        What the format cannot hold.

    Raises:
        DatasetError: no video, more than 255 objects, or names that cannot be those of folders.
        OSError: a file cannot be written.
    """
    folder = Path(out) / ("valid" if split == "val" else split)
    losses = WriteLosses()
    names = annotations.category_names()
    meta: dict[str, Any] = {}
    for clip in clips_to_write(annotations, progress=progress):
        note_lost_fields(clip, losses)
        values = object_numbers(clip, losses, max_id=MAX_ID)
        stems = frame_stems(clip.video)
        objects = {
            str(value): _meta_entry(track, names, stems)
            for value, track in zip(values, clip.tracks, strict=True)
        }
        meta[clip.video.name] = {"objects": objects}
        shown = _first_sights(clip, losses) if folder.name in _FIRST_ONLY else clip
        for t, id_map in id_maps(shown, shown.tracks, values, losses):
            write_mask(folder / "Annotations" / clip.video.name / f"{stems[t]}.png", id_map)
    write_json(folder / "meta.json", {"videos": meta})
    return losses.warnings()


def _meta_entry(track: Track, names: Mapping[int, str], stems: Sequence[str]) -> dict[str, Any]:
    frames = track.extra.get("frames")
    # Frames that were renamed since make the list of the source useless.
    if frames is None or not set(frames) <= set(stems):
        first = next((t for t in range(len(stems)) if track.is_visible(t)), len(stems))
        frames = stems[first:]
    if track.extra.get("category", "") is None:
        return {"frames": list(frames)}
    return {"category": names[track.category_id], "frames": list(frames)}


def _first_sights(clip: Clip, losses: WriteLosses) -> Clip:
    """Keeps of every object the first mask alone, and of the frames those that show one."""
    tracks: list[Track] = []
    labelled: set[int] = set()
    for track in clip.tracks:
        visible = [t for t in range(clip.video.num_frames) if track.is_visible(t)]
        labelled.update(visible[:1])
        masks = [rle if t in visible[:1] else None for t, rle in enumerate(track.segmentations)]
        tracks.append(replace(track, segmentations=masks))
        losses.add("masks after the first of an object (write a split train)", len(visible[1:]))
    return replace(clip, tracks=tracks, labelled=frozenset(labelled))


def read_results(path: str | Path, truth: AnnotationSet | None = None) -> AnnotationSet:
    """Lists results: `Annotations/VIDEO/NNNNN.png`.

    Args:
        path: folder of results, with or without the folder Annotations.
        truth: the data set they belong to. The frames that its meta.json lists must be there;
            others may be, and `info["other_videos"]` names the videos that it does not have.
            Without it videos and frames are those found.

    Raises:
        DatasetError: results are missing; all of them are listed. Loading a clip raises it for
            masks that cannot be used.
    """
    tree, loader = _open_results(Path(path), truth)
    videos = [entry.video for entry in loader.entries]
    others = unknown_folders(tree.masks, (video.name for video in videos))
    return annotation_set(tree, loader, videos, format="youtube-vos-results", other_videos=others)


def validate_results(
    path: str | Path, truth: AnnotationSet | None = None, *, progress: bool = False
) -> list[Problem]:
    """Lists everything that is wrong with results; arguments as `read_results`."""
    try:
        tree, loader = _open_results(Path(path), truth, thorough=True)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]
    if truth is None:
        return [*tree.problems, *validate_clips(loader, progress=progress)]
    for name in unknown_folders(tree.masks, (video.name for video in truth.videos)):
        tree.complain(tree.masks / name, "the data set has no video of this name")
    positions = {video.name: i for i, video in enumerate(truth.videos)}

    def check(clip: Clip, entry: MaskEntry) -> list[Problem]:
        ids = {track.id for track in truth.load(positions[clip.video.name]).tracks}
        where = f"video {clip.video.name}"
        return [
            Problem(_first_file(track, entry), where, "id", f"object {track.id} does not exist")
            for track in clip.tracks
            if track.id not in ids
        ]

    return [*tree.problems, *validate_clips(loader, check, progress=progress)]


def _first_file(track: Track, entry: MaskEntry) -> Path:
    return next(entry.masks[t] for t in sorted(entry.masks) if track.is_visible(t))


def _open_results(
    path: Path, truth: AnnotationSet | None, *, thorough: bool = False
) -> tuple[MaskTree, ClipLoader]:
    if not path.is_dir():
        raise DatasetError(f"folder of results not found: {path}")
    tree = MaskTree(
        path / "Annotations" if (path / "Annotations").is_dir() else path, thorough=thorough
    )
    if truth is None:
        found = [tree.find(name, i) for i, name in enumerate(tree.names(), start=1)]
        return tree, ClipLoader([entry for entry in found if entry is not None])
    entries = []
    for video in truth.videos:
        names = _required_stems(video)
        wanted = [t for t, stem in enumerate(frame_stems(video)) if stem in names]
        entries.append(tree.match(video, required=wanted, ignore_extra=True))
    return tree, ClipLoader(entries)


def _required_stems(video: Video) -> set[str]:
    """Names of the frames that results must have; all where meta.json does not tell."""
    stems = set(frame_stems(video))
    required = set(video.extra.get("required", stems))
    return required if required <= stems else stems


def write_results(
    annotations: AnnotationSet, out: str | Path, *, progress: bool = False
) -> list[str]:
    """Writes results: `Annotations/VIDEO/NNNNN.png`, only the required frames where known.

    Args:
        annotations: what to write; ids are kept where they are in 1..255.
        out: folder of results.
        progress: shows a bar on stderr.

    Returns:
        What the format cannot hold.

    Raises:
        DatasetError: no video, more than 255 objects, or names that cannot be those of folders.
        OSError: a file cannot be written.
    """
    losses = WriteLosses()
    for clip in clips_to_write(annotations, progress=progress):
        note_lost_fields(clip, losses)
        stems = frame_stems(clip.video)
        wanted = _required_stems(clip.video)
        values = object_numbers(clip, losses, max_id=MAX_ID)
        for t, id_map in id_maps(clip, clip.tracks, values, losses):
            if stems[t] in wanted:
                path = Path(out) / "Annotations" / clip.video.name / f"{stems[t]}.png"
                write_mask(path, id_map)
    return losses.warnings()
