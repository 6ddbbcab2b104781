"""`inference/main.py` and `stemseg eval`: results of a data set, then its official metric."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stemseg.benchmark_data import Benchmark, open_benchmark, score
from stemseg.checkpoint import load_network
from stemseg.commands.common import (
    DATASETS,
    add_choice_flags,
    add_reading_flags,
    choices_of,
    metrics_folder,
    say,
)
from stemseg.config import Config, to_dict
from stemseg.evaluate import EvalPlan, evaluate
from stemseg.inference.engine import Engine, EngineSettings
from stemseg.inference.networks import deploy
from stemseg.inference.settings import engine_settings, max_tracks_of
from stemseg.outputs.writers import WRITERS, ResultWriter
from stemseg.shards import merge, part_of, shards_of
from stemseg.weights import config_of
from vidseg_common.config import ArgumentParser
from vidseg_common.distributed import select_device
from vidseg_common.download import sha256_of
from vidseg_common.errors import UserError
from vidseg_common.files import write_json, write_text
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.sharding import add_shard_flags, sharding_of


def build_parser() -> ArgumentParser:
    """Flags of the command (spec section 5.1)."""
    parser = ArgumentParser("inference/main.py", description=__doc__)
    parser.add_argument("model_path", type=Path, metavar="MODEL_PATH", help="checkpoint")
    parser.add_argument(
        "--dataset", "-d", choices=tuple(DATASETS), required=True, help="what to run on"
    )
    parser.add_argument(
        "--output_dir",
        "-o",
        type=Path,
        default=Path("inference"),
        help="folder of the results; a relative one lies in the folder of the checkpoint",
    )
    parser.add_argument("--seqs", nargs="+", metavar="ID", help="only these sequences")
    add_choice_flags(parser)
    add_reading_flags(parser)
    parser.add_argument("--save_vis", action="store_true", help="write pictures of the results")
    parser.add_argument("--overwrite", action="store_true", help="redo finished sequences")
    parser.add_argument("--no_metric", action="store_true", help="write results only")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes of the metric")
    add_shard_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a model over a data set (spec section 5.1).

    Raises:
        UserError: flags, weights, data or the output folder are unusable.
    """
    args = build_parser().parse_args(argv)
    plan, engine = build(args)
    sharding = sharding_of(args)
    if sharding is None:
        stats = evaluate(plan, engine())
    elif sharding.is_merge:
        stats = merge(plan, shards_of(plan, sharding))
    else:
        shards = shards_of(plan, sharding)
        with shards.run() as folder:
            if folder is not None:
                part = part_of(plan, shards, folder, shards.names())
                say(*evaluate(part, engine()).lines())
        return 0
    say(*stats.lines())
    if plan.benchmark.data.has_annotations and not args.no_metric:
        _score(plan, args.workers)
    return 0


def build(args: argparse.Namespace) -> tuple[EvalPlan, Callable[[], Engine]]:
    """What parsed flags ask for, and what makes the engine for it.

    Raises:
        UserError: flags, weights or data are unusable.
    """
    mode, fallback = DATASETS[args.dataset]
    cfg = config_of(args.model_path, fallback, opts=args.opts)
    settings = engine_settings(cfg, choices_of(args), mode)
    benchmark = open_benchmark(args.dataset, args.seqs)
    # Absolute paths stay as they are.
    output = args.model_path.absolute().parent / args.output_dir
    writer = _writer(args, cfg, mode, benchmark, output)
    plan = EvalPlan(
        benchmark,
        writer,
        metrics_folder(output) / "run.json",
        _result_settings(args, cfg, settings, writer),
        overwrite=args.overwrite,
        save_vis=args.save_vis,
        prefetch=args.num_workers,
    )
    return plan, lambda: _engine(args, cfg, settings)


def _writer(
    args: argparse.Namespace, cfg: Config, mode: str, benchmark: Benchmark, output: Path
) -> ResultWriter:
    writer = WRITERS[args.dataset]
    limit = max_tracks_of(cfg, choices_of(args), mode, most=writer.MOST_TRACKS)
    return writer(output, metrics_folder(output), limit, benchmark.data.category_names())


def _engine(args: argparse.Namespace, cfg: Config, settings: EngineSettings) -> Engine:
    device = select_device(args.device)
    clustering_device = select_device(args.clustering_device) if args.clustering_device else device
    network = load_network(args.model_path, cfg, device=device)
    return Engine(
        deploy(network, args.precision),
        settings,
        device=device,
        clustering_device=clustering_device,
    )


def _result_settings(
    args: argparse.Namespace, cfg: Config, settings: EngineSettings, writer: ResultWriter
) -> dict[str, Any]:
    """What results depend on; weights count by their content, batch sizes do not."""
    plain = asdict(replace(settings, frame_batch=1, clip_batch=1))
    return {
        "dataset": args.dataset,
        "weights": sha256_of(args.model_path),
        "precision": args.precision,
        "max_tracks": writer.max_tracks,
        "inference": plain,
        "model": to_dict(cfg)["MODEL"],
    }


def _score(plan: EvalPlan, workers: int) -> None:
    """Prints and saves the official metrics.

    Raises:
        UserError: the results cannot be scored; they are written all the same.
    """
    try:
        # No bars where nobody looks.
        bars = sys.stderr.isatty()
        evaluations = score(plan.benchmark, plan.writer, workers=workers, progress=bars)
    except UserError as error:
        raise UserError(f"the results are written, but cannot be scored: {error}") from error
    folder = plan.run_file.parent
    for found in evaluations:
        say("", found.title, found.table.rstrip())
    write_json(
        folder / "metrics.json",
        {x.title: {"numbers": x.numbers, "content": x.content} for x in evaluations},
    )
    write_text(
        folder / "metrics.txt", "\n".join(f"{x.title}\n{x.table.rstrip()}\n" for x in evaluations)
    )
    say(f"metrics in {folder}")
