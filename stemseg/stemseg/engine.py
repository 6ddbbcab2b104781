"""The training loop: build, resume, step, log, save (spec sections 7.1, 7.9)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stemseg.checkpoint import build_network, load_backbone, load_weights
from stemseg.config import Config, to_dict
from stemseg.data.collate import Batch
from stemseg.data.samples import ClipSet
from stemseg.feed import TrainingFeed, plan_batches
from stemseg.losses import STEmSegLoss, total_loss
from stemseg.model.network import STEmSeg
from stemseg.resume import (
    checkpoint_name,
    read_resume_file,
    remove_old,
    resume_network,
    resume_optimiser,
    resume_scheduler,
)
from stemseg.schedules import build_optimiser, build_scheduler
from stemseg.session import Interrupted, NonFiniteLossError, TrainOptions
from stemseg.training_log import Clock, TrainingLog, progress_line
from stemseg.training_step import MixedPrecision, clip_losses
from vidseg_common import distributed
from vidseg_common.checkpoint import save_atomic
from vidseg_common.errors import UserError
from vidseg_common.logging import git_description
from vidseg_common.seeding import capture_rng, restore_rng, seed_everything
from vidseg_common.stopping import Agreement, StopSignals
from vidseg_common.training_feed import data_changes

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Folder of the event files in that of the model.
LOGS = "logs"


class Trainer:
    """One training on this process's device.

    Args:
        cfg: the configuration.
        dataset: what to train on.
        dist: from `vidseg_common.distributed.setup`.
        folder: of the model: checkpoints, `config.yaml` and logs; None writes nothing.
        options: see there.

    Raises:
        UserError: configuration, data or weights are unusable.
    """

    def __init__(
        self,
        cfg: Config,
        dataset: ClipSet,
        dist: distributed.DistInfo,
        folder: Path | None,
        options: TrainOptions | None = None,
    ) -> None:
        self.cfg, self.dist, self.folder = cfg, dist, folder
        self.options = options or TrainOptions()
        training = cfg.TRAINING
        # All processes build the same network: they share the seed.
        seed_everything(self.options.seed, self.options.deterministic)
        self.device = torch.device(dist.device)
        self.amp_dtype = AMP_DTYPES[self._amp_mode()]
        self.plan = plan_batches(training, rank=dist.rank, world_size=dist.world_size)
        self.feed = TrainingFeed(
            dataset,
            self.plan,
            num_workers=self.options.num_workers,
            seed=self.options.seed,
            pin_memory=self.device.type == "cuda",
        )
        self.network = self._build_network()
        self.optimiser = build_optimiser(self.network.parameters(), training)
        self.scheduler = build_scheduler(self.optimiser, training)
        fp16 = self.amp_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        self.loss = STEmSegLoss(cfg)
        self.iteration, self.clock = 0, Clock(training.MAX_ITERATIONS)
        self.agreement = Agreement(dist)
        # False while weights, optimiser and counters do not belong together.
        self._consistent, self._saved_at = True, -1
        notes = self._resume()
        self.model = self._build_model()
        self.log = self._open_log(notes)

    def run(self) -> int:
        """Trains to the end and returns the number of iterations done.

        Raises:
            NonFiniteLossError: with the loss term, the iteration and the samples.
            Interrupted: by Ctrl-C, SIGTERM or SIGUSR1, after saving.
        """
        with closing(self.log), StopSignals() as signals:
            try:
                stopped_by = self._train(signals)
            except Exception as error:
                self._save_after(error)
                raise
            saved = self.save() if self.iteration else None
            if stopped_by:
                after = f"stopped by signal {stopped_by} after {self.iteration} iterations"
                how = f"continue with --restore_session {saved}" if saved else "nothing was saved"
                raise Interrupted(f"{after}; {how}")
        return self.iteration

    def save(self) -> Path | None:
        """Writes a checkpoint, under its final name or not at all, and removes old ones.

        Returns:
            The file, which only the first process writes; None where this run keeps none.
        """
        if self.folder is None:
            return None
        path = self.folder / checkpoint_name(self.iteration)
        if self.dist.is_main and self._saved_at != self.iteration:
            state = {
                "model": self.network.state_dict(),
                "optimizer": self.optimiser.state_dict(),
                "lr_scheduler": self.scheduler.state_dict(),
                "logger": self.clock.state_dict(),
                "iterations": self.iteration,
                "scaler": self.scaler.state_dict(),
                "rng": capture_rng(),
                "data": self.feed.state(),
            }
            save_atomic(state, path)
            remove_old(self.folder, self.options.ckpts_to_keep)
            self._saved_at = self.iteration
            self.log.line(f"saved {path}")
        return path

    def _train(self, signals: StopSignals) -> int:
        """Iterates to the end (0) or to the end of the iteration in which a signal came."""
        stop_at, options = self.cfg.TRAINING.MAX_ITERATIONS, self.options
        per_pass = self.plan.batch_size / self.plan.interval
        batches = self.log.feed.watch(self.feed.batches(self.iteration, stop_at), per_pass)
        while self.iteration < stop_at:
            losses = self._iterate(batches)
            self.clock.tick(self.iteration)
            self._report(losses)
            if self.iteration % options.save_interval == 0:
                self.save()
            stop = self.agreement.highest(signals.number)
            if stop:
                return stop
        return 0

    def _iterate(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the mean losses of its backward passes."""
        self.optimiser.zero_grad(set_to_none=True)
        interval = self.plan.interval
        sums: dict[str, Tensor] = {}
        for part in range(interval):
            batch = next(batches).to(self.device, non_blocking=True)
            with self._sync_gradients(part == interval - 1):
                losses = clip_losses(self.model, self.loss, batch, self.cfg)
                self._check_finite(losses, batch)
                self.scaler.scale(total_loss(losses) / interval).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / interval
        self._consistent = False
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.scheduler.step()
        self.iteration += 1
        self._consistent = True
        return sums

    def _report(self, losses: dict[str, Tensor]) -> None:
        options = self.options
        shown = self.iteration % options.display_interval == 0
        plotted = self.iteration % options.summary_interval == 0
        if not (shown or plotted):
            return
        means = distributed.all_reduce_mean({n: float(v) for n, v in losses.items()})
        rate = self.optimiser.param_groups[0]["lr"]
        if shown and self.dist.is_main:
            line = progress_line(means, rate, self.clock)
            self.log.line(f"{line} - data: {self.log.feed.take()}")
        if plotted:
            self.log.losses(means, rate, self.iteration)

    def _check_finite(self, losses: dict[str, Tensor], batch: Batch) -> None:
        """Stops all processes when the loss of one is not finite."""
        finite = bool(torch.isfinite(total_loss(losses)))
        if not self.agreement.highest(int(not finite)):
            return
        if finite:
            raise NonFiniteLossError(
                f"the loss of another process is not finite at iteration {self.iteration}; "
                "its message names the samples"
            )
        # Parts first: the sum of a bad part and good ones says less.
        parts = sorted(losses, key=lambda name: name == "embedding_loss")
        term = next(name for name in parts if not bool(torch.isfinite(losses[name])))
        raise NonFiniteLossError(
            f"{term} is {losses[term].item()} at iteration {self.iteration}; "
            f"the samples were {', '.join(batch.names)}"
        )

    def _build_network(self) -> STEmSeg:
        network, start = build_network(self.cfg), self.options.start
        if start.session is None and start.weights is not None:
            load_weights(network, start.weights)
        elif start.session is None and start.backbone is not None:
            load_backbone(start.backbone, network)
        return network.to(self.device)

    def _build_model(self) -> nn.Module:
        model: nn.Module = MixedPrecision(self.network.train(), self.amp_dtype)
        if self.dist.world_size > 1:
            ids = [self.device] if self.device.type == "cuda" else None
            # Frozen parameters ask for no gradient, so none that does is left unused. Buffers are
            # constants, which every process has read from the same file.
            # Of 1x1 convolutions torch takes two names of the same layout for two layouts.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            model = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
        return model

    def _open_log(self, notes: list[str]) -> TrainingLog:
        folder = self.folder / LOGS if self.folder is not None else None
        log = TrainingLog(folder, level=self.options.log_level, rank=self.dist.rank)
        log.text("git", git_description(), self.iteration)
        log.text("config", yaml.safe_dump(to_dict(self.cfg), sort_keys=False))
        if self.cfg.TRAINING.CLIP_GRADIENTS:
            notes.append("TRAINING.CLIP_GRADIENTS has no effect, here as in the original")
        if self.dist.is_main:
            for note in notes:
                log.line(note, "warn")
        return log

    def _resume(self) -> list[str]:
        """Restores the state of a training and returns what is not as it was."""
        path = self.options.start.session
        if path is None:
            return []
        state = read_resume_file(path)
        resume_network(self.network, state, path)
        resume_optimiser(self.optimiser, state, path)
        self.iteration = self._saved_at = int(state["iterations"])
        resume_scheduler(self.scheduler, self.iteration)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        # Files of the original implementation lack these, or write them another way.
        if "rng" in state:
            restore_rng(state["rng"])
        if set(self.clock.state_dict()) <= set(state.get("logger") or {}):
            self.clock.load_state_dict(state["logger"])
        notes = data_changes(state.get("data", {}), self.feed.state())
        total = self.cfg.TRAINING.MAX_ITERATIONS
        if self.iteration >= total:
            notes.append(f"all {total} iterations are done already")
        return [f"continues {path} at iteration {self.iteration}", *notes]

    def _save_after(self, error: Exception) -> None:
        """Saves what is worth it after an error, without hiding the error."""
        spoilt = isinstance(error, NonFiniteLossError) and not all(
            bool(torch.isfinite(p).all()) for p in self.network.parameters()
        )
        if spoilt or not self._consistent or not self.iteration:
            return  # the file of the last regular save is better than this state
        try:
            self.save()
        except (UserError, OSError) as failure:
            self.log.line(f"could not save after an error: {failure}", "error")

    def _amp_mode(self) -> str:
        training = self.cfg.TRAINING
        if not training.MIXED_PRECISION or training.MIXED_PRECISION_OPT_LEVEL == "O0":
            return "off"
        on_cpu = self.device.type == "cpu"
        if self.options.amp == "auto":
            return "bf16" if on_cpu else "fp16"
        if self.options.amp == "fp16" and on_cpu:
            raise UserError("mixed precision fp16 needs a GPU; on a CPU use bf16")
        return self.options.amp

    def _sync_gradients(self, now: bool) -> AbstractContextManager[Any]:
        """Lets processes average gradients in the last backward pass of a step only."""
        if now or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
