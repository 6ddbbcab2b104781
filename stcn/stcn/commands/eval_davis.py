"""DAVIS 2017 (validation and test-dev) and DAVIS 2016: masks, then J&F where masks are known."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stcn.commands.common import check_names, metrics_folder, say
from stcn.commands.shards import run_plan
from stcn.evaluate import EvalPlan
from stcn.options import (
    add_model_flags,
    add_output_flags,
    add_size_flag,
    build_predictor,
    result_settings,
)
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.davis import davis2016, davis2017
from vidseg_common.datasets.records import VideoRecord, list_folders, read_name_list
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_json
from vidseg_common.metrics.davis_jf import evaluate_davis

SPLITS = {"val": ("trainval", "val"), "testdev": ("test-dev", "test-dev")}


def _parser(prog: str, root: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(prog, description=description)
    parser.add_argument("--davis_path", type=Path, default=Path(root), help="data set folder")
    add_output_flags(parser)
    add_model_flags(parser)
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    add_size_flag(parser, None)
    return parser


def main_2017(argv: Sequence[str] | None = None) -> int:
    """`eval_davis.py`: DAVIS 2017 (spec section 5.2)."""
    parser = _parser("eval_davis.py", "../DAVIS/2017", "Segments DAVIS 2017.")
    parser.add_argument("--split", choices=sorted(SPLITS), default="val", help="which split")
    args = parser.parse_args(argv)
    folder, split = SPLITS[args.split]
    root = args.davis_path / folder
    names = _chosen(args, root)
    records = davis2017(root, split, names=names, first_only=True)
    return _run(args, root, records, split=split, binary=False)


def main_2016(argv: Sequence[str] | None = None) -> int:
    """`eval_davis_2016.py`: DAVIS 2016, one object (spec section 5.1)."""
    parser = _parser("eval_davis_2016.py", "../DAVIS/2016", "Segments DAVIS 2016.")
    args = parser.parse_args(argv)
    names = _chosen(args, args.davis_path) or _names_2016(args.davis_path)
    records = davis2016(args.davis_path, names=names, first_only=True)
    return _run(args, args.davis_path, records, split="val", binary=True)


def _chosen(args: argparse.Namespace, root: Path) -> list[str] | None:
    """Names given to `--videos`, which need not be on the list of the split."""
    if args.videos is None:
        return None
    images = root / "JPEGImages" / "480p"
    return check_names(args.videos, list_folders(images), images)


def _names_2016(root: Path) -> list[str] | None:
    """The list of the 2017 tree beside the data set; the 2016 tree has another form."""
    path = root.parent / "2017" / "trainval" / "ImageSets" / "2016" / "val.txt"
    return read_name_list(path) if path.is_file() else None


def _run(
    args: argparse.Namespace, root: Path, records: list[VideoRecord], *, split: str, binary: bool
) -> int:
    given = [_first_mask_only(record) for record in records]
    metrics = metrics_folder(args.output)
    settings = result_settings(args, amp=args.amp, size=args.size, split=split, binary=binary)
    plan = EvalPlan(
        given,
        args.output,
        metrics / "run.json",
        settings,
        binary=binary,
        overwrite=args.overwrite,
        rgb_masks=args.rgb_masks,
    )
    stats = run_plan(
        args,
        plan,
        lambda: build_predictor(args, size=args.size, amp=args.amp),
        data=f"{'davis2016' if binary else 'davis2017'} {split}",
    )
    if stats is None:
        return 0
    finished = [record for record in records if record.name not in stats.skipped]
    scored = [record for record in finished if _is_annotated(record)]
    if scored and not args.no_metric:
        _score(root, args, scored, split, binary, metrics)
        if len(scored) < len(finished):
            say(f"not scored, for lack of annotations: {len(finished) - len(scored)} videos")
    return 0


def _first_mask_only(record: VideoRecord) -> VideoRecord:
    if 0 not in record.mask_paths:
        raise DatasetError(f"{record.name}: no annotation for its first frame")
    return replace(record, mask_paths={0: record.mask_paths[0]})


def _is_annotated(record: VideoRecord) -> bool:
    return len(record.mask_paths) == record.num_frames >= 3


def _score(
    root: Path,
    args: argparse.Namespace,
    records: Sequence[VideoRecord],
    split: str,
    binary: bool,
    metrics: Path,
) -> None:
    result = evaluate_davis(
        root / "Annotations" / "480p",
        args.output,
        [record.name for record in records],
        binary=binary,
        workers=args.workers,
    )
    result.write_csv(metrics, split)
    write_json(metrics / "result.json", result.to_json())
    say(result.table(split).rstrip("\n"), f"metrics in {metrics}")
