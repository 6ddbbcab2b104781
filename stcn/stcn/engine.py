"""The training loop: build, resume, step, log, save (spec sections 6.1, 6.7 to 6.9)."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stcn.checkpoint import load_for_training
from stcn.config import TrainConfig
from stcn.feed import build_loader
from stcn.initialise import initialise
from stcn.losses import BootstrapSchedule, SequenceLoss
from stcn.model.network import STCN
from stcn.model.training import TrainingModel
from stcn.resume import overruled_settings, read_resume_file, resume_network, resume_optimiser
from stcn.stopping import Interrupted
from stcn.training_log import Averages, progress_lines, sample_grid
from vidseg_common import distributed
from vidseg_common.checkpoint import save_atomic
from vidseg_common.config import to_dict
from vidseg_common.errors import UserError
from vidseg_common.feed_meter import FeedMeter
from vidseg_common.logging import RunLogger, git_description
from vidseg_common.seeding import capture_rng, restore_rng, seed_everything
from vidseg_common.stopping import Agreement, StopSignals

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
#: How console lines begin when the experiment has no name.
NO_NAME = "DEBUG"


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; the message says where."""


@dataclass
class RunFolder:
    """Where a run writes.

    Attributes:
        name: of the run, of its folders and of its weights files.
        saves: parent of the folder of weights; None saves nothing.
        logs: parent of the folder of curves; None writes none.
        experiment: what console lines begin with; the name where it is empty.
    """

    name: str
    saves: Path | None
    logs: Path | None
    experiment: str = ""

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

    Raises:
        UserError: configuration, data or weights are unusable.
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
        config.check()
        self.config, self.dist, self.folder, self.debug = config, dist, folder, debug
        seed_everything(config.seed, config.deterministic)
        self.device = torch.device(dist.device)
        self.amp_dtype = AMP_DTYPES[self._amp_mode()]
        self.loader = build_loader(
            config,
            rank=dist.rank,
            world_size=dist.world_size,
            pin_memory=self.device.type == "cuda",
        )
        self.network = self._build_network(load_network, fresh=load_model is None)
        self.model = self._build_model()
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
        self.iteration, self.averages, self.feed = 0, Averages(), FeedMeter()
        self.agreement = Agreement(dist)
        # False while weights, optimiser and counters do not belong together.
        self._consistent, self._saved_at = True, -1
        notes = [] if load_model is None else self._resume(load_model)
        self.logger = self._open_log(notes)

    def run(self) -> int:
        """Trains to the end and returns the number of iterations done.

        Raises:
            NonFiniteLossError: with the loss term, the iteration and the samples.
            Interrupted: by Ctrl-C, SIGTERM or SIGUSR1, after saving.
        """
        with closing(self.logger), StopSignals() as signals:
            try:
                stopped_by = self._train(signals)
            except Exception as error:
                self._save_after(error)
                raise
            if stopped_by:
                saved = self.iteration > 0 and not self.debug and self.save()
                file = self.folder.checkpoint() if saved else None
                raise Interrupted(stopped_by, self.iteration, file)
            self._final_save()
        return self.iteration

    def save(self) -> bool:
        """Writes the weights and the resume file, each under its final name or not at all.

        Returns:
            Whether this run keeps files at all; only the first process writes them.
        """
        if self.folder.saves is None:
            return False
        if self.dist.is_main and self._saved_at != self.iteration:
            weights = self.network.state_dict()
            save_atomic(weights, self.folder.weights(self.iteration))
            state = {
                "it": self.iteration,
                "network": weights,
                "optimizer": self.optimiser.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "rng": capture_rng(),
                "data": self.loader.state(self.iteration),
                "averages": self.averages.state_dict(),
            }
            save_atomic(state, self.folder.checkpoint())
            self.logger.line(f"saved {self.folder.checkpoint()} at iteration {self.iteration}")
            self._saved_at = self.iteration
        return True

    def _train(self, signals: StopSignals) -> int:
        """Iterates to the end (0) or to the end of the iteration in which a signal came."""
        config, started = self.config, time.perf_counter()
        batches = self.loader.batches(self.iteration, config.iterations)
        for batch in self.feed.watch(batches, config.batch_size * self.dist.world_size):
            out = self._iterate(batch)
            if self._is_due(config.report_every):
                self._report(time.perf_counter() - started)
                started = time.perf_counter()
            if self._is_due(config.image_every) and self.dist.is_main:
                self.logger.image("train/pairs", sample_grid(batch, out), self.iteration)
            if self.iteration % config.save_every == 0:
                self.save()
            stop = self.agreement.highest(signals.number)
            if stop:
                return stop
        return 0

    def _iterate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step of the optimiser; returns what the network gave."""
        two = self.config.network.others_channel
        names = ["rgb", "cls_gt", "gt"] + (["selector", "sec_gt"] if two else [])
        on_device = {name: batch[name].to(self.device, non_blocking=True) for name in names}
        selector = on_device.get("selector")
        masks = [on_device[name][:, 0] for name in ("gt", "sec_gt") if name in on_device]
        with self._autocast():
            out = self.model(on_device["rgb"], torch.cat(masks, 1), selector)
        logits = [out["logits_1"].float(), out["logits_2"].float()]
        losses = self.loss(logits, on_device["cls_gt"], selector, self.iteration)
        self._check_finite(losses, batch)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses["total_loss"]).backward()
        self._consistent = False
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.scheduler.step()
        self.averages.add(losses, out, batch)
        self.iteration += 1
        self._consistent = True
        return out

    def _is_due(self, every: int) -> bool:
        return self.debug or self.iteration % every == 0

    def _report(self, seconds: float) -> None:
        values = {
            "lr": self.optimiser.param_groups[0]["lr"],
            "time": seconds / max(1, self.averages.count),
            **distributed.all_reduce_mean(self.averages.report()),
        }
        speed = self.feed.take()
        values |= {"samples_per_s": speed.samples, "waiting": speed.waiting}
        self.logger.scalars({f"train/{k}": v for k, v in values.items()}, self.iteration)
        for line in progress_lines(self.iteration, values):
            self.logger.line(line)

    def _check_finite(self, losses: dict[str, Tensor], batch: dict[str, Any]) -> None:
        """Stops all processes when the loss of one is not finite."""
        finite = bool(torch.isfinite(losses["total_loss"]))
        if not self.agreement.highest(int(not finite)):
            return
        if finite:
            raise NonFiniteLossError(
                f"the loss of another process is not finite at iteration {self.iteration}; "
                "its message names the samples"
            )
        term = next(name for name, v in losses.items() if not bool(torch.isfinite(v)))
        info = batch["info"]
        frames = zip(*info["frames"], strict=True)  # one tuple of three names per sample
        names = [f"{n} ({', '.join(f)})" for n, f in zip(info["name"], frames, strict=True)]
        raise NonFiniteLossError(
            f"{term} is {losses[term].item()} at iteration {self.iteration}; "
            f"the samples were {'; '.join(names)}"
        )

    def _build_network(self, load_network: Path | None, *, fresh: bool) -> STCN:
        network = STCN(self.config.network)
        # The other processes get the weights of the first one: one reads or fetches the files.
        if self.dist.is_main and load_network is not None:
            load_for_training(network, load_network)
        elif self.dist.is_main and fresh:
            initialise(network, pretrained=self.config.pretrained)
        network.to(self.device)
        if self.config.channels_last:
            network.to(memory_format=torch.channels_last)
        return network

    def _build_model(self) -> nn.Module:
        model: nn.Module = TrainingModel(self.network)
        with_statistics = self.config.train_batch_norm
        if self.dist.world_size > 1:
            ids = [self.device] if self.device.type == "cuda" else None
            model = DistributedDataParallel(
                model, device_ids=ids, broadcast_buffers=with_statistics
            )
        return model.train(with_statistics)

    def _open_log(self, notes: list[str]) -> RunLogger:
        writes = self.dist.is_main and self.folder.logs is not None
        logger = RunLogger(
            self.folder.logs / self.folder.name if writes and self.folder.logs else None,
            self.folder.experiment or self.folder.name or NO_NAME,
            rank=self.dist.rank,
        )
        logger.text("git", git_description(), self.iteration)
        logger.text("hyperpara", yaml.safe_dump(to_dict(self.config), sort_keys=False))
        for note in notes:
            logger.line(note)
        return logger

    def _resume(self, path: Path) -> list[str]:
        """Restores the state of a training and returns what is not as it was."""
        state = read_resume_file(path)
        resume_network(self.network, state, path)
        resume_optimiser(self.optimiser, state, path)
        self.scheduler.load_state_dict(state["scheduler"])
        self.iteration = int(state["it"])
        # Files of the original implementation end here.
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if "rng" in state:
            restore_rng(state["rng"])
        if "averages" in state:
            self.averages.load_state_dict(state["averages"])
        changes = self.loader.changes(state["data"]) if "data" in state else []
        notes = [f"other samples than before: {change}" for change in changes]
        notes += overruled_settings(self.config, self.scheduler)
        if self.iteration >= self.config.iterations:
            notes.append(f"all {self.config.iterations} iterations are done already")
        return [f"continues {path} at iteration {self.iteration}", *notes]

    def _final_save(self) -> None:
        if not self.debug and self.iteration > self.config.min_final_iterations:
            self.save()

    def _save_after(self, error: Exception) -> None:
        """Saves what is worth it after an error, without hiding the error."""
        spoilt = isinstance(error, NonFiniteLossError) and not all(
            bool(torch.isfinite(p).all()) for p in self.network.parameters()
        )
        if spoilt or not self._consistent:
            return  # the file of the last regular save is better than this state
        try:
            self._final_save()
        except (UserError, OSError) as failure:
            self.logger.line(f"could not save after an error: {failure}")

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
