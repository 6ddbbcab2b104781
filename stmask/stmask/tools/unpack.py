"""`scripts/unpack_statedict.py`: every tensor of a file of weights as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stmask.checkpoint import load_state
from stmask.commands.flags import say
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import CheckpointError
from vidseg_common.files import atomic_path, check_writable, write_json


def build_parser() -> ArgumentParser:
    """Flags of the script."""
    parser = ArgumentParser(
        "unpack_statedict.py",
        description="Write every tensor as KEY.npy, and index.json with their shapes in order.",
    )
    parser.add_argument("weights", type=Path, help="file of weights")
    parser.add_argument("output", type=Path, help="folder to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Unpacks a file.

    Raises:
        CheckpointError: it cannot be read, or a key is no file name.
        UserError: the folder cannot be written.
    """
    args = build_parser().parse_args(argv)
    state = load_state(args.weights)
    wrong = next((key for key in state if Path(key).name != key), None)
    if wrong is not None:
        raise CheckpointError(f"{args.weights}: the key {wrong!r} is no name of a file")
    check_writable(args.output)
    for key, tensor in state.items():
        # NumPy has no bfloat16.
        values = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        with atomic_path(args.output / f"{key}.npy", durable=False) as temporary:
            np.save(temporary, values.numpy())
    shapes = {key: list(tensor.shape) for key, tensor in state.items()}
    write_json(args.output / "index.json", shapes)
    say(f"{len(state)} tensors in {args.output}")
    return 0
