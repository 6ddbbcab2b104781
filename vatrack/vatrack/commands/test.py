"""`tools/test.py` and `vatrack eval`: results of a data set, their scores, pictures (spec 6, 7)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vatrack import scoring
from vatrack.commands.common import make_predictor
from vatrack.commands.launch import check_launch
from vatrack.commands.test_flags import DEFAULT_CHECKPOINT, build_parser
from vatrack.config import Config, dataset_settings, load_config, network_kind
from vatrack.evaluate import Pictures, Run, run_set
from vatrack.evaluation_set import EvaluationSet, open_evaluation_set
from vatrack.outputs.detections import RawDetections, read_raw_detections, stored_detections
from vatrack.outputs.finished import finished_file, finished_files, merge_shards
from vatrack.outputs.result_json import read_json_results, write_json_results
from vatrack.outputs.result_pickle import write_pickle
from vatrack.outputs.store import Masks, ResultStore
from vatrack.weights import Model, masks_of, open_model
from vidseg_common import distributed
from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import say
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.sailvos_per_video import Masks as OneKind
from vidseg_common.download import sha256_of
from vidseg_common.errors import CheckpointError, ConfigError, UserError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.finished import open_finished
from vidseg_common.metrics.amodal_ap import AmodalResult
from vidseg_common.sharding import Shards, sharding_of
from vidseg_common.sharding_processes import run_shard

__all__ = ["build_parser", "main"]

_PICKLES = (".pkl", ".pickle")
#: How long processes wait for the slowest one.
_TIMEOUT_MINUTES = 24 * 60


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, writes and scores what the flags ask for.

    Returns:
        0, the exit status.

    Raises:
        UserError: flags, configuration, weights, data, results or an output are unusable.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    cfg = load_config(args.config, args.cfg_options, backbone=args.backbone)
    chosen = _open_set(args, cfg)
    masks = masks_of(network_kind(cfg))
    if args.eval_only:
        _score_file(args, cfg, chosen, masks)
        return 0
    check_launch(args)
    # Putting shards together runs no network.
    device = "cpu" if args.merge else args.device
    dist = distributed.setup(device, timeout_minutes=_TIMEOUT_MINUTES)
    try:
        _run(args, cfg, chosen, dist)
    finally:
        distributed.cleanup()
    return 0


def _check(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """Leaves with one line where flags contradict each other."""
    allowed = (*_PICKLES, ".json") if args.eval_only else _PICKLES
    if args.out.suffix not in allowed:
        parser.error(f"--out: expected a name that ends in {' or '.join(allowed)}, got {args.out}")
    if args.eval_only and args.format_only:
        parser.error("--eval-only and --format-only: expected one of them")
    if args.eval_only and (args.show or args.show_dir):
        parser.error("--show needs the network, it does not go with --eval-only")
    if args.eval_only and args.detections and args.out.suffix == ".json":
        parser.error("--detections: JSON files have tracks only; give the pickle")
    if args.num_shards is not None and (args.eval_only or args.show or args.show_dir):
        wrong = "--eval-only" if args.eval_only else "--show"
        parser.error(f"{wrong} does not go with --num-shards")


def _open_set(args: argparse.Namespace, cfg: Config) -> EvaluationSet:
    """The data set that flags and configuration name."""
    several = dataset_settings(cfg, "test")
    if len(several) > 1:
        raise ConfigError(f"{cfg.where('data.test')}: data.test: expected one data set")
    changes: dict[str, Any] = {}
    if args.ann_file is not None:
        changes["ann_file"] = args.ann_file
    if args.img_prefix is not None:
        changes["img_prefix"] = args.img_prefix
    return open_evaluation_set(replace(several[0], **changes))


def _run(
    args: argparse.Namespace, cfg: Config, chosen: EvaluationSet, dist: distributed.DistInfo
) -> None:
    if args.checkpoint == DEFAULT_CHECKPOINT and not args.checkpoint.exists():
        raise CheckpointError("--checkpoint is missing: expected a file of weights")
    sharding = sharding_of(args)
    model = open_model(args.checkpoint, cfg)
    classes = chosen.settings.classes
    if len(classes) != model.network.settings.num_classes:
        raise ConfigError(
            f"{cfg.path}: the data set has {len(classes)} classes, the network "
            f"{model.network.settings.num_classes}"
        )
    settings = _settings(args, model, chosen)
    if sharding is None:
        with _locked(args.out, dist):
            store = _compute(args, model, chosen, dist, settings)
            if dist.is_main:
                _publish(args, cfg, chosen, model, store)
                for path in finished_files(args.out):
                    path.unlink()
        return
    shards = Shards(
        sharding,
        args.out,
        method="vatrack",
        data=chosen.settings.ann_file.name,
        lengths={str(video.id): video.num_frames for video in chosen.data.videos},
        settings=settings,
    )
    if sharding.is_merge:
        if dist.is_main:
            store = ResultStore(chosen.data.videos, chosen.data.categories, model.masks)
            merge_shards(shards, store, settings)
            with _locked(args.out, dist):
                _publish(args, cfg, chosen, model, store)
        return
    with run_shard(shards, dist) as folder:
        if folder is not None:
            own = argparse.Namespace(**{**vars(args), "out": shards.target(folder)})
            with _locked(own.out, dist):
                _compute(own, model, chosen, dist, settings, set(shards.names()))


@contextmanager
def _locked(out: Path, dist: distributed.DistInfo) -> Iterator[None]:
    """The folder of a result file, used by the processes of one run."""
    folder = check_writable(out.parent)
    with OutputLock(folder) if dist.is_main else nullcontext():
        yield


def _settings(args: argparse.Namespace, model: Model, chosen: EvaluationSet) -> dict[str, Any]:
    """What results depend on, but for the machine and its folders."""
    settings = {
        "weights": sha256_of(model.path),
        "annotations": sha256_of(chosen.settings.ann_file),
        "network": asdict(model.network.settings),
        "inference": asdict(model.inference),
        "detections": args.detections,
        "precision": args.precision,
    }
    return dict(json.loads(json.dumps(settings, default=str)))


def _compute(
    args: argparse.Namespace,
    model: Model,
    chosen: EvaluationSet,
    dist: distributed.DistInfo,
    settings: dict[str, Any],
    names: set[str] | None = None,
) -> ResultStore:
    """Runs all videos or those of some ids; the first process has all results."""
    videos = chosen.data.videos
    positions = [i for i, video in enumerate(videos) if names is None or str(video.id) in names]
    chosen.check_frames([videos[i] for i in positions])
    predictor = make_predictor(model, args, dist.device, with_detections=args.detections)
    pictures = _pictures(args)
    with ExitStack() as stack:
        finished = None
        if pictures is None:
            kept = open_finished(finished_file(args.out, dist), settings)
            finished = stack.enter_context(kept)
        run = Run(
            chosen,
            model.masks,
            model.classes,
            dist,
            prefetch=max(0, args.num_workers),
            pictures=pictures,
            finished=finished,
            positions=positions,
        )
        return run_set(run, predictor)


def _publish(
    args: argparse.Namespace,
    cfg: Config,
    chosen: EvaluationSet,
    model: Model,
    store: ResultStore,
) -> None:
    """Writes results and scores them."""
    _write(args, store, {"config": cfg.path.stem, "weights": sha256_of(model.path)})
    _finish(args, cfg, chosen, store)


def _pictures(args: argparse.Namespace) -> Pictures | None:
    if not args.show and args.show_dir is None:
        return None
    folder = args.show_dir or args.out.parent / "show"
    return Pictures(check_writable(folder), args.show_score_thr)


def _write(args: argparse.Namespace, store: ResultStore, facts: dict[str, Any]) -> None:
    write_pickle(store, args.out)
    path = args.out.with_suffix(".json")
    write_json_results(store.annotations(), path, facts)
    say(f"results in {args.out} and {path}")


def _finish(
    args: argparse.Namespace, cfg: Config, chosen: EvaluationSet, store: ResultStore
) -> None:
    if args.format_only:
        return
    if not chosen.data.has_annotations:
        say(f"not scored: {chosen.settings.ann_file} has no annotations")
        return
    raw = stored_detections(store) if args.detections else None
    try:
        _score(args, cfg, chosen, store.annotations(), raw)
    except UserError as error:
        raise UserError(f"the results are written, but cannot be scored: {error}") from error


def _score_file(args: argparse.Namespace, cfg: Config, chosen: EvaluationSet, masks: Masks) -> None:
    """Scores a result file that is there, own or upstream's."""
    if args.out.suffix == ".json":
        results = read_json_results(args.out, chosen.data)
    else:
        one: OneKind = "amodal" if masks == "amodal" else "visible"
        results = sailvos.read_results(args.out, chosen.data, masks=one)
    found = results.info["masks"]
    if found != masks:
        raise ConfigError(
            f"{args.out}: has {found} masks, but {cfg.path.stem} is a model of {masks} ones; name "
            "the configuration that made the file with --config"
        )
    raw = read_raw_detections(args.out, chosen.data, masks) if args.detections else None
    _score(args, cfg, chosen, results, raw)


def _score(
    args: argparse.Namespace,
    cfg: Config,
    chosen: EvaluationSet,
    results: AnnotationSet,
    raw: RawDetections | None,
) -> None:
    asked = dict(args.eval_options)
    options = scoring.ScoreOptions(
        metrics=tuple(args.eval),
        per_class=asked.get("classwise", False),
        upstream_rows=asked.get("upstream_rows", False),
        workers=args.workers,
        per_video=_per_video(args),
    )
    found = scoring.score(chosen.data, results, options, name=cfg.path.stem)
    say(found.text().rstrip())
    extra: dict[str, Any] = {}
    if raw is not None:
        detections = scoring.score_detections(
            chosen.data, raw.results, options, has_masks=raw.has_masks
        )
        say("", "detections before tracking", detections.table().rstrip())
        extra["detections"] = _plain(detections)
    files = scoring.save_scores(found, args.out, extra)
    say("", f"numbers in {files[0]} and {files[1]}")


def _per_video(args: argparse.Namespace) -> dict[OneKind, AnnotationSet]:
    """Ground truth of tracks that is given as files."""
    given: dict[OneKind, Path | None] = {
        "visible": args.per_video_visible,
        "amodal": args.per_video_amodal,
    }
    return {
        kind: sailvos.read_per_video(path, masks=kind)
        for kind, path in given.items()
        if path is not None
    }


def _plain(found: AmodalResult) -> dict[str, Any]:
    return {"numbers": found.numbers, "warnings": list(found.warnings)}
