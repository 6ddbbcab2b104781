"""Mask folders as annotation sets: any folder of masks, DAVIS 2016, 2017 and 2019, and results.

`form` tells them apart:
- "folder": `Annotations/VIDEO/NAME.png`, or `VIDEO/NAME.png`; frames without file are unlabelled.
- "davis2016": one object, every value above 0 (255 included).
- "davis2017": semi-supervised; 255 is background (spec section 4.3).
- "davis2019": unsupervised; 255 is void and becomes `Clip.ignore`.
Objects have no classes, so all are of the one class "object". Source: spec common 1.1, 1.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Problem
from vidseg_common.datasets.davis_layout import (
    DAVIS_ANNOTATIONS,
    davis_layout,
    list_folders_of,
)
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
from vidseg_common.datasets.records import read_name_list, unknown_folders
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.files import write_text
from vidseg_common.masks import MAX_ID, VOID, write_binary_mask, write_mask

__all__ = [
    "MAX_PROPOSALS",
    "Form",
    "read",
    "read_results",
    "validate",
    "validate_results",
    "write",
    "write_results",
]

Form = Literal["folder", "davis2016", "davis2017", "davis2019"]

MAX_PROPOSALS = 20
"""Largest object id that the unsupervised task of DAVIS scores."""

_RULES = {
    "folder": MaskRules(),
    "davis2016": MaskRules(merge=True),
    "davis2017": MaskRules(background=frozenset({VOID})),
    "davis2019": MaskRules(void=VOID),
}


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    form: Form = "folder",
    resolution: str = "480p",
) -> AnnotationSet:
    """Lists a data set; masks are decoded clip by clip.

    Args:
        path: root of the data set, for "folder" also the folder of masks or of a single video.
        images: folder with one sub-folder of images per video, by default JPEGImages of the
            root. Without images the frames are those that have a mask.
        split: list of `ImageSets`; by default "val", or the only one there is. Without lists,
            and by default for a "folder", all videos.
        progress: not needed, listing is fast.
        form: see the module.
        resolution: folder of DAVIS; where it is missing, the only one there is.

    Returns:
        The data set; without annotations where a DAVIS tree has images and no folder of them.

    Raises:
        DatasetError: files of the layout are missing; all of them are listed. Loading a clip
            raises it for masks that cannot be used.
    """
    tree, loader = _open(Path(path), images, split, form, resolution)
    videos = [entry.video for entry in loader.entries]
    return annotation_set(tree, loader, videos, format=form)


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    form: Form = "folder",
    resolution: str = "480p",
) -> list[Problem]:
    """Lists everything that is wrong with a data set; arguments as `read`."""
    try:
        tree, loader = _open(Path(path), images, split, form, resolution, thorough=True)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]
    if not loader.entries and not tree.problems:
        tree.complain(tree.masks, "no video: expected one sub-folder of masks per video")
    is_davis = form in ("davis2017", "davis2019")
    check = _check_davis if is_davis else None
    return [*tree.problems, *validate_clips(loader, check, progress=progress)]


def _check_davis(clip: Clip, entry: MaskEntry) -> list[Problem]:
    folder = next((path.parent for path in entry.masks.values()), Path(clip.video.name))
    where = f"video {clip.video.name}"
    problems: list[Problem] = []
    ids = [track.id for track in clip.tracks]
    if ids != list(range(1, len(ids) + 1)):
        message = f"ids must be 1, 2, ... without gaps, not {', '.join(map(str, ids))}"
        problems.append(Problem(folder, where, "id", message))
    stems = frame_stems(clip.video)
    wrong = [stem for t, stem in enumerate(stems) if stem != f"{t:05d}"]
    if wrong:
        message = f"frames must be called 00000, 00001, ... without gaps, not {wrong[0]}"
        problems.append(Problem(folder, where, "frame", message))
    return problems


def _open(
    path: Path,
    images: str | Path | None,
    split: str | None,
    form: Form,
    resolution: str,
    *,
    thorough: bool = False,
) -> tuple[MaskTree, ClipLoader]:
    if not path.is_dir():
        raise DatasetError(f"folder not found: {path}")
    given = None if images is None else Path(images)
    if form == "folder":
        tree, names = _open_folder(path, given, split)
        required = "none"
    else:
        layout = davis_layout(path, form, split, resolution)
        tree = MaskTree(layout.masks, given or layout.images)
        names, required = list(layout.names), layout.required
        if tree.images is not None and not (path / DAVIS_ANNOTATIONS[form]).is_dir():
            # Images alone tell which videos a submission needs.
            if thorough and required != "none":
                tree.complain(path / DAVIS_ANNOTATIONS[form], "folder of annotations not found")
            required = "none"
    tree.thorough = thorough

    def needed(num_frames: int) -> Collection[int]:
        return range(num_frames if required == "all" else 1 if required == "first" else 0)

    found = (tree.find(name, i, required=needed) for i, name in enumerate(names or tree.names(), 1))
    entries = [entry for entry in found if entry is not None]
    return tree, ClipLoader(entries, _RULES[form])


def _open_folder(
    path: Path, images: Path | None, split: str | None
) -> tuple[MaskTree, list[str] | None]:
    masks = path / "Annotations" if (path / "Annotations").is_dir() else path
    if images is None and (path / "JPEGImages").is_dir():
        images = path / "JPEGImages"
    if any(masks.glob("[!.]*.png")):
        return MaskTree(masks.parent, images), [masks.name]
    names = None if split is None else read_name_list(path / "ImageSets" / f"{split}.txt")
    return MaskTree(masks, images), names


def write(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    split: str = "val",
    progress: bool = False,
    form: Form = "folder",
    resolution: str = "480p",
) -> list[str]:
    """Writes masks below `Annotations`, for DAVIS also the list of the split.

    Args:
        annotations: what to write; frames keep their names.
        out: root of the data set.
        split: name of the list of DAVIS.
        progress: shows a bar on stderr.
        form: see the module.
        resolution: folder of DAVIS; only a name, frames keep their size.

    Returns:
        What the format cannot hold.

    Raises:
        DatasetError: no video, more objects than ids, or names that cannot be those of folders.
        OSError: a file cannot be written.
    """
    out, losses = Path(out), _losses_of(annotations)
    folder = out / "Annotations" if form == "folder" else out / DAVIS_ANNOTATIONS[form] / resolution
    pairs: list[str] = []
    for clip in clips_to_write(annotations, progress=progress):
        _write_clip(clip, folder / clip.video.name, form, losses)
        for stem in frame_stems(clip.video):
            name = f"{resolution}/{clip.video.name}/{stem}"
            pairs.append(f"/JPEGImages/{name}.jpg /Annotations/{name}.png")
    if form != "folder":
        names = [video.name for video in annotations.videos]
        for year in list_folders_of(form, split, resolution):
            lines = pairs if year == resolution else names
            text = "".join(f"{line}\n" for line in lines)
            write_text(out / "ImageSets" / year / f"{split}.txt", text)
    return losses.warnings()


def _write_clip(clip: Clip, folder: Path, form: Form, losses: WriteLosses) -> None:
    stems = frame_stems(clip.video)
    note_lost_fields(clip, losses, keeps_ignore=form == "davis2019")
    if form == "davis2016":
        losses.add("objects merged with others of their video", max(len(clip.tracks) - 1, 0))
        for t, id_map in id_maps(clip, clip.tracks, [1] * len(clip.tracks), WriteLosses()):
            write_binary_mask(folder / f"{stems[t]}.png", id_map)
        return
    is_davis = form != "folder"
    max_id = VOID - 1 if is_davis else MAX_ID
    values = object_numbers(clip, losses, max_id=max_id, consecutive=is_davis)
    void = VOID if form == "davis2019" else None
    for t, id_map in id_maps(clip, clip.tracks, values, losses, ignore_value=void):
        write_mask(folder / f"{stems[t]}.png", id_map)


def _losses_of(annotations: AnnotationSet) -> WriteLosses:
    losses = WriteLosses()
    names = {category.name for category in annotations.categories} - {OBJECT.name}
    losses.add("names of categories", len(names))
    return losses


def read_results(path: str | Path, truth: AnnotationSet | None = None) -> AnnotationSet:
    """Lists results: `VIDEO/NNNNN.png`, the masks of every frame.

    Args:
        path: folder of results, or one with a folder Annotations.
        truth: the data set they belong to; without it videos and frames are those found. With
            DAVIS 2016 all ids are one object. `info["other_videos"]` names the videos that it
            does not have.

    Raises:
        DatasetError: results are missing; all of them are listed. Loading a clip raises it for
            masks that cannot be used, such as ids above 20 in the unsupervised task.
    """
    tree, loader = _open_results(Path(path), truth)
    videos = [entry.video for entry in loader.entries]
    others = unknown_folders(tree.masks, (video.name for video in videos))
    return annotation_set(tree, loader, videos, format="davis-results", other_videos=others)


def validate_results(
    path: str | Path, truth: AnnotationSet | None = None, *, progress: bool = False
) -> list[Problem]:
    """Lists everything that is wrong with results; arguments as `read_results`."""
    try:
        tree, loader = _open_results(Path(path), truth, thorough=True)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]
    if truth is not None:
        for name in unknown_folders(tree.masks, (video.name for video in truth.videos)):
            tree.complain(tree.masks / name, "the data set has no video of this name")
    elif not loader.entries:
        tree.complain(tree.masks, "no results: expected one sub-folder of masks per video")
    check = None
    if truth is not None and truth.has_annotations and truth.info.get("format") == "davis2017":
        check = _FirstFrameCheck(truth)
    return [*tree.problems, *validate_clips(loader, check, progress=progress)]


class _FirstFrameCheck:
    """Finds ids above those of the first annotation; they stop the semi-supervised evaluation."""

    def __init__(self, truth: AnnotationSet) -> None:
        self._truth = truth
        self._positions = {video.name: i for i, video in enumerate(truth.videos)}

    def __call__(self, clip: Clip, entry: MaskEntry) -> list[Problem]:
        known = self._truth.load(self._positions[clip.video.name])
        last = max((track.id for track in known.tracks if track.is_visible(0)), default=0)
        problems: list[Problem] = []
        for track in clip.tracks:
            if track.id > last:
                path = next(entry.masks[t] for t in sorted(entry.masks) if track.is_visible(t))
                message = f"id {track.id}, but the first annotation has ids up to {last}"
                problems.append(Problem(path, f"video {clip.video.name}", "id", message))
        return problems


def _open_results(
    path: Path, truth: AnnotationSet | None, *, thorough: bool = False
) -> tuple[MaskTree, ClipLoader]:
    if not path.is_dir():
        raise DatasetError(f"folder of results not found: {path}")
    masks = path / "Annotations" if (path / "Annotations").is_dir() else path
    tree = MaskTree(masks, thorough=thorough)
    kind = None if truth is None else truth.info.get("format")
    # Without its data set a folder may hold results of any other one; only a check is strict then.
    is_limited = kind == "davis2019" or (truth is None and thorough)
    limit = MAX_PROPOSALS if is_limited else MAX_ID
    rules = MaskRules(merge=kind == "davis2016", max_id=limit)
    entries: Sequence[MaskEntry | None]
    if truth is None:
        entries = [tree.find(name, i) for i, name in enumerate(tree.names(), start=1)]
    else:
        entries = [
            tree.match(video, required=range(video.num_frames), ignore_extra=True)
            for video in truth.videos
        ]
    return tree, ClipLoader([entry for entry in entries if entry is not None], rules)


def write_results(
    annotations: AnnotationSet, out: str | Path, *, progress: bool = False
) -> list[str]:
    """Writes results: `VIDEO/NNNNN.png`.

    Args:
        annotations: what to write; ids are kept where they are in 1..20.
        out: folder of results.
        progress: shows a bar on stderr.

    Returns:
        What the format cannot hold.

    Raises:
        DatasetError: a video with more than 20 objects, or as `write`.
        OSError: a file cannot be written.
    """
    losses = _losses_of(annotations)
    for clip in clips_to_write(annotations, progress=progress):
        note_lost_fields(clip, losses)
        stems = frame_stems(clip.video)
        values = object_numbers(clip, losses, max_id=MAX_PROPOSALS)
        for t, id_map in id_maps(clip, clip.tracks, values, losses):
            write_mask(Path(out) / clip.video.name / f"{stems[t]}.png", id_map)
    return losses.warnings()
