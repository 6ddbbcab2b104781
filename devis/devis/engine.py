"""The training loop: build, resume, step, log, save, evaluate (spec section 7)."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from devis.config import Config, loss_settings, model_settings
from devis.data.items import ClipItem, ImageItem, TrainSet
from devis.feed import Batch, Shares, epoch_length, make_feed
from devis.model import build
from devis.model.checkpointing import set_checkpointing
from devis.optimiser import build_optimiser, build_schedule, clip_gradient
from devis.parameter_groups import describe, freeze, groups_of
from devis.resume import (
    NEWEST,
    best_file,
    epoch_file,
    load_resumed,
    schedule_changes,
    write_checkpoint,
)
from devis.session import Interrupted, NonFiniteLossError, TrainOptions
from devis.training_log import TrainingLog, group_rates, shown_values
from devis.training_start import local_file, start_network
from devis.training_step import TOTAL, TrainingStep
from devis.validation import best_values, is_due, validate
from devis.visdom_curves import Curves
from vidseg_common import distributed
from vidseg_common.errors import UserError
from vidseg_common.seeding import RngState, capture_rng, restore_rng, seed_everything
from vidseg_common.stopping import Agreement, StopSignals
from vidseg_common.training_feed import data_changes

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """One training on this process's device.

    Args:
        cfg: the configuration.
        dataset: what to train on.
        dist: from `vidseg_common.distributed.setup`.
        folder: of checkpoints, logs and results; None writes nothing.
        options: see there.

    Attributes:
        iteration: steps that are done.
        epoch_length: steps of an epoch.

    Raises:
        UserError: configuration, data or weights are unusable.
    """

    def __init__(
        self,
        cfg: Config,
        dataset: TrainSet[ClipItem] | TrainSet[ImageItem],
        dist: distributed.DistInfo,
        folder: Path | None,
        options: TrainOptions | None = None,
    ) -> None:
        self.cfg, self.dist, self.folder = cfg, dist, folder
        self.options = options = options or TrainOptions()
        # All processes build the same network; afterwards each has draws of its own.
        seed_everything(cfg.SEED, options.deterministic)
        self.device = torch.device(dist.device)
        self.log = TrainingLog(
            folder if options.log else None, rank=dist.rank, interval=cfg.VISDOM_AND_LOG_INTERVAL
        )
        shares = Shares(cfg.SOLVER.BATCH_SIZE, options.accumulate, dist.rank, dist.world_size)
        self.epoch_length = epoch_length(len(dataset), shares)
        self.feed = make_feed(
            dataset,
            shares,
            num_workers=cfg.NUM_WORKERS,
            seed=cfg.SEED,
            pin_memory=self.device.type == "cuda",
        )
        self.settings = loss_settings(cfg)
        self.network = self._build_network().to(self.device)
        self.step = self._build_step()
        freeze(self.network, cfg)
        self.groups = groups_of(self.network, cfg)
        self.optimiser = build_optimiser(self.groups, cfg)
        self.schedule = build_schedule(self.optimiser, cfg)
        fp16 = self.step.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        self.agreement = Agreement(dist)
        self.iteration, self._saved_at = (cfg.START_EPOCH - 1) * self.epoch_length, -1
        self.best: dict[str, float] = {}
        self._rng: list[RngState] = []
        # False while weights, optimiser and counters do not belong together.
        self._consistent = True
        seed_everything(cfg.SEED + dist.rank, options.deterministic)
        windows = self._resume()
        if dist.is_main and folder is not None and options.log:
            self.log.curves = Curves(cfg, windows if cfg.RESUME_VIS else None)
        self.model = self._build_model()

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self.iteration // self.epoch_length

    def run(self) -> int:
        """Trains to the end and returns the number of epochs done.

        Raises:
            NonFiniteLossError: the loss is not finite; nothing is saved.
            Interrupted: by Ctrl-C, SIGTERM or SIGUSR1, after saving.
        """
        with closing(self.log), StopSignals() as signals:
            for line in describe(self.network, self.groups):
                self.log.line(line)
            try:
                while self.epoch < self.cfg.SOLVER.EPOCHS:
                    stopped_by = self._train_epoch(signals)
                    if self.iteration % self.epoch_length == 0:
                        self._finish_epoch(evaluate=not stopped_by)
                    if stopped_by and self.epoch < self.cfg.SOLVER.EPOCHS:
                        raise self._interrupt(stopped_by)
            except Exception as error:
                self._save_after(error)
                raise
        return self.epoch

    def save(self, paths: list[Path]) -> None:
        """Writes a checkpoint under each of several names; the first process does."""
        if self.folder is not None and self.dist.is_main:
            write_checkpoint(paths, self.network, self.cfg, self._state())
        self._saved_at = self.iteration

    def _train_epoch(self, signals: StopSignals) -> int:
        """Steps to the end of the epoch (0), or to the end of the step in which a signal came."""
        epoch, first = self.epoch, self.iteration
        end = (epoch + 1) * self.epoch_length
        self.log.start_epoch()
        with closing(self._batches(first, end)) as batches:
            while self.iteration < end:
                started = time.perf_counter()
                parts = [next(batches) for _ in range(self.options.accumulate)]
                data = time.perf_counter() - started
                losses = self._iterate(parts)
                rates = group_rates(self.groups, self.optimiser)
                values = shown_values(losses, self.settings, rates)
                values |= {"time": time.perf_counter() - started, "data": data}
                place = self.iteration - 1 - epoch * self.epoch_length
                self.log.step(
                    values,
                    epoch=epoch + 1,
                    place=place,
                    length=self.epoch_length,
                    iteration=self.iteration,
                    processes=self.dist.world_size,
                )
                stop = self.agreement.highest(signals.number)
                if stop:
                    return stop
        return 0

    def _batches(self, first: int, end: int) -> Generator[Batch, None, None]:
        """The batches of an epoch; workers end with it."""
        per_pass = self.feed.plan.batch_size / self.options.accumulate
        yield from self.log.feed.watch(self.feed.batches(first, end), per_pass)

    def _iterate(self, parts: list[Batch]) -> dict[str, float]:
        """One step of the optimiser; returns the losses, means over all parts and processes.

        Raises:
            NonFiniteLossError: loss or gradient is not finite.
        """
        self.optimiser.zero_grad(set_to_none=True)
        count = sum(part.num_entries for part in parts) / len(parts)
        num_boxes = max(distributed.all_reduce_mean({"entries": count})["entries"], 1.0)
        sums: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts):
            batch = part.to(self.device, non_blocking=True)
            with self._sync_gradients(number == len(parts) - 1):
                losses = self.model(batch.images, batch.padding, batch.targets, num_boxes)
                self.scaler.scale(losses[TOTAL] / len(parts)).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(parts)
        values = torch.stack(list(sums.values())).tolist()
        means = distributed.all_reduce_mean(dict(zip(sums, values, strict=True)))
        self._check_finite(means, parts)
        self.scaler.unscale_(self.optimiser)
        norm = clip_gradient(self.network, self.cfg.SOLVER.GRAD_CLIP_MAX_NORM)
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise NonFiniteLossError(f"the gradient is {norm} {self._where(parts)}")
        self._consistent = False
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.iteration += 1
        # After the last step of an epoch the learning rates follow.
        self._consistent = self.iteration % self.epoch_length > 0
        return means

    def _check_finite(self, losses: dict[str, float], parts: list[Batch]) -> None:
        """Stops where a step would spoil the weights; all processes answer alike."""
        if math.isfinite(losses[TOTAL]):
            return
        listed = ", ".join(f"{name} {value:.6g}" for name, value in losses.items())
        raise NonFiniteLossError(f"the loss is {losses[TOTAL]} {self._where(parts)}: {listed}")

    def _where(self, parts: list[Batch]) -> str:
        names = ", ".join(name for part in parts for name in part.names)
        return f"at step {self.iteration + 1}, epoch {self.epoch + 1} ({names})"

    def _finish_epoch(self, *, evaluate: bool) -> None:
        """Next learning rates, then checkpoints, then the evaluation where it is due."""
        self.schedule.step()
        self._consistent = True
        self._collect_rng()
        epoch, every = self.epoch, self.cfg.SOLVER.CHECKPOINT_INTERVAL
        if self.folder is None:
            return
        paths = [self.folder / NEWEST]
        if every > 0 and epoch % every == 0:
            paths.append(epoch_file(self.folder, epoch))
        self.save(paths)
        if self.dist.is_main:
            self.log.line(f"saved {', '.join(map(str, paths))}")
        if evaluate and is_due(self.cfg, epoch):
            self._validate(self.folder, epoch, paths)
        # The others wait, or their next step would run into its time limit.
        self.agreement.highest(0)

    def _validate(self, folder: Path, epoch: int, paths: list[Path]) -> None:
        """Evaluates, and keeps the weights that are the best so far."""
        try:
            numbers = validate(self.network, self.cfg, self.dist, folder, epoch)
        except UserError as error:
            if self.dist.world_size > 1:
                raise
            # A frame that is missing here must not end a training of days.
            self.log.line(f"warning: epoch {epoch} is not evaluated: {error}")
            return
        self.log.validation(numbers, epoch)
        better = {
            kind: value
            for kind, value in best_values(numbers).items()
            if value > self.best.get(kind, -math.inf)
        }
        if better:
            self.best |= better
            self.save([*paths, *(best_file(folder, kind) for kind in better)])

    def _collect_rng(self) -> None:
        """Notes the random generators of all processes, for a checkpoint."""
        self._rng = [capture_rng()] * self.dist.world_size
        if self.dist.world_size > 1:
            torch.distributed.all_gather_object(self._rng, capture_rng())

    def _state(self) -> dict[str, Any]:
        """Entries of a checkpoint besides weights and configuration."""
        curves = self.log.curves
        return {
            "optimizer": self.optimiser.state_dict(),
            "lr_scheduler": self.schedule.state_dict(),
            "epoch": self.epoch,
            "vis_win_names": dict(curves.windows) if curves else {},
            "best_val_stats": dict(self.best),
            "iteration": self.iteration,
            "scaler": self.scaler.state_dict(),
            "rng": self._rng,
            "data": self.feed.state(),
        }

    def _build_network(self) -> nn.Module:
        network = build(model_settings(self.cfg))
        set_checkpointing(network, self.options.checkpointing)
        if self.cfg.SOLVER.RESUME_OPTIMIZER:
            return network
        # The first process fetches what is missing, the others find it there.
        if not self.dist.is_main:
            distributed.barrier()
        self.log.line(start_network(network, self.cfg, self.options.backbone))
        if self.dist.is_main:
            distributed.barrier()
        return network

    def _build_step(self) -> TrainingStep:
        if self.options.amp == "fp16" and self.device.type == "cpu":
            raise UserError("--amp fp16 needs a GPU; on a CPU use bf16")
        return TrainingStep(self.network, self.settings, AMP_DTYPES[self.options.amp])

    def _build_model(self) -> nn.Module:
        if self.dist.world_size == 1:
            return self.step
        return DistributedDataParallel(
            self.step,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            broadcast_buffers=False,  # frozen statistics never differ
            find_unused_parameters=True,
        )

    def _resume(self) -> dict[str, str]:
        """Restores the state of a training, says what is not as it was; returns Visdom windows."""
        if not self.cfg.SOLVER.RESUME_OPTIMIZER:
            return {}
        path = local_file(self.cfg.MODEL.WEIGHTS)
        state = load_resumed(self.network, path, self.optimiser, self.schedule).rest
        self.iteration = int(state["epoch"]) * self.epoch_length
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        best = state.get("best_val_stats")
        self.best = dict(best) if isinstance(best, dict) else {}
        notes = schedule_changes(self.schedule, self.cfg)
        if "iteration" in state:
            changes = data_changes(state["data"], self.feed.state())
            notes += changes
            if not changes:
                self.iteration = int(state["iteration"])
            self._resume_rng(state["rng"])
        for note in notes:
            self.log.line(f"warning: {note}")
        self._saved_at = self.iteration
        self.log.line(f"continues {path} at step {self.iteration}, epoch {self.epoch + 1}")
        if self.epoch >= self.cfg.SOLVER.EPOCHS:
            self.log.line(f"all {self.cfg.SOLVER.EPOCHS} epochs are done already")
        windows = state.get("vis_win_names")
        return dict(windows) if isinstance(windows, dict) else {}

    def _resume_rng(self, saved: list[RngState]) -> None:
        if len(saved) == self.dist.world_size:
            restore_rng(saved[self.dist.rank])
        else:
            self.log.line(
                f"warning: random draws go on anew: the checkpoint has those of {len(saved)} "
                f"process(es), there are {self.dist.world_size}"
            )

    def _interrupt(self, signal: int) -> Interrupted:
        """Saves what a stopped training needs to go on, and tells how."""
        after = f"stopped by signal {signal} after {self.iteration} steps"
        if self.folder is None:
            return Interrupted(f"{after}; nothing was saved")
        if self.iteration > self._saved_at:
            self._collect_rng()
            self.save([self.folder / NEWEST])
        return Interrupted(f"{after}; continue with --resume {self.folder / NEWEST}")

    def _save_after(self, error: Exception) -> None:
        """Saves what is worth it after an error, without hiding the error."""
        if isinstance(error, (NonFiniteLossError, Interrupted)) or self.folder is None:
            return
        if not self._consistent or self.iteration <= max(self._saved_at, 0):
            return
        # The other processes take no part in this.
        self._rng = [capture_rng()] if self.dist.world_size == 1 else []
        try:
            self.save([self.folder / NEWEST])
            self.log.line(f"saved {self.folder / NEWEST}")
        except (UserError, OSError) as failure:
            self.log.line(f"could not save after an error: {failure}")

    def _sync_gradients(self, now: bool) -> AbstractContextManager[Any]:
        """Lets processes average gradients in the last backward pass of a step only."""
        if now or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
