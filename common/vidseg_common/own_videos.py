"""Videos of the user's own, one or many: which they are, where results go, and shards of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidseg_common.commands.common import say
from vidseg_common.errors import UserError, VideoError, list_problems
from vidseg_common.files import write_json
from vidseg_common.sharding import Shards, add_shard_flags, sharding_of
from vidseg_common.video import list_images, open_source
from vidseg_common.video_images import IMAGE_SUFFIXES, natural_key

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".gif",
)  # fmt: skip
RESULT, INDEX = "result.json", "videos.json"
#: Flags that results do not depend on.
_PLACES = {"video", "output", "device", "num_workers", "num_shards", "shard", "merge"}


@dataclass(frozen=True)
class OwnVideo:
    """A video and the folder of its results.

    Attributes:
        path: file or folder of frames.
        name: stem of the file or name of the folder.
        output: folder of its results.
    """

    path: Path
    name: str
    output: Path


def add_video_flags(parser: argparse.ArgumentParser) -> None:
    """VIDEO ..., -o, and the flags of shards."""
    parser.add_argument(
        "video",
        type=Path,
        nargs="+",
        metavar="VIDEO",
        help="video file, folder of frames, or folder of several of them; may be repeated",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="folder for the results; of several videos each gets a folder of its name in it",
    )
    add_shard_flags(parser, "videos", "check that all shards are finished, and list the results")


def find_videos(given: Sequence[Path], output: Path) -> list[OwnVideo]:
    """The videos that paths name; a single one has its results in the output folder itself.

    Args:
        given: files, folders of frames, folders of several of them.
        output: folder of all results.

    Raises:
        VideoError: a folder holds neither images nor videos, or two videos have one name.
    """
    if len(given) == 1 and not _is_set(given[0]):
        return [OwnVideo(given[0], _name_of(given[0]), output)]
    paths = [path for one in given for path in (_inside(one) if _is_set(one) else [one])]
    by_name: dict[str, Path] = {}
    for path in paths:
        name = _name_of(path)
        if name in by_name:
            raise VideoError(f"{path} and {by_name[name]}: results of two videos named {name}")
        by_name[name] = path
    return [OwnVideo(path, name, output / name) for name, path in by_name.items()]


def predict_each(
    args: argparse.Namespace,
    predict: Callable[[OwnVideo], None],
    *,
    method: str,
    facts: Mapping[str, Any],
    without: Collection[str] = (),
) -> None:
    """Predicts the videos of the flags, all of them or those of a shard.

    Shards write where a run of everything does, as no two of them have a video in common. With
    --merge nothing is predicted: that everything is there is checked, then told in videos.json.
    A video that cannot be used does not stop the others.

    Args:
        args: flags, see `add_video_flags`.
        predict: writes the results of one video, result.json last.
        method: its name.
        facts: what results depend on besides flags, such as the content of the weights.
        without: flags that results do not depend on.

    Raises:
        UserError: videos that cannot be used; shards that are not finished.
    """
    sharding = sharding_of(args)
    videos = find_videos(args.video, args.output)
    if sharding is None:
        _predict(videos, predict)
    else:
        flags = {k: v for k, v in vars(args).items() if k not in {*_PLACES, *without}}
        shards = Shards(
            sharding,
            args.output,
            method=method,
            data="own videos",
            lengths={video.name: num_frames(video.path) for video in videos},
            settings={**flags, **facts},
        )
        if not sharding.is_merge:
            with shards.run() as folder:
                if folder is not None:
                    mine = [v for v in videos if v.name in shards.names()]
                    _predict([v for v in mine if not _is_done(v, folder)], predict, folder)
            return
        _check(shards, videos)
    if len(videos) > 1:
        entries = [{"name": video.name, "video": str(video.path)} for video in videos]
        write_json(args.output / INDEX, {"videos": entries})
        say(f"results of {len(videos)} videos in {args.output}, listed in {args.output / INDEX}")


def num_frames(path: Path) -> int:
    """Frames of a video, as far as it tells; 1 where it does not."""
    if path.is_dir():
        return len(list_images(path))
    with open_source(path, prefetch=0) as source:
        return source.num_frames or 1


def _predict(
    videos: Sequence[OwnVideo], predict: Callable[[OwnVideo], None], shard: Path | None = None
) -> None:
    problems = []
    for video in videos:
        try:
            predict(video)
        except UserError as error:
            if len(videos) == 1:
                raise
            problems.append(str(error))
            continue
        if shard is not None:
            write_json(_mark(video, shard), str(video.path))
    if problems:
        title = f"{len(problems)} of {len(videos)} videos have no results:"
        raise UserError(list_problems(title, problems))


def _mark(video: OwnVideo, shard: Path) -> Path:
    return shard / "done" / f"{video.name}.json"


def _is_done(video: OwnVideo, shard: Path) -> bool:
    """Whether an earlier run of the shard has finished a video."""
    return _mark(video, shard).is_file() and (video.output / RESULT).is_file()


def _check(shards: Shards, videos: Sequence[OwnVideo]) -> None:
    by_name = {video.name: video for video in videos}
    for index, _, names in shards.finished():
        for name in names:
            path = by_name[name].output / RESULT
            if not path.is_file():
                raise shards.fault(index, f"there is no {path}")


def _name_of(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _is_set(path: Path) -> bool:
    return path.is_dir() and not any(_is_image(item) for item in path.iterdir())


def _inside(folder: Path) -> list[Path]:
    """Videos and folders of frames of a folder, in natural order."""
    found = [
        item
        for item in folder.iterdir()
        if not item.name.startswith(".")
        and (
            any(_is_image(inner) for inner in item.iterdir())
            if item.is_dir()
            else item.suffix.lower() in VIDEO_SUFFIXES
        )
    ]
    if not found:
        raise VideoError(f"no frames: the folder {folder} holds neither images nor videos")
    return sorted(found, key=natural_key)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
