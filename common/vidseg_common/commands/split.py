"""`vidseg split`: a local training and validation part of one data set."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import (
    add_data_flags,
    open_data,
    say,
    shows_progress,
    text_table,
    warn,
)
from vidseg_common.conversion import select_positions
from vidseg_common.dataset_split import split_videos
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import UserError
from vidseg_common.files import write_json, write_text
from vidseg_common.formats import Format
from vidseg_common.staging import staged_output

_PARTS = ("train", "val")


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "vidseg split",
        description="Cut a data set by video into two parts with alike categories, for local "
        "scores where the ground truth of the validation set is hidden. Images stay where "
        "they are.",
    )
    add_data_flags(parser, "annotated data set, such as a training set")
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to write")
    add("--share", type=_share, default=0.2, metavar="X", help="validation part of the videos")
    add("--num-val", type=int, metavar="N", help="number of validation videos, instead of --share")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same parts")
    add("--overwrite", action="store_true", help="replace what is at OUT")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Writes lists of names, split.json and, where the format is one file, both annotation files.

    Returns:
        0, the exit status.

    Raises:
        UserError: the data set cannot be read, or has too few videos.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(argv)
    data, found = open_data(options, options.path, name=options.format, images=options.images)
    if not data.has_annotations:
        raise UserError(f"{options.path} has no annotations; only annotated videos can be split")
    counted = [
        Counter(track.category_id for track in clip.tracks)
        for clip in tqdm(
            data.clips(),
            total=len(data.videos),
            unit="video",
            leave=False,
            disable=not shows_progress(options),
        )
    ]
    number = options.num_val or round(options.share * len(counted))
    number = options.num_val or max(1, min(number, len(counted) - 1))
    try:
        chosen = split_videos(counted, number, options.seed)
    except ValueError as error:
        raise UserError(f"{options.path}: {error}") from None
    record = _record(data, counted, chosen, options.seed, str(options.path))
    with staged_output(
        options.output, overwrite=options.overwrite, inputs=(options.path, options.images)
    ) as temporary:
        temporary.mkdir()
        for part, places in zip(_PARTS, chosen, strict=True):
            kept = select_positions(data, places)
            warn(_write_part(kept, found, options.path, temporary, part))
        write_json(temporary / "split.json", record)
    rows = [{"category": name, **row} for name, row in record["tracks"].items()]
    say(f"{len(chosen[0])} training and {len(chosen[1])} validation videos in {options.output}")
    say(*text_table({"category": "tracks of", "train": "train", "val": "val"}, rows))
    return 0


def _record(
    data: AnnotationSet,
    counted: Sequence[Counter[int]],
    chosen: Sequence[Sequence[int]],
    seed: int,
    path: str,
) -> dict[str, Any]:
    """What split.json says: the videos and the tracks of each category in both parts."""
    parts = dict(zip(_PARTS, chosen, strict=True))
    return {
        "split_of": path,
        "seed": seed,
        "videos": {p: [data.videos[i].name for i in places] for p, places in parts.items()},
        "tracks": {
            category.name: {
                part: sum(counted[i][category.id] for i in places) for part, places in parts.items()
            }
            for category in data.categories
        },
    }


def _write_part(
    kept: AnnotationSet, found: Format, source: Path, folder: Path, part: str
) -> list[str]:
    """Writes one part: its list, and what the format has beside the masks themselves."""
    names = [video.name for video in kept.videos]
    write_text(folder / f"{part}.txt", "".join(f"{name}\n" for name in names))
    suffix = Path(found.file_name).suffix or found.suffix
    if suffix:
        return found.write(kept, folder / f"{part}{suffix}")
    meta = next(iter([*source.glob("meta.json"), *source.glob("*/meta.json")]), None)
    if meta is not None:
        videos = json.loads(meta.read_text(encoding="utf-8"))["videos"]
        write_json(folder / part / "meta.json", {"videos": {n: videos[n] for n in names}})
    if found.name.startswith(("kitti-mots", "mots-challenge")):
        last = [f"{v.name} empty {0:06d} {v.num_frames - 1:06d}\n" for v in kept.videos]
        write_text(folder / f"{part}.seqmap", "".join(last))
    return []
