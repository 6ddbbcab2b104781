"""Launchers that are named by a flag, as the original commands have it."""

from __future__ import annotations

import argparse
import os

from vidseg_common.errors import UserError


def check_launch(args: argparse.Namespace) -> None:
    """Makes what a launcher has said by a flag known, and tells what is missing.

    Args:
        args: with `launcher` and `local_rank`.

    Raises:
        UserError: the launcher of the flag has not started this process.
    """
    if args.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if args.launcher == "none":
        return
    if args.launcher == "mpi":
        raise UserError("--launcher mpi is not supported; start with torchrun or srun")
    wanted = {"pytorch": "RANK", "slurm": "SLURM_PROCID"}[args.launcher]
    if wanted not in os.environ:
        tool = {"pytorch": "torchrun", "slurm": "srun"}[args.launcher]
        raise UserError(f"--launcher {args.launcher}: {wanted} is not set; start with {tool}")
