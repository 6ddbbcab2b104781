"""The training loop: build, resume, step, log, save, evaluate (spec 5.3, 5.4)."""

from __future__ import annotations

import math
import time
from contextlib import closing
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vatrack.checkpoint import make_meta
from vatrack.feed import Shares, make_feed
from vatrack.losses.batch import TrainingBatch
from vatrack.losses.training import total_loss
from vatrack.model import VATrackNet, build
from vatrack.saved import remove_old, resume, save
from vatrack.session import (
    PATIENCE,
    Interrupted,
    NonFiniteLossError,
    PairData,
    Plan,
    RunOptions,
    Validation,
)
from vatrack.start import TORCHVISION, load_start
from vatrack.training_log import Progress, TrainingLog
from vatrack.training_step import TrainingStep, step_generator
from vidseg_common import distributed
from vidseg_common.errors import UserError
from vidseg_common.seeding import capture_rng, restore_rng, seed_everything
from vidseg_common.stopping import Agreement, StopSignals
from vidseg_common.training_feed import data_changes

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """One training on this process's device.

    Args:
        plan: network, losses, schedule.
        dataset: what to train on.
        dist: from `vidseg_common.distributed.setup`.
        folder: of checkpoints and logs; None writes nothing.
        options: of this run.
        validation: scores the checkpoints of the first process; None: nothing does.

    Raises:
        UserError: configuration, data or weights are unusable.
    """

    def __init__(
        self,
        plan: Plan,
        dataset: PairData,
        dist: distributed.DistInfo,
        folder: Path | None,
        options: RunOptions | None = None,
        validation: Validation | None = None,
    ) -> None:
        self.plan, self.dist, self.folder = plan, dist, folder
        self.options, self.validation = options or RunOptions(), validation
        settings = plan.training
        self.seed = settings.seed or 0
        # All processes build the same network: they share the seed.
        seed_everything(self.seed, self.options.deterministic)
        self.device = torch.device(dist.device)
        shares = Shares(settings.samples_per_gpu, dist.rank, dist.world_size)
        self.feed, self.epoch_length = make_feed(
            dataset,  # type: ignore[arg-type]  # a data set by what it can do
            dataset.groups,
            shares,
            num_workers=settings.workers_per_gpu,
            seed=self.seed,
            pin_memory=self.device.type == "cuda",
        )
        self.log = TrainingLog(folder, rank=dist.rank)
        self.network = self._build_network().to(self.device)
        self.step = TrainingStep(self.network, plan.losses, self._amp_dtype())
        self.optimiser = torch.optim.SGD(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=settings.schedule.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        fp16 = self.step.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        self.agreement = Agreement(dist)
        self.iteration, self._saved_at, self._skipped = 0, -1, 0
        # False while weights, optimiser and counters do not belong together.
        self._consistent = True
        self._resume()
        self.model = self._build_model()

    @property
    def last_iteration(self) -> int:
        """Iterations of the whole training."""
        return self.plan.training.epochs * self.epoch_length

    def run(self) -> int:
        """Trains to the end and returns the number of iterations done.

        Raises:
            NonFiniteLossError: no step could be made for long; with loss, iteration and frames.
            Interrupted: by Ctrl-C, SIGTERM or SIGUSR1, after saving.
        """
        limit = self.options.max_iters
        stop_at = self.last_iteration if limit is None else min(limit, self.last_iteration)
        with closing(self.log), StopSignals() as signals:
            self.log.session({"seed": self.seed, **self.options.facts})
            try:
                stopped_by = self._train(stop_at, signals)
            except Exception as error:
                self._save_after(error)
                raise
            if stopped_by:
                raise self._interrupt(stopped_by)
            if self.iteration > self._saved_at:
                self._save(self._name())
        return self.iteration

    def _train(self, stop_at: int, signals: StopSignals) -> int:
        """Iterates to the end (0) or to the end of the iteration in which a signal came."""
        settings = self.plan.training
        batches = self.log.feed.watch(
            self.feed.batches(self.iteration, stop_at), self.feed.plan.batch_size
        )
        while self.iteration < stop_at:
            started = time.perf_counter()
            batch = next(batches)
            data_time = time.perf_counter() - started
            rate = settings.schedule.at(self.iteration, self.epoch_length)
            values = self._iterate(batch, rate)
            self.log.add(values, elapsed=time.perf_counter() - started, data_time=data_time)
            in_epoch = (self.iteration - 1) % self.epoch_length + 1
            if in_epoch % settings.log_interval == 0 or in_epoch == self.epoch_length:
                self.log.progress(self._place(rate), self._memory())
            if in_epoch == self.epoch_length:
                self._end_epoch(rate)
            stop = self.agreement.highest(signals.number)
            if stop and self.iteration < stop_at:
                return stop
        return 0

    def _iterate(self, batch: TrainingBatch, rate: float) -> dict[str, float]:
        """One step of the optimiser; returns losses and accuracies, means over all processes."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        generator = step_generator(self.seed, self.iteration, self.dist.rank)
        losses = self.model(batch.to(self.device, non_blocking=True), generator)
        self.scaler.scale(total_loss(losses)).backward()
        values = torch.stack([value.detach().sum().float() for value in losses.values()]).tolist()
        means = distributed.all_reduce_mean(dict(zip(losses, values, strict=True)))
        self._consistent = False
        if self._is_finite(means, batch) and self._gradients_are_usable(batch):
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self._skipped = 0
        self.iteration += 1
        self._consistent = True
        return means

    def _gradients_are_usable(self, batch: TrainingBatch) -> bool:
        """Clips gradients, where that is asked for; all processes have the same ones.

        One that is not finite would spoil all weights for good. Half precision meets some by
        design, and its scaler leaves out those steps.
        """
        largest = self.plan.training.grad_clip
        if largest is not None:
            self.scaler.unscale_(self.optimiser)
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(grads)
        if self.scaler.is_enabled() or bool(norm.isfinite()):
            if largest is not None:
                nn.utils.clip_grads_with_norm_(self.network.parameters(), largest, norm)
            return True
        return self._skip(f"the gradient is {norm.item()}", batch)

    def _is_finite(self, losses: dict[str, float], batch: TrainingBatch) -> bool:
        """Whether there is something to learn from; all processes answer alike."""
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        return not bad or self._skip(f"{bad[0]} is {losses[bad[0]]}", batch)

    def _skip(self, reason: str, batch: TrainingBatch) -> bool:
        """Tells why no step is made; always False.

        Raises:
            NonFiniteLossError: none was made for too long.
        """
        self._skipped += 1
        where = f"{reason} at iteration {self.iteration} ({', '.join(batch.names)})"
        if self._skipped >= PATIENCE:
            raise NonFiniteLossError(f"{where}, as it was in {self._skipped} iterations in a row")
        self.log.line(f"warning: {where}: no step is made")
        return False

    def _end_epoch(self, rate: float) -> None:
        """Saves and evaluates, where the settings say so."""
        settings, epoch = self.plan.training, self.iteration // self.epoch_length
        is_last = self.iteration >= self.last_iteration
        path = None
        if epoch % settings.checkpoint_interval == 0 or is_last:
            path = self._save(self._name())
        if epoch % settings.evaluation_interval == 0 or is_last:
            self._validate(path, rate)

    def _save(self, name: str) -> Path | None:
        """Writes a checkpoint; only the first process does, the others wait."""
        path = None
        if self.folder is not None and self.dist.is_main:
            path = self._write(self.folder, name)
            remove_old(self.folder, path, self.plan.training.max_keep_ckpts)
            self.log.line(f"saved {path}")
        self._saved_at = self.iteration
        # The others wait, or their next step would run into its time limit.
        self.agreement.highest(0)
        return path

    def _write(self, folder: Path, name: str) -> Path:
        meta = make_meta(
            epoch=self.iteration // self.epoch_length,
            iteration=self.iteration,
            config=self.plan.config,
            classes=self.plan.classes,
            seed=self.seed,
        )
        state = {
            "epoch_length": self.epoch_length,
            "rng": capture_rng(),
            "scaler": self.scaler.state_dict(),
            "data": self.feed.state(),
        }
        return save(folder, name, self.network, meta, self.optimiser, state)

    def _name(self) -> str:
        epoch, rest = divmod(self.iteration, self.epoch_length)
        return f"iter_{self.iteration}.pth" if rest or not epoch else f"epoch_{epoch}.pth"

    def _validate(self, path: Path | None, rate: float) -> None:
        if self.validation is not None and self.dist.is_main:
            folder = self.folder or Path()
            try:
                numbers = self.validation(self.network, path or folder / self._name())
            except UserError as error:
                # A frame that is missing here must not end a training of days.
                self.log.line(f"warning: nothing is evaluated from here on: {error}")
                self.validation = None
            else:
                self.log.validation(numbers, self._place(rate))
            finally:
                self.step.train()
        self.agreement.highest(0)

    def _place(self, rate: float) -> Progress:
        epoch, position = divmod(self.iteration - 1, self.epoch_length)
        left = self.last_iteration - self.iteration
        return Progress(epoch + 1, position + 1, self.epoch_length, left, rate)

    def _memory(self) -> int | None:
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) >> 20

    def _build_network(self) -> VATrackNet:
        network, settings = build(self.plan.model), self.plan.training
        if settings.resume_from is not None:
            return network
        begun, source = settings.load_from, settings.load_from or settings.pretrained
        if source is None:
            self.log.line("starts from random weights")
            return network
        # The original looks for torchvision's names in the whole network, where none fits.
        into_backbone = begun is None or begun.startswith(TORCHVISION)
        report = load_start(network, source, into_backbone=into_backbone)
        self.log.line(report.text())
        return network

    def _amp_dtype(self) -> torch.dtype | None:
        on_cpu, amp = self.device.type == "cpu", self.options.amp
        if amp is None:
            amp = "off" if not self.plan.training.is_mixed else "bf16" if on_cpu else "fp16"
        if amp == "fp16" and on_cpu:
            raise UserError("--amp fp16 needs a GPU; on a CPU use bf16")
        return AMP_DTYPES[amp]

    def _build_model(self) -> nn.Module:
        if self.dist.world_size == 1:
            return self.step
        ids = [self.device] if self.device.type == "cuda" else None
        # Running statistics never change, and every weight has a gradient in every step.
        return DistributedDataParallel(self.step, device_ids=ids, broadcast_buffers=False)

    def _resume(self) -> None:
        """Restores the state of a training, and says what is not as it was."""
        source = self.plan.training.resume_from
        if source is None:
            return
        found = resume(Path(source), self.network, self.optimiser)
        self.iteration, before = found.iteration, found.epoch_length
        if before and before != self.epoch_length:
            # The schedule counts epochs: of one that has begun the same part is left.
            self.iteration = found.iteration * self.epoch_length // before
            self.log.line(
                f"warning: an epoch had {before} iterations and has {self.epoch_length} now; "
                f"iteration {found.iteration} becomes {self.iteration}"
            )
        self._saved_at = self.iteration
        if found.rng is None:
            self.log.line(f"warning: {source}: no state of random generators; they start anew")
        else:
            restore_rng(found.rng)
        if found.scaler:
            self.scaler.load_state_dict(found.scaler)
        for note in data_changes(found.data or {}, self.feed.state()):
            self.log.line(f"warning: {note}")
        self.log.line(f"continues {source} at iteration {self.iteration}")
        if self.iteration >= self.last_iteration:
            self.log.line(f"all {self.last_iteration} iterations are done already")

    def _interrupt(self, signal: int) -> Interrupted:
        """Saves what a stopped training needs to go on, and tells how."""
        after = f"stopped by signal {signal} after {self.iteration} iterations"
        if self.iteration > self._saved_at:
            self._save(self._name())
        how = "nothing was saved" if self.folder is None else "continue with --resume-from"
        where = "" if self.folder is None else f" {self.folder / 'latest.pth'}"
        return Interrupted(f"{after}; {how}{where}")

    def _save_after(self, error: Exception) -> None:
        """Saves what is worth it after an error, without hiding the error."""
        spoilt = isinstance(error, NonFiniteLossError)
        worth = self._consistent and self.iteration > max(self._saved_at, 0)
        if spoilt or not worth or not self.dist.is_main or self.folder is None:
            return
        try:
            self.log.line(f"saved {self._write(self.folder, self._name())}")
        except (UserError, OSError) as failure:
            self.log.line(f"could not save after an error: {failure}")
