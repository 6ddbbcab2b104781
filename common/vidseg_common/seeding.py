"""Seeds, deterministic mode, and the state of every random generator for resuming."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

RngState = dict[str, Any]


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seeds python, numpy and torch (all devices).

    Args:
        seed: non-negative integer below 2**32, numpy's limit.
        deterministic: also make torch refuse operators without a deterministic form and switch
            cuDNN's autotuning off, so that two runs with one seed give the same numbers.

    Raises:
        ValueError: the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must lie in [0, 2**32), got {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the augmentations of the papers draw from it)
    torch.manual_seed(seed)
    if deterministic:
        # cuBLAS reads it when its first handle is made; a value set by the user stays.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def capture_rng() -> RngState:
    """Copies the state of python's, numpy's (global) and torch's generators.

    Only tensors, numbers and strings are used, so that a checkpoint holding the result loads with
    `weights_only=True`.

    Returns:
        Mapping with the keys "python", "numpy", "torch", "cuda" (one state per device).
    """
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": {"version": version, "state": torch.tensor(internal), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Puts all generators back to a state of `capture_rng`.

    Warns when the state was taken with another number of CUDA devices; the devices both have are
    restored then.

    Args:
        state: what `capture_rng` returned, also after a round trip through a file and with its
            tensors moved to another device by `map_location`.

    Raises:
        KeyError: the mapping lacks an entry.
    """
    python, numpy = state["python"], state["numpy"]
    internal = tuple(int(word) for word in python["state"].tolist())
    random.setstate((python["version"], internal, python["gauss"]))
    keys = numpy["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        (numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    )
    torch.set_rng_state(state["torch"].cpu())
    _restore_cuda(state["cuda"])


def _restore_cuda(states: list[torch.Tensor]) -> None:
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(states) != num_devices:
        warnings.warn(
            f"random state of {len(states)} CUDA device(s) restored on a machine with "
            f"{num_devices}: the run continues, but not bit for bit",
            stacklevel=3,
        )
    for index, device_state in enumerate(states[:num_devices]):
        torch.cuda.set_rng_state(device_state.cpu(), index)


@dataclass(frozen=True)
class WorkerSeeder:
    """`worker_init_fn` of a DataLoader: seeds numpy and python in each worker process.

    torch seeds its own generator in a worker, numpy's would be the same copy in every worker.
    numpy seed = (torch initial seed mod 2**31) + worker id + 100 * rank (spec stcn 6.1). torch's
    initial seed in a worker already differs per worker and per epoch.

    Args:
        rank: rank of this process, so that the ranks draw differently.
    """

    rank: int = 0

    def __call__(self, worker_id: int) -> None:
        """Seeds the calling worker process."""
        seed = torch.initial_seed() % 2**31 + worker_id + 100 * self.rank
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
