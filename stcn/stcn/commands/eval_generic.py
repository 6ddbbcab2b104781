"""Any folder of videos with masks of the objects where they first appear (spec section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
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
from vidseg_common.datasets.generic import generic_folder
from vidseg_common.files import write_json, write_text
from vidseg_common.metrics.folder_jf import evaluate_folders


def main(argv: Sequence[str] | None = None) -> int:
    """`eval_generic.py`; mixed precision is on unless `--amp_off`."""
    parser = ArgumentParser("eval_generic.py", description="Segments a folder of videos.")
    parser.add_argument(
        "--data_path", type=Path, required=True, help="holds JPEGImages/VIDEO, Annotations/VIDEO"
    )
    add_output_flags(parser)
    add_model_flags(parser)
    parser.add_argument("--amp_off", action="store_true", help="full precision")
    add_size_flag(parser, 480)
    parser.add_argument(
        "--ground_truth", type=Path, help="folder VIDEO/STEM.png with all masks, to score J and F"
    )
    args = parser.parse_args(argv)
    records = generic_folder(args.data_path)
    names = check_names(args.videos, [record.name for record in records], args.data_path)
    records = [record for record in records if record.name in names]
    metrics = metrics_folder(args.output)
    plan = EvalPlan(
        records,
        args.output,
        metrics / "run.json",
        result_settings(args, amp=not args.amp_off, size=args.size),
        overwrite=args.overwrite,
        rgb_masks=args.rgb_masks,
    )
    stats = run_plan(
        args,
        plan,
        lambda: build_predictor(args, size=args.size, amp=not args.amp_off),
        data="generic",
    )
    if stats is not None and args.ground_truth is not None and not args.no_metric:
        finished = {*stats.done, *stats.kept}
        frames = {
            record.name: {record.frame_paths[i].stem for i in record.required_indices}
            for record in records
            if record.name in finished
        }
        result = evaluate_folders(
            args.ground_truth, args.output, frames=frames, workers=args.workers
        )
        write_json(metrics / "result.json", result.to_json())
        write_text(metrics / "results.csv", result.csv())
        say(result.csv().rstrip(), f"metrics in {metrics}")
    return 0
