"""The training loop: build, resume, step, log, save, validate (spec 10.3, 10.4)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stmask.checkpoint import build_network, load_coco_start
from stmask.config import Config, network_settings
from stmask.data.collate import Batch
from stmask.data.pairs import PairDataset
from stmask.feed import epoch_length, make_feed, make_shares
from stmask.losses import MultiBoxLoss, total_loss
from stmask.model.network import STMask
from stmask.resume import (
    iteration_of,
    load_resumed,
    previous_checkpoint,
    remove_checkpoint,
    remove_interrupted,
    resume_optimiser,
    write_checkpoint,
)
from stmask.saved import SavedName
from stmask.schedules import Schedule, build_optimiser, delayed_changes, set_rate
from stmask.session import PATIENCE, Interrupted, NonFiniteLossError, TrainOptions
from stmask.start import start_from_nothing
from stmask.training_log import INTERVAL, TrainingLog
from stmask.training_step import TrainingStep
from stmask.validation import Validation
from vidseg_common import distributed
from vidseg_common.errors import ConfigError, UserError
from vidseg_common.seeding import capture_rng, restore_rng, seed_everything
from vidseg_common.stopping import Agreement, StopSignals
from vidseg_common.training_feed import data_changes

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Losses whose networks get no gradient when they are switched off.
_BRANCHES = (
    *("train_boxes", "train_class", "train_masks", "train_track", "train_centerness"),
    *("use_boxiou_loss", "maskshift_loss"),
)


class Trainer:
    """One training on this process's device.

    Args:
        cfg: the configuration, its iterations scaled already.
        dataset: what to train on.
        dist: from `vidseg_common.distributed.setup`.
        folder: of checkpoints and logs; None writes nothing.
        options: see there.
        validation: scores every checkpoint of the first process; None: nothing does.

    Raises:
        UserError: configuration, data or weights are unusable.
    """

    def __init__(
        self,
        cfg: Config,
        dataset: PairDataset,
        dist: distributed.DistInfo,
        folder: Path | None,
        options: TrainOptions | None = None,
        validation: Validation | None = None,
    ) -> None:
        self.cfg, self.dist, self.folder = cfg, dist, folder
        self.options, self.validation = options or TrainOptions(), validation
        options = self.options
        # All processes build the same network: they share the seed.
        seed_everything(options.seed, options.deterministic)
        self.device = torch.device(dist.device)
        shares = make_shares(
            options.batch_size, options.batch_alloc, rank=dist.rank, world_size=dist.world_size
        )
        pin_memory = self.device.type == "cuda"
        self.feed = make_feed(
            dataset,
            shares,
            num_workers=options.num_workers,
            seed=options.seed,
            pin_memory=pin_memory,
        )
        self.interval = shares.interval
        self.epoch_length = epoch_length(len(dataset), options.batch_size)
        log_folder = folder if options.log else None
        self.log = TrainingLog(log_folder, cfg.name, rank=dist.rank)
        self.network = self._build_network().to(self.device)
        self.step = self._build_step()
        self.schedule = Schedule.of(cfg, options.rate, options.gamma)
        self.optimiser = build_optimiser(
            self.network.parameters(),
            rate=options.rate,
            momentum=options.momentum,
            decay=options.decay,
        )
        fp16 = self.step.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        self.agreement = Agreement(dist)
        self.iteration, self._saved_at, self._skipped = 0, -1, 0
        # False while weights, optimiser and counters do not belong together.
        self._consistent = True
        self._resume()
        self._change_settings(-1)
        self.model = self._build_model()

    @property
    def epoch(self) -> int:
        """Passes over the data that are done."""
        return self.iteration // self.epoch_length

    def run(self) -> int:
        """Trains to the end and returns the number of iterations done.

        Raises:
            NonFiniteLossError: no step could be made for long; with loss, iteration and samples.
            Interrupted: by Ctrl-C, SIGTERM or SIGUSR1, after saving.
        """
        with closing(self.log), StopSignals() as signals:
            self._open_session()
            try:
                stopped_by = self._train(signals)
            except Exception as error:
                self._save_after(error)
                raise
            if stopped_by:
                raise self._interrupt(stopped_by)
            if self.iteration > self._saved_at:
                self.save()
        return self.iteration

    def save(self, *, interrupted: bool = False) -> Path | None:
        """Writes a checkpoint, removes the one that it replaces, and validates.

        Args:
            interrupted: the training was stopped: no validation.

        Returns:
            The file, which only the first process writes; None where this run keeps none.
        """
        if self.folder is None:
            return None
        name = SavedName(self.cfg.name, self.epoch, self.iteration, interrupted)
        path = self.folder / name.file_name
        if self.dist.is_main:
            previous = previous_checkpoint(self.folder, name)
            write_checkpoint(path, self.network, self._state())
            self.log.line(f"saved {path}")
            if interrupted:
                remove_interrupted(self.folder, path)
            else:
                self._replace(previous)
                self._validate(path)
        self._saved_at = self.iteration
        # The others wait, or their next step would run into its time limit.
        self.agreement.highest(0)
        return path

    def _train(self, signals: StopSignals) -> int:
        """Iterates to the end (0) or to the end of the iteration in which a signal came."""
        stop_at, saving = self.cfg.max_iter, self.options.saving
        per_share = self.options.batch_size / self.interval
        batches = self.log.feed.watch(self.feed.batches(self.iteration, stop_at), per_share)
        while self.iteration < stop_at:
            started = time.perf_counter()
            rate, epoch = self.schedule.at(self.iteration), self.epoch
            losses = self._iterate(batches, rate)
            self.log.iteration(
                losses,
                epoch=epoch,
                iteration=self.iteration,
                rate=rate,
                elapsed=time.perf_counter() - started,
            )
            if self.iteration % INTERVAL == 0:
                self.log.progress(epoch, self.iteration, stop_at)
            if self.iteration % saving.interval == 0 and self.epoch >= saving.from_epoch:
                self.save()
            self._change_settings(self.iteration - 1)
            stop = self.agreement.highest(signals.number)
            if stop:
                return stop
        return 0

    def _iterate(self, batches: Iterator[Batch], rate: float) -> dict[str, float]:
        """One step of the optimiser; returns the losses, means over all shares and processes."""
        set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in range(self.interval):
            batch = next(batches).to(self.device, non_blocking=True)
            with self._sync_gradients(part == self.interval - 1):
                losses = self.model(batch.frames, batch.targets)
                self.scaler.scale(total_loss(losses) / self.interval).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / self.interval
        values = torch.stack(list(sums.values())).tolist()
        means = distributed.all_reduce_mean(dict(zip(sums, values, strict=True)))
        self._consistent = False
        if self._is_finite(means, batch):
            self.scaler.step(self.optimiser)
            self.scaler.update()
        self.iteration += 1
        self._consistent = True
        return means

    def _is_finite(self, losses: dict[str, float], batch: Batch) -> bool:
        """Whether a step can be made; all processes answer alike.

        Raises:
            NonFiniteLossError: it could not for too long.
        """
        if math.isfinite(sum(losses.values())):
            self._skipped = 0
            return True
        self._skipped += 1
        bad = next(name for name, value in losses.items() if not math.isfinite(value))
        where = f"{bad} is {losses[bad]} at iteration {self.iteration} ({', '.join(batch.names)})"
        if self._skipped >= PATIENCE:
            raise NonFiniteLossError(f"{where}, as it was in {self._skipped} iterations in a row")
        self.log.line(f"warning: {where}: no step is made")
        return False

    def _state(self) -> dict[str, Any]:
        """The side file."""
        return {
            "iteration": self.iteration,
            "optimizer": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": capture_rng(),
            "data": self.feed.state(),
        }

    def _replace(self, previous: Path | None) -> None:
        """With `keep_latest`, removes the checkpoint before the present one."""
        saving = self.options.saving
        if previous is None or not saving.keep_latest:
            return
        every = saving.keep_latest_interval
        if every <= 0 or iteration_of(previous) % every:
            remove_checkpoint(previous)

    def _validate(self, path: Path) -> None:
        if self.validation is None:
            return
        try:
            numbers = self.validation.run(self.network, path)
        except UserError as error:
            # A frame that is missing here must not end a training of days.
            self.log.line(f"warning: checkpoints are not scored from here on: {error}")
            self.validation = None
            return
        self.log.validation(numbers, self.iteration)
        self.log.line(f"mAP {numbers['mAP']:.4f}, AP50 {numbers['AP50']:.4f}: {path.stem}.txt")

    def _change_settings(self, before: int) -> None:
        """Puts delayed settings into force.

        Raises:
            ConfigError: they ask for another network.
        """
        for changes in delayed_changes(self.cfg, before, self.iteration):
            cfg = self.cfg.copy(changes)
            if network_settings(cfg) != network_settings(self.cfg):
                raise ConfigError(
                    f"delayed_settings: {', '.join(changes)}: the network cannot change while it "
                    "is trained"
                )
            self.cfg = cfg
            self.step.loss = _make_loss(cfg)
            self.schedule = Schedule.of(cfg, self.options.rate, self.options.gamma)
            self.log.averages.reset()
            self.log.line(f"from iteration {self.iteration} on: {changes}")

    def _build_network(self) -> STMask:
        network, start = build_network(self.cfg), self.options.start
        if start.resume is not None:
            return network
        pi = self.cfg.focal_loss_init_pi if self.cfg.use_sigmoid_focal_loss else None
        if start.weights is None:
            report = start_from_nothing(network, focal_init_pi=pi)
        else:
            report = load_coco_start(start.weights, network, focal_init_pi=pi)
        self.log.line(f"{start.weights or 'random weights'}: {report.text()}")
        return network

    def _build_step(self) -> TrainingStep:
        options, on_cpu = self.options, self.device.type == "cpu"
        if options.amp == "fp16" and on_cpu:
            raise UserError("--amp fp16 needs a GPU; on a CPU use bf16")
        return TrainingStep(
            self.network,
            _make_loss(self.cfg),
            AMP_DTYPES[options.amp],
            train_bn=options.train_bn and not self.cfg.freeze_bn,
        )

    def _build_model(self) -> nn.Module:
        if self.dist.world_size == 1:
            return self.step
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            self.step,
            device_ids=ids,
            # Frozen statistics never differ; those of the first process count otherwise.
            broadcast_buffers=self.step.train_bn,
            find_unused_parameters=not all(getattr(self.cfg, name) for name in _BRANCHES)
            or bool(self.cfg.delayed_settings),
        )

    def _open_session(self) -> None:
        gpus = None
        if self.options.log_gpu:
            gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        self.log.session(self.options.arguments, gpus)

    def _resume(self) -> None:
        """Restores the state of a training, and says what is not as it was."""
        start = self.options.start
        if start.resume is None:
            return
        state = load_resumed(self.network, start.resume)
        if state is None:
            self.log.line(f"{start.resume}: no side file fits it; the optimiser starts anew")
            self.iteration = -1 if start.iteration is None else start.iteration
        else:
            resume_optimiser(self.optimiser, state["optimizer"], start.resume)
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            restore_rng(state["rng"])
            for note in data_changes(state["data"], self.feed.state()):
                self.log.line(f"warning: {note}")
            self.iteration = state["iteration"] if start.iteration is None else start.iteration
        if self.iteration < 0:
            self.iteration = iteration_of(start.resume)
        self._saved_at = self.iteration
        self.log.line(f"continues {start.resume} at iteration {self.iteration}")
        if self.iteration >= self.cfg.max_iter:
            self.log.line(f"all {self.cfg.max_iter} iterations are done already")

    def _interrupt(self, signal: int) -> Interrupted:
        """Saves what a stopped training needs to go on, and tells how."""
        after = f"stopped by signal {signal} after {self.iteration} iterations"
        saved = self.save(interrupted=True) if self.options.saving.on_interrupt else None
        how = f"continue with --resume {saved}" if saved else "nothing was saved"
        return Interrupted(f"{after}; {how}")

    def _save_after(self, error: Exception) -> None:
        """Saves what is worth it after an error, without hiding the error."""
        spoilt = isinstance(error, NonFiniteLossError)
        worth = self._consistent and self.iteration > max(self._saved_at, 0)
        if spoilt or not worth or not self.dist.is_main or self.folder is None:
            return
        name = SavedName(self.cfg.name, self.epoch, self.iteration, True)
        try:
            write_checkpoint(self.folder / name.file_name, self.network, self._state())
            self.log.line(f"saved {self.folder / name.file_name}")
        except (UserError, OSError) as failure:
            self.log.line(f"could not save after an error: {failure}")

    def _sync_gradients(self, now: bool) -> AbstractContextManager[Any]:
        """Lets processes average gradients in the last backward pass of a step only."""
        if now or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()


def _make_loss(cfg: Config) -> MultiBoxLoss:
    """The losses of a configuration.

    Raises:
        ConfigError: a value does not fit.
    """
    try:
        return MultiBoxLoss(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
