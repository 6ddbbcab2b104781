"""Changes to a data set on its way from one format to another; clips stay unread until used.

Letters: T frames, K tracks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vidseg_common.arguments import did_you_mean
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track, Video
from vidseg_common.datasets.category_maps import CategoryMap
from vidseg_common.datasets.image_frames import BOX_ONLY
from vidseg_common.errors import DatasetError, UserError, list_problems
from vidseg_common.rle import RLE, merge

__all__ = [
    "all_known",
    "apply_category_map",
    "category_key",
    "flat_names",
    "frame_names",
    "frames_as_videos",
    "image_pairs",
    "map_categories",
    "rename_frames",
    "select_categories",
    "select_positions",
    "select_videos",
    "with_scores",
    "without_extras",
]

_PER_FRAME = ("segmentations", "areas", "bboxes", "amodal", "occlusion", "occlude_rates")


def category_key(name: str) -> str:
    """Form of a category name in which spelling habits do not count ("giant_panda")."""
    return "".join(character for character in name.lower() if character.isalnum())


def select_videos(data: AnnotationSet, names: Collection[str]) -> AnnotationSet:
    """Keeps some videos, in the order of the data set.

    Raises:
        UserError: a name that no video has.
    """
    known = {video.name for video in data.videos}
    for name in names:
        if name not in known:
            raise UserError(f"there is no video {name!r}{did_you_mean(name, known)}")
    return select_positions(data, [i for i, v in enumerate(data.videos) if v.name in names])


def select_positions(data: AnnotationSet, positions: Sequence[int]) -> AnnotationSet:
    """Keeps the videos at some positions, in the order given."""
    kept = list(positions)
    return replace(data, videos=[data.videos[i] for i in kept], load=lambda i: data.load(kept[i]))


def select_categories(data: AnnotationSet, names: Sequence[str]) -> tuple[AnnotationSet, list[str]]:
    """Keeps some categories, which get the numbers 1, 2, ... in the order of the names.

    Returns:
        The data set, and what was left out.

    Raises:
        UserError: a name that no category has.
    """
    by_key = {category_key(c.name): c for c in data.categories}
    pairs: dict[int, Category] = {}
    for number, name in enumerate(names, start=1):
        found = by_key.get(category_key(name))
        if found is None:
            known = [c.name for c in data.categories]
            raise UserError(f"there is no category {name!r}{did_you_mean(name, known)}")
        pairs[found.id] = replace(found, id=number)
    return _with_categories(data, pairs, list(pairs.values()))


def map_categories(
    data: AnnotationSet, mapping: Mapping[str, str | None], target: Sequence[Category] = ()
) -> tuple[AnnotationSet, list[str]]:
    """Gives categories other names, and the numbers that the target format has for them.

    Args:
        data: the data set.
        mapping: category name (or number) to new name; None leaves the category out. Names that
            are not in it stay.
        target: categories of the target format; a name that is not among them is an error. By
            default any name is allowed and numbers count from 1 in the order of the data set.

    Returns:
        The data set, and what was left out.

    Raises:
        UserError: a name that the data set or the target does not have; all are listed.
    """
    known = {category_key(c.name): c for c in data.categories}
    known |= {str(c.id): c for c in data.categories}
    names = [category.name for category in data.categories]
    problems = [
        f"the data set has no category {name!r}{did_you_mean(name, names)}"
        for name in map(str, mapping)
        if name not in known and category_key(name) not in known
    ]
    chosen = {
        known.get(str(old), known.get(category_key(str(old)))): new for old, new in mapping.items()
    }
    allowed = {category_key(c.name): c for c in target}
    made: dict[str, Category] = {}
    pairs: dict[int, Category] = {}
    for category in data.categories:
        name = chosen.get(category, category.name)
        if name is None:
            continue
        found = allowed.get(category_key(name)) if target else made.get(category_key(name))
        if found is None and target:
            names = [c.name for c in target]
            problems.append(f"the target has no category {name!r}{did_you_mean(name, names)}")
            continue
        found = found or Category(len(made) + 1, name, category.supercategory)
        made[category_key(name)] = pairs[category.id] = found
    if problems:
        raise UserError(list_problems("the categories cannot be mapped:", problems))
    return _with_categories(data, pairs, list(target) or list(made.values()))


def all_known(
    data: AnnotationSet, mapping: Mapping[str, str | None], target: Sequence[Category]
) -> bool:
    """Whether the target has every category that a data set has after a mapping of names."""
    allowed = {category_key(category.name) for category in target}
    changed = {category_key(str(old)): new for old, new in mapping.items()}
    names = [changed.get(category_key(c.name), changed.get(str(c.id), c.name))
             for c in data.categories]  # fmt: skip
    return all(name is None or category_key(name) in allowed for name in names)


def _with_categories(
    data: AnnotationSet, pairs: Mapping[int, Category], categories: Sequence[Category]
) -> tuple[AnnotationSet, list[str]]:
    def change(clip: Clip) -> Clip:
        kept = [
            replace(track, category_id=pairs[track.category_id].id)
            for track in clip.tracks
            if track.category_id in pairs
        ]
        return replace(clip, tracks=kept)

    dropped = [category.name for category in data.categories if category.id not in pairs]
    notes = [f"categories left out with their tracks: {', '.join(dropped)}"] if dropped else []
    return replace(data, categories=list(categories), load=_after(data, change)), notes


def apply_category_map(
    data: AnnotationSet, mapping: CategoryMap, target: Sequence[Category]
) -> tuple[AnnotationSet, list[str]]:
    """Folds the classes of one data set into those of another by number.

    Args:
        data: the data set.
        mapping: what becomes of each class; masks of ignored classes join the ignore region.
        target: categories of the target; a number that is not among them is named after itself.

    Returns:
        The data set, and what was left out.
    """
    known = {c.id: c for c in target}
    pairs = {
        old: known.get(new, Category(new, f"class_{new}")) for old, new in mapping.kept.items()
    }

    def change(clip: Clip) -> Clip:
        hidden = [track for track in clip.tracks if track.category_id in mapping.ignored]
        return replace(clip, ignore=_with_ignored(clip, hidden)) if hidden else clip

    categories = list(target) or sorted(set(pairs.values()), key=lambda c: c.id)
    return _with_categories(replace(data, load=_after(data, change)), pairs, categories)


def _with_ignored(clip: Clip, tracks: Sequence[Track]) -> list[RLE | None]:
    """The ignore region of every frame, with the masks of some tracks added."""
    regions: list[RLE | None] = []
    for t in range(clip.video.num_frames):
        before = clip.ignore[t] if clip.ignore is not None else None
        masks = [
            m for m in (before, *(track.segmentations[t] for track in tracks)) if m is not None
        ]
        regions.append(merge(masks) if masks else None)
    return regions


def _after(data: AnnotationSet, change: Callable[[Clip], Clip]) -> Callable[[int], Clip]:
    return lambda position: change(data.load(position))


def without_extras(data: AnnotationSet) -> AnnotationSet:
    """Forgets the fields that only the source format knows, for a target of another family.

    Whether an object has no more than a box is kept: every writer asks for it.
    """

    def change(clip: Clip) -> Clip:
        return replace(clip, tracks=[replace(t, extra=_shared(t.extra)) for t in clip.tracks])

    plain = replace(data, info={}, load=_after(data, change))
    return _with_videos(plain, [replace(video, extra={}) for video in data.videos])


def _shared(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {BOX_ONLY: extra[BOX_ONLY]} if BOX_ONLY in extra else {}


def with_scores(data: AnnotationSet, score: float = 1.0) -> AnnotationSet:
    """Gives tracks without a score one, as results need it."""

    def change(clip: Clip) -> Clip:
        tracks = [
            replace(track, score=score) if track.score is None else track for track in clip.tracks
        ]
        return replace(clip, tracks=tracks)

    return replace(data, load=_after(data, change))


def frame_names(
    video: Video, numbering: tuple[int, int] | None, inner: str = ""
) -> tuple[str, ...]:
    """Names of the frames of a video in a layout of one folder per video: "NAME/00000.jpg".

    Args:
        video: the video.
        numbering: digits and first number; None keeps the names where they differ.
        inner: folder within that of the video, ending in "/".

    Raises:
        DatasetError: two frames of the video have one name.
    """
    old = [PurePosixPath(name) for name in video.file_names]
    if numbering is not None:
        digits, first = numbering
        stems = [f"{t + first:0{digits}d}" for t in range(len(old))]
    else:
        stems = [name.stem for name in old]
        twice = [stem for stem, count in Counter(stems).items() if count > 1]
        if twice:
            raise DatasetError(f"video {video.name}: several frames are called {twice[0]}")
    return tuple(
        f"{video.name}/{inner}{stem}{name.suffix}" for stem, name in zip(stems, old, strict=True)
    )


def rename_frames(
    data: AnnotationSet, numbering: tuple[int, int] | None, inner: str = ""
) -> AnnotationSet:
    """Names all frames as a layout of one folder per video has them.

    Raises:
        DatasetError: two frames of a video, or two videos, would have one name.
    """
    _check_unique(data, "videos")
    return _with_videos(
        data, [replace(v, file_names=frame_names(v, numbering, inner)) for v in data.videos]
    )


def _check_unique(data: AnnotationSet, what: str) -> None:
    twice = [name for name, count in Counter(v.name for v in data.videos).items() if count > 1]
    if twice:
        raise DatasetError(f"several {what} are called {twice[0]}")


def _with_videos(data: AnnotationSet, videos: Sequence[Video]) -> AnnotationSet:
    return replace(
        data,
        videos=videos,
        load=lambda i: replace(data.load(i), video=videos[i]),
    )


def frames_as_videos(data: AnnotationSet) -> AnnotationSet:
    """Makes every frame a video of its own, for formats of single images.

    A track lives on as one object per frame that shows it. Only one clip is held. A data set of
    single images stays as it is.
    """
    if all(video.num_frames == 1 for video in data.videos):
        return data
    places = [(i, t) for i, video in enumerate(data.videos) for t in range(video.num_frames)]
    videos = [_image_of(data.videos[i], t, number) for number, (i, t) in enumerate(places, start=1)]
    last: list[tuple[int, Clip]] = []

    def load(position: int) -> Clip:
        i, t = places[position]
        if not last or last[0][0] != i:
            last[:] = [(i, data.load(i))]
        return _frame_of(last[0][1], t, videos[position])

    return replace(data, videos=videos, load=load)


def _image_of(video: Video, t: int, number: int) -> Video:
    name = f"{video.name}_{PurePosixPath(video.file_names[t]).stem}"
    return Video(number, name, video.height, video.width, (video.file_names[t],))


def _frame_of(clip: Clip, t: int, image: Video) -> Clip:
    ignore = None if clip.ignore is None else [clip.ignore[t]]
    unknown = clip.labelled is not None and t not in clip.labelled
    return Clip(
        image,
        [_object_of(track, t) for track in clip.tracks if track.is_visible(t)],
        ignore,
        frozenset() if unknown else None,
    )


def _object_of(track: Track, t: int) -> Track:
    values = {name: getattr(track, name) for name in _PER_FRAME}
    here: dict[str, Any] = {n: None if v is None else [v[t]] for n, v in values.items()}
    return replace(track, **here)


def flat_names(data: AnnotationSet) -> AnnotationSet:
    """Names every image of a set of single images by its name: "NAME.jpg".

    Raises:
        DatasetError: two images would have one name.
    """
    _check_unique(data, "images")
    videos = [
        replace(v, file_names=(v.name + PurePosixPath(v.file_names[0]).suffix,))
        for v in data.videos
    ]
    return _with_videos(data, videos)


def image_pairs(before: AnnotationSet, after: AnnotationSet) -> Iterator[tuple[Path, str]]:
    """Every image of a data set and its name in another naming of the same frames.

    Args:
        before: the data set whose images exist; its image root must be known.
        after: the same videos with other frame names.
    """
    for old, new in zip(before.videos, after.videos, strict=True):
        for t, name in enumerate(new.file_names):
            path = before.image_path(old, t)
            assert path is not None, "the image root is not known"
            yield path, name
