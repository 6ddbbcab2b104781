"""YouTube-VOS 2018 and 2019: masks in the layout of the server, local J and F if possible."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.datasets.youtube_vos import categories_of, read_meta, youtube_vos
from vidseg_common.files import write_json
from vidseg_common.metrics.youtube_vos import evaluate_youtube_vos

PUBLISHED_SIZE = 480


def youtube_parser(prog: str, description: str) -> ArgumentParser:
    """Flags shared with the multi-scale tool."""
    parser = ArgumentParser(prog, description=description)
    parser.add_argument("--yv_path", type=Path, default=Path("../YouTube"), help="data set folder")
    parser.add_argument("--split", choices=("valid", "test"), default="valid", help="which split")
    parser.add_argument(
        "--output_all", action="store_true", help="write every frame, not only the required ones"
    )
    add_output_flags(parser)
    add_model_flags(parser)
    add_size_flag(parser, PUBLISHED_SIZE)
    return parser


def youtube_records(args: argparse.Namespace) -> list[VideoRecord]:
    """The chosen videos; all of their frames are wanted with `--output_all`."""
    records = youtube_vos(args.yv_path, args.split, required_only=not args.output_all)
    names = check_names(args.videos, [r.name for r in records], args.yv_path / args.split)
    records = [record for record in records if record.name in names]
    return [replace(r, required=None) if args.output_all else r for r in records]


def youtube_settings(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """What a result depends on."""
    return result_settings(
        args, split=args.split, size=args.size, output_all=args.output_all, **more
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`eval_youtube.py` (spec section 5.4)."""
    parser = youtube_parser("eval_youtube.py", "Segments YouTube-VOS.")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument(
        "--ground_truth",
        type=Path,
        help="folder VIDEO/NNNNN.png with masks of all frames, to score locally",
    )
    args = parser.parse_args(argv)
    metrics = metrics_folder(args.output)
    settings = youtube_settings(args, amp=args.amp)
    plan = EvalPlan(
        youtube_records(args),
        args.output / "Annotations",
        metrics / "run.json",
        settings,
        overwrite=args.overwrite,
        rgb_masks=args.rgb_masks,
    )
    stats = run_plan(
        args,
        plan,
        lambda: build_predictor(args, size=args.size, amp=args.amp),
        data=f"youtube {args.split}",
    )
    if stats is not None and args.ground_truth is not None and not args.no_metric:
        _score(args, plan, {*stats.done, *stats.kept}, metrics)
    return 0


def _score(args: argparse.Namespace, plan: EvalPlan, videos: set[str], metrics: Path) -> None:
    meta = read_meta(args.yv_path / args.split / "meta.json")
    train = args.yv_path / "train" / "meta.json"
    seen = categories_of(read_meta(train) if train.is_file() else meta)
    chosen = {name: objects for name, objects in meta.items() if name in videos}
    result = evaluate_youtube_vos(
        args.ground_truth, chosen, plan.root, seen_categories=seen, workers=args.workers
    )
    write_json(metrics / "result.json", result.to_json())
    say(result.table().rstrip("\n"), f"metrics in {metrics}")
