"""The training loop: build, resume, step, log, save (spec sections 6.1, 6.7 to 6.9)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stcn.checkpoint import load_for_training
from stcn.config import TrainConfig
from stcn.feed import build_loader
from stcn.initialise import initialise
from stcn.losses import BootstrapSchedule, SequenceLoss
from stcn.model.network import STCN
from stcn.model.training import TrainingModel
from stcn.training_log import Averages, progress_lines, sample_grid
from vidseg_common import distributed
from vidseg_common.checkpoint import load_checkpoint, save_atomic
from vidseg_common.errors import CheckpointError, UserError
from vidseg_common.logging import RunLogger, git_description
from vidseg_common.seeding import capture_rng, restore_rng, seed_everything

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; the message says where."""


class Interrupted(Exception):  # noqa: N818 - not an error: the state was saved
    """Ctrl-C or SIGTERM asked the training to stop."""


@dataclass
class RunFolder:
    """Where a run writes: weights under `saves`, curves under `logs`; None writes nothing."""

    name: str
    saves: Path | None
    logs: Path | None

    def weights(self, iteration: int) -> Path:
        """File of the bare network."""
        assert self.saves is not None
        return self.saves / self.name / f"{self.name}_{iteration}.pth"

    def checkpoint(self) -> Path:
        """File to resume from, overwritten at every save."""
        assert self.saves is not None
        return self.saves / self.name / f"{self.name}_checkpoint.pth"


class Trainer:
    """One stage on this process's device.

    Args:
        config: the stage.
        dist: from `vidseg_common.distributed.setup`.
        folder: where to write.
        load_network: weights to start from (fresh optimiser).
        load_model: a `_checkpoint.pth` to continue.
        debug: report and draw every iteration, never save at the end.
    """

    def __init__(
        self,
        config: TrainConfig,
        dist: distributed.DistInfo,
        folder: RunFolder,
        *,
        load_network: Path | None = None,
        load_model: Path | None = None,
        debug: bool = False,
    ) -> None:
        self.config, self.dist, self.folder, self.debug = config, dist, folder, debug
        seed_everything(config.seed, config.deterministic)
        self.device = torch.device(dist.device)
        self.amp_dtype = AMP_DTYPES[self._amp_mode()]
        network = STCN(config.network)
        if load_network is not None:
            load_for_training(network, load_network)
        elif load_model is None:
            initialise(network, pretrained=config.pretrained)
        self.network = network.to(self.device)
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.model: nn.Module = TrainingModel(self.network)
        if dist.world_size > 1:
            ids = [self.device] if self.device.type == "cuda" else None
            self.model = DistributedDataParallel(
                self.model, device_ids=ids, broadcast_buffers=config.train_batch_norm
            )
        self.model.train(config.train_batch_norm)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, list(config.steps), gamma=config.gamma
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype == torch.float16
        )
        self.loss = SequenceLoss(BootstrapSchedule(config.bootstrap_start, config.bootstrap_end))
        self.loader = build_loader(
            config,
            rank=dist.rank,
            world_size=dist.world_size,
            pin_memory=self.device.type == "cuda",
        )
        writes = dist.rank == 0 and folder.logs is not None
        self.logger = RunLogger(
            folder.logs / folder.name if writes and folder.logs else None, folder.name
        )
        self.iteration = 0
        if load_model is not None:
            self._resume(load_model)
        self._stop: str | None = None

    def run(self) -> int:
        """Trains to the end and returns the number of iterations done.

        Raises:
            NonFiniteLossError: with the loss term, the iteration and the samples.
            Interrupted: by Ctrl-C or SIGTERM, after saving.
        """
        config = self.config
        self.logger.text("git", git_description())
        self.logger.text("hyperpara", str(config))
        averages, started = Averages(), time.perf_counter()
        with self._stopping_on_signals():
            try:
                for batch in self.loader.batches(self.iteration, config.iterations):
                    self._iterate(batch, averages)
                    if self._due(config.report_every):
                        self._report(averages, time.perf_counter() - started)
                        started = time.perf_counter()
                    if self._due(config.save_every):
                        self.save()
                    if self._stop:
                        raise Interrupted(self._stop)
            except BaseException as error:
                self._final_save(interrupted=isinstance(error, Interrupted))
                raise
        self._final_save(interrupted=False)
        self.logger.close()
        return self.iteration

    def save(self) -> None:
        """Writes the weights and the resume file, each under its final name or not at all."""
        if self.dist.rank != 0 or self.folder.saves is None:
            return
        save_atomic(self.network.state_dict(), self.folder.weights(self.iteration))
        state = {
            "it": self.iteration,
            "network": self.network.state_dict(),
            "optimizer": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": capture_rng(),
            "data": self.loader.state(self.iteration),
        }
        save_atomic(state, self.folder.checkpoint())
        self.logger.line(f"saved {self.folder.checkpoint()} at iteration {self.iteration}")

    def _iterate(self, batch: dict[str, Any], averages: Averages) -> None:
        rgb, gt, cls_gt = (batch[k].to(self.device) for k in ("rgb", "gt", "cls_gt"))
        two = self.config.network.others_channel
        selector = batch["selector"].to(self.device) if two else None
        masks = [gt] + ([batch["sec_gt"].to(self.device)] if two else [])
        with self._autocast():
            out = self.model(rgb, torch.cat([m[:, 0] for m in masks], 1), selector)
        logits = [out["logits_1"].float(), out["logits_2"].float()]
        losses = self.loss(logits, cls_gt, selector, self.iteration)
        self._check_finite(losses, batch)
        averages.add(losses, out, batch)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses["total_loss"]).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.scheduler.step()
        self.iteration += 1
        if self._due(self.config.image_every):
            self.logger.image("train/pairs", sample_grid(batch, out), self.iteration)

    def _due(self, every: int) -> bool:
        return self.debug or self.iteration % every == 0

    def _report(self, averages: Averages, seconds: float) -> None:
        values = {
            "lr": self.optimiser.param_groups[0]["lr"],
            "time": seconds / max(1, averages.count),
            **distributed.all_reduce_mean(averages.report()),
        }
        self.logger.scalars({f"train/{k}": v for k, v in values.items()}, self.iteration)
        for line in progress_lines(self.folder.name, self.iteration, values):
            self.logger.line(line)

    def _check_finite(self, losses: dict[str, Tensor], batch: dict[str, Any]) -> None:
        if bool(torch.isfinite(losses["total_loss"])):
            return
        term = next(name for name, v in losses.items() if not bool(torch.isfinite(v)))
        info = batch["info"]
        frames = zip(*info["frames"], strict=True)  # one tuple of three names per sample
        names = [f"{n} {f}" for n, f in zip(info["name"], frames, strict=True)]
        raise NonFiniteLossError(
            f"{term} is {losses[term].item()} at iteration {self.iteration}; "
            f"the samples were {'; '.join(names)}"
        )

    def _resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        missing = {"it", "network", "optimizer", "scheduler"} - set(state)
        if missing:
            raise CheckpointError(
                f"{path}: not a resume file: it lacks {sorted(missing)}; "
                "to start from weights alone use --load_network"
            )
        load_for_training(self.network, path)
        self.optimiser.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        # Files of the original implementation carry neither of these two.
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
        if "rng" in state:
            restore_rng(state["rng"])
        self.iteration = int(state["it"])
        for change in self.loader.changes(state["data"]) if "data" in state else []:
            self.logger.line(f"{path}: continues with other samples than before: {change}")

    def _final_save(self, *, interrupted: bool) -> None:
        long_enough = self.iteration > self.config.min_final_iterations
        if not self.debug and (long_enough or interrupted) and self.iteration > 0:
            self.save()

    def _amp_mode(self) -> str:
        if self.config.amp == "auto":
            return "fp16" if self.device.type == "cuda" else "off"
        if self.config.amp == "fp16" and self.device.type == "cpu":
            raise UserError("amp 'fp16' needs a GPU; on a CPU use 'bf16' or 'off'")
        return self.config.amp

    def _autocast(self) -> AbstractContextManager:
        if self.amp_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp_dtype)

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Lets the current iteration finish, then stops; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, _frame: FrameType | None) -> None:
            if self._stop is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop = signal.Signals(number).name

        previous = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
