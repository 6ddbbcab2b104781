"""`eval.py` and `stmask eval`: a data set, an image, a folder or a video (spec section 9)."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stmask import scoring
from stmask.benchmark_data import EvalSet, check_classes, evaluation_set, in_order, open_set
from stmask.commands.common import Model, inference_of, make_predictor, open_model
from stmask.commands.eval_flags import DEFAULT_MODEL, INERT, build_parser
from stmask.commands.eval_play import artist_of, play
from stmask.commands.flags import say, warn_inert
from stmask.config import Config, get_config, get_dataset
from stmask.evaluate import OnFrame, Plan, Stats, evaluate
from stmask.inference.postprocess import FrameResult
from stmask.inference.predictor import Predictor
from stmask.outputs.web import WebWriter
from stmask.saved import SavedName
from stmask.timers import Timers
from stmask.weights import config_name_of
from vidseg_common.config import ArgumentParser
from vidseg_common.conversion import select_positions
from vidseg_common.datasets.annotations import Video
from vidseg_common.datasets.json_write import write_list
from vidseg_common.download import sha256_of
from vidseg_common.errors import UserError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.finished import open_finished
from vidseg_common.sharding import Shards, merged_entries, sharding_of
from vidseg_common.video import BackgroundWriter

__all__ = ["build_parser", "main"]

#: Flags that name something else than a data set to run on.
_SOURCES = ("image", "images", "video")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the flags ask for.

    Raises:
        UserError: flags, weights, data or an output are unusable.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    warn_inert(args, INERT)
    if _only_scores(args):
        return _score_existing(args)
    if args.trained_model == DEFAULT_MODEL and not Path(DEFAULT_MODEL).exists():
        parser.error("--trained_model is missing: expected a checkpoint")
    model = open_model(args.trained_model, args.config, strict=not args.non_strict)
    if args.image or args.images or args.video:
        return play(args, model, _predictor(args, model)[0])
    return _run_set(args, model)


def _check(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """Leaves with one line where flags contradict each other."""
    if args.batch_size != 1:
        parser.error(f"--batch_size: the tracker takes frames one by one, got {args.batch_size}")
    given = [f"--{name}" for name in _SOURCES if getattr(args, name)]
    if len(given) > 1:
        parser.error(f"{' and '.join(given)}: expected one of them")
    if args.use_train_sub and args.use_valid_sub:
        parser.error("--use_train_sub and --use_valid_sub: expected one of them")
    if args.max_images < 1 and args.max_images != -1:
        parser.error(f"--max_images: expected a positive number or -1, got {args.max_images}")
    if args.detect and not (given or args.display or args.benchmark):
        parser.error("--detect finds no masks: it needs --display, --benchmark, or a source")
    if args.img_prefix and not args.ann_file:
        parser.error("--img_prefix goes with --ann_file")
    if args.num_shards is not None:
        # Shards have the results of whole videos, in one order, and nothing else.
        foreign = (*_SOURCES, "display", "benchmark", "output_web_json", "only_calc_metrics")
        wrong = [f"--{name}" for name in foreign if getattr(args, name)]
        wrong += ["--max_images"] if args.max_images != -1 else []
        wrong += ["--output_json=false"] if not args.output_json else []
        wrong += ["--shuffle without --seed"] if args.shuffle and args.seed is None else []
        if wrong:
            parser.error(f"{wrong[0]} does not go with --num-shards")


def _only_scores(args: argparse.Namespace) -> bool:
    if args.only_calc_metrics is not None:
        return bool(args.only_calc_metrics)
    return bool(args.config) and bool(get_config(args.config).only_calc_metrics)


def _score_existing(args: argparse.Namespace) -> int:
    """Scores the result file that is there, and logs the numbers."""
    name = args.config or config_name_of(args.trained_model)
    if name is None:
        raise UserError(f"--config: {args.trained_model} does not tell the configuration")
    chosen = _open_set(args, get_config(name))
    found = scoring.score(chosen, args.mask_det_file, workers=args.workers)
    say(found.table().rstrip())
    saved = SavedName.of(args.trained_model)
    scoring.log_scores(found, args.log_folder, saved.iteration if saved else 0)
    files = scoring.save_scores(found, args.mask_det_file)
    say(f"numbers in {files[0]}, event log in {args.log_folder}")
    return 0


def _open_set(args: argparse.Namespace, cfg: Config) -> EvalSet:
    """The data set that flags and configuration name."""
    if args.ann_file:
        return open_set(args.ann_file, args.img_prefix or args.ann_file.parent)
    if args.eval_dataset:
        cfg = cfg.copy({"valid_dataset": get_dataset(args.eval_dataset)})
    asked = {"train_sub": args.use_train_sub, "valid_sub": args.use_valid_sub}
    if args.eval_dataset is None and not any(asked.values()):
        asked = {"train_sub": cfg.use_train_sub, "valid_sub": cfg.use_valid_sub}
    return evaluation_set(cfg, **{name: bool(value) for name, value in asked.items()})


def _predictor(args: argparse.Namespace, model: Model) -> tuple[Predictor, Timers]:
    return make_predictor(model, args, with_masks=not args.detect, crop=not args.no_crop)


def _run_set(args: argparse.Namespace, model: Model) -> int:
    """Runs and scores a data set, or one shard of it without a score, or merges and scores."""
    chosen = _open_set(args, model.cfg)
    check_classes(chosen, model.network.settings.num_classes)
    rng = random.Random(args.seed) if args.shuffle else None
    data = in_order(chosen.data, by_id=not args.no_sort, rng=rng)
    chosen = EvalSet(chosen.file, chosen.images, data)
    sharding = sharding_of(args)
    if sharding is None:
        stats = _run(args, model, chosen)
        if args.output_json and not args.display and not args.benchmark:
            _score(args, chosen, args.mask_det_file, stats)
        return 0
    shards = Shards(
        sharding,
        args.mask_det_file,
        method="stmask",
        data=chosen.file.name,
        lengths={str(video.id): video.num_frames for video in data.videos},
        settings=_settings(args, model, chosen),
    )
    if sharding.is_merge:
        _merge(args, chosen, shards)
        return 0
    with shards.run() as folder:
        if folder is not None:
            mine = set(shards.names())
            places = [i for i, video in enumerate(data.videos) if str(video.id) in mine]
            part = EvalSet(chosen.file, chosen.images, select_positions(data, places))
            own = {**vars(args), "mask_det_file": shards.target(folder)}
            _run(argparse.Namespace(**own), model, part)
    return 0


def _merge(args: argparse.Namespace, chosen: EvalSet, shards: Shards) -> None:
    results = args.mask_det_file
    entries = merged_entries(shards, "video_id", shards.target)
    with OutputLock(check_writable(results.parent)):
        write_list(results, entries)
    say(f"results in {results}")
    _score(args, chosen, results, Stats())


def _run(args: argparse.Namespace, model: Model, chosen: EvalSet) -> Stats:
    """Runs the videos of a data set, writes what the flags ask for and tells what came out."""
    predictor, timers = _predictor(args, model)
    folder = args.mask_det_file.parent
    writes = args.output_json and not args.display and not args.benchmark
    results = args.mask_det_file if writes else None
    with ExitStack() as stack:
        if not args.benchmark:
            check_writable(folder)
            stack.enter_context(OutputLock(folder))
        watchers = () if args.benchmark else _watchers(args, model, predictor, chosen, stack)
        # Pictures and the viewer's file need every frame.
        finished = None
        if results is not None and not watchers:
            kept = results.with_suffix(".finished.jsonl")
            place = {"device": predictor.device.type, "images": str(chosen.images.resolve())}
            settings = _settings(args, model, chosen) | place
            finished = stack.enter_context(open_finished(kept, settings))
        plan = Plan(
            chosen,
            max_images=args.max_images if args.max_images > 0 else None,
            prefetch=max(0, args.num_workers),
            progress=not args.no_bar,
            on_frame=watchers,
            finished=finished,
        )
        stats = evaluate(plan, predictor, timers, results)
    _report(args, chosen, stats, timers)
    return stats


def _settings(args: argparse.Namespace, model: Model, chosen: EvalSet) -> dict[str, Any]:
    """What the results of a video depend on, but for the machine and its folders."""
    inference = inference_of(model, args, with_masks=not args.detect, crop=not args.no_crop)
    return {
        "weights": sha256_of(model.path),
        "annotations": sha256_of(chosen.file),
        "network": asdict(model.network.settings),
        "inference": asdict(inference),
        "precision": args.precision,
    }


def _watchers(
    args: argparse.Namespace,
    model: Model,
    predictor: Predictor,
    chosen: EvalSet,
    stack: ExitStack,
) -> tuple[OnFrame, ...]:
    """What happens to every frame besides the submission: pictures, the viewer's file."""
    watchers: list[OnFrame] = []
    if args.display:
        writer = stack.enter_context(BackgroundWriter())
        artist = artist_of(args, chosen.class_names)
        folder = args.mask_det_file.parent / "out"

        def draw(video: Video, t: int, image: np.ndarray, found: FrameResult) -> None:
            path = folder / video.name / f"{Path(video.file_names[t]).stem}.png"
            artist.write(writer, path, artist.draw(image, found), predictor.detections)

        watchers.append(draw)
    if args.output_web_json:
        path = args.web_det_path / f"{model.cfg.name}.json"
        config = {"name": model.cfg.name, "trained_model": model.path.name, "set": chosen.file.name}
        web = stack.enter_context(WebWriter(path, config, chosen.class_names))

        def add(video: Video, t: int, _image: np.ndarray, found: FrameResult) -> None:
            web.add(found, video.file_names[t])

        watchers.append(add)
    return tuple(watchers)


def _report(args: argparse.Namespace, chosen: EvalSet, stats: Stats, timers: Timers) -> None:
    """Says what came out and how long it took."""
    before = f" (and {stats.num_kept} videos before)" if stats.num_kept else ""
    say(f"{stats.num_images} images{before}, {stats.num_objects} objects")
    if stats.empty:
        say(f"{len(stats.empty)} video(s) without any object, such as {stats.empty[0]}")
    table = timers.table(stats.num_timed)
    say(*(table if args.benchmark else table[-1:]))
    if args.benchmark:
        return
    if args.display:
        say(f"pictures in {args.mask_det_file.parent / 'out'}")
    elif args.output_json:
        say(f"results in {args.mask_det_file}")
    if args.output_web_json:
        folders = f"--dets {args.web_det_path} --images {chosen.images}"
        say(f"see them with: stmask viewer {folders}")


def _score(args: argparse.Namespace, chosen: EvalSet, results: Path, stats: Stats) -> None:
    """Prints and saves the official metric where there is ground truth for all that was run."""
    if args.no_metric:
        return
    if not chosen.data.has_annotations:
        say(f"not scored: {chosen.file} has no annotations, the challenge server scores it")
        return
    if not stats.is_complete:
        say("not scored: --max_images left out a part of the data set")
        return
    try:
        found = scoring.score(chosen, results, workers=args.workers)
    except UserError as error:
        raise UserError(f"the results are written, but cannot be scored: {error}") from error
    say("", found.table().rstrip(), f"numbers in {scoring.save_scores(found, results)[0]}")
