"""Start-up of one or many processes: torchrun, SLURM, or no launcher at all.

What a launcher says is read from the environment, the device is an argument, and everything works
in a single process without a process group. When one rank raises, it must leave with an error:
`torchrun` and `srun --kill-on-bad-exit` then end the others, and a rank that waits in a
collective call fails after the time-out of `setup` at the latest.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from vidseg_common.errors import UserError

DEFAULT_PORT = 29500
TIMEOUT_MINUTES = 30


@dataclass(frozen=True)
class DistInfo:
    """Place of this process among all processes of a run.

    Attributes:
        rank: index among all processes.
        local_rank: index among the processes of this machine.
        world_size: number of processes.
        device: device this process computes on.
        backend: "gloo", "nccl", or "" without a process group.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    backend: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0


@dataclass(frozen=True)
class Launch:
    """What a launcher's environment variables say, before any device is touched."""

    rank: int
    local_rank: int
    world_size: int
    address: str
    port: int


def setup(device: str | None = None, *, timeout_minutes: float = TIMEOUT_MINUTES) -> DistInfo:
    """Joins the process group of the launcher, if there is one, and selects the device.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the default: CUDA where there is one,
            then MPS, else CPU). With several processes "cuda" is the device of the local rank.
        timeout_minutes: how long a collective call waits for the other ranks before it fails.

    Returns:
        The place of this process; gloo is used on CPU, nccl on CUDA.

    Raises:
        UserError: the device does not exist here, or a launcher's variables are incomplete.
    """
    launch = read_launch(os.environ)
    local_rank = launch.local_rank if launch else 0
    chosen = select_device(device, local_rank)
    if launch is None:
        return DistInfo(device=chosen)
    if launch.world_size > 1 and chosen.type == "cuda" and device not in (None, "auto", "cuda"):
        raise UserError(
            f"{launch.world_size} processes cannot share the device {device}; give 'cuda' so that "
            "each takes its own"
        )
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    # Variables of SLURM alone are not what torch reads; sub-processes inherit the same values.
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = launch.address, str(launch.port)
    dist.init_process_group(
        backend,
        rank=launch.rank,
        world_size=launch.world_size,
        timeout=datetime.timedelta(minutes=timeout_minutes),
    )
    return DistInfo(launch.rank, launch.local_rank, launch.world_size, chosen, backend)


def cleanup() -> None:
    """Leaves the process group; does nothing without one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def is_main() -> bool:
    """Whether this process has rank 0, also true without a process group."""
    return rank() == 0


def rank() -> int:
    """Index of this process among all, 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def barrier() -> None:
    """Waits for all processes; returns at once without a process group."""
    if world_size() > 1:
        dist.barrier()


def all_reduce_mean(values: Mapping[str, float]) -> dict[str, float]:
    """Averages named numbers over all processes, in one call.

    Every rank must call it with the same names; their order does not matter.

    Args:
        values: name -> number of this process.

    Returns:
        name -> mean over the processes, in the order given.

    Raises:
        ValueError: the ranks hold different names.
    """
    if world_size() == 1 or not values:
        return {name: float(value) for name, value in values.items()}
    names = sorted(values)
    # Compared first: different names would hang or silently mix up different quantities.
    device = _collective_device()
    checksum = zlib.crc32("\n".join(names).encode())
    extremes = torch.tensor([checksum, -checksum], device=device)
    dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    if int(extremes[0]) != -int(extremes[1]):
        raise ValueError(f"ranks average different names; rank {rank()} has {', '.join(names)}")
    total = torch.tensor([float(values[name]) for name in names], dtype=torch.float64).to(device)
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    means = dict(zip(names, (total / world_size()).tolist(), strict=True))
    return {name: means[name] for name in values}


def select_device(device: str | torch.device | None = None, local_rank: int = 0) -> torch.device:
    """Turns a device argument into a device that exists here.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps", "auto" or None for "auto".
        local_rank: index that a plain "cuda" gets.

    Raises:
        UserError: unknown name, or no such device on this machine; says what there is.
    """
    name = str(device or "auto")
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}; use cpu, cuda, cuda:N, mps or auto") from None
    if chosen.type == "cuda":
        return _select_cuda(chosen, local_rank)
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps is not available on this machine; use cpu or auto")
    if chosen.type not in ("cpu", "mps"):
        raise UserError(f"device {name!r} is not supported; use cpu, cuda, cuda:N, mps or auto")
    return chosen


def read_launch(environment: Mapping[str, str]) -> Launch | None:
    """Reads the variables of torchrun, else those of a SLURM step; None for a single process.

    An interactive SLURM shell (SLURM_PTY_PORT) and a SLURM job of one task count as no launcher.

    Args:
        environment: the environment variables.

    Raises:
        UserError: some variables are missing or no numbers.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Launch(
            rank=_integer(environment, "RANK"),
            local_rank=_integer(environment, "LOCAL_RANK", default=0),
            world_size=_integer(environment, "WORLD_SIZE"),
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=_integer(environment, "MASTER_PORT", default=DEFAULT_PORT),
        )
    if "SLURM_PROCID" not in environment or "SLURM_PTY_PORT" in environment:
        return None
    world = _integer(environment, "SLURM_NTASKS", default=1)
    if world == 1:
        return None
    return Launch(
        rank=_integer(environment, "SLURM_PROCID"),
        local_rank=_integer(environment, "SLURM_LOCALID"),
        world_size=world,
        address=environment.get("MASTER_ADDR") or _slurm_address(environment),
        port=_integer(environment, "MASTER_PORT", default=_slurm_port(environment)),
    )


def first_host(nodelist: str) -> str:
    """First host of a SLURM node list: "gpu[03-05,9],login1" -> "gpu03".

    Raises:
        UserError: the list is empty or its brackets do not match.
    """
    match = re.match(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)", nodelist.strip())
    if not match or nodelist.count("[") != nodelist.count("]"):
        raise UserError(
            f"cannot read the node list {nodelist!r}; set MASTER_ADDR to the first host"
        )
    prefix, numbers, suffix = match.groups()
    number = re.split(r"[,-]", numbers)[0] if numbers else ""
    return f"{prefix}{number}{suffix}"


def _slurm_address(environment: Mapping[str, str]) -> str:
    nodelist = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    nodelist = nodelist or environment.get("SLURM_NODELIST")
    if not nodelist:
        raise UserError("SLURM gives no node list; set MASTER_ADDR to the host of rank 0")
    scontrol = shutil.which("scontrol")
    if scontrol:
        done = subprocess.run(
            [scontrol, "show", "hostnames", nodelist], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and done.stdout.split():
            return done.stdout.split()[0]
    return first_host(nodelist)


def _slurm_port(environment: Mapping[str, str]) -> int:
    """A port that all tasks of one job agree on and two jobs on one host rarely share."""
    digits = re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or "0"
    return DEFAULT_PORT + int(digits) % 10000


def _integer(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise UserError(
            f"the environment variable {name} must be a whole number, got {text!r}; start with "
            "torchrun or srun, or unset the launcher's variables"
        ) from None


def _select_cuda(chosen: torch.device, local_rank: int) -> torch.device:
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_devices == 0:
        raise UserError(
            f"device {chosen} is not available: no CUDA device is visible to this torch build; "
            "use cpu or auto"
        )
    index = chosen.index if chosen.index is not None else local_rank
    if chosen.index is None and local_rank >= num_devices == 1:
        # Some launchers show each task only its own device, which is then number 0.
        index = 0
        if "CUDA_VISIBLE_DEVICES" not in os.environ:
            warnings.warn("several processes share the only CUDA device", stacklevel=4)
    if index >= num_devices:
        raise UserError(f"device cuda:{index} does not exist; {num_devices} CUDA device(s) here")
    return torch.device("cuda", index)


def _collective_device() -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
