"""Trainings in two processes, as STEm-Seg, STMask and DeVIS test theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

# Runs a command line in one of several processes; the second is told to stop after a step, or
# fails there. Keeps the first gradients and the last weights of every process.
STOPPING = """
import importlib, os, pathlib, runpy, signal, sys, torch

Trainer = importlib.import_module(os.environ["RECORD_ENGINE"]).Trainer
folder, last = pathlib.Path(os.environ["RECORD_FOLDER"]), int(os.environ["RECORD_STEPS"])
run, iterate = Trainer.run, Trainer._iterate

def record(self):
    self.gradients = None
    try:
        return run(self)
    finally:
        content = {"it": self.iteration, "first": self.gradients, "w": self.network.state_dict()}
        torch.save(content, folder / f"rank{self.dist.rank}.pth")

def stop(self, *given):
    losses = iterate(self, *given)
    grads = {n: p.grad for n, p in self.network.named_parameters() if p.grad is not None}
    self.gradients = self.gradients or {n: grad.clone() for n, grad in grads.items()}
    if self.dist.rank == 1 and self.iteration == last:
        if "FAIL" in os.environ:
            (folder / "failed").touch()
            raise RuntimeError("fails on purpose")
        signal.raise_signal(signal.SIGTERM)
    return losses

Trainer.run, Trainer._iterate = record, stop
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def two_processes(
    trainer: type, last: int, tmp_path: Path, *command: str | Path, **more: str
) -> tuple[str, int]:
    """Runs STOPPING in two processes; what is printed, and the exit status.

    Args:
        trainer: class of the method's trainer.
        last: step after which the second process is told to stop.
        tmp_path: gets `rank0.pth` and `rank1.pth`.
        command: what is run, and its words.
        more: environment; FAIL for a process that fails instead.
    """
    script = tmp_path / "stopping.py"
    script.write_text(STOPPING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MASTER_")}
    own = {
        "RECORD_ENGINE": trainer.__module__,
        "RECORD_FOLDER": str(tmp_path),
        "RECORD_STEPS": str(last),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*launch, script, *command],
        env=clean | own | more,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.stdout + done.stderr, done.returncode


def keep_first_gradients(monkeypatch: pytest.MonkeyPatch, trainer: Any) -> dict[str, torch.Tensor]:
    """Those of the first step that is made in this process from here on, once it is made."""
    kept: dict[str, torch.Tensor] = {}
    iterate = trainer._iterate

    def keep(self: Any, *given: Any) -> Any:
        losses = iterate(self, *given)
        if not kept:
            named = self.network.named_parameters()
            kept.update({n: p.grad.clone() for n, p in named if p.grad is not None})
        return losses

    monkeypatch.setattr(trainer, "_iterate", keep)
    return kept


def assert_gradients_of_one_process(
    ranks: list[dict[str, Any]], trained: Mapping[str, torch.Tensor]
) -> None:
    """Both had the gradients of one process that takes the same shares one after the other."""
    assert_same(ranks[0]["first"], ranks[1]["first"])
    assert trained.keys() == ranks[0]["first"].keys()
    largest = max(float(grad.abs().max()) for grad in trained.values())
    for name, grad in trained.items():
        assert float((grad - ranks[0]["first"][name]).abs().max()) <= 1e-6 * largest, name


def assert_same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    """The same names, and the same numbers bit for bit."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
