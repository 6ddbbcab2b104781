"""Flags of every command that runs a network."""

from __future__ import annotations

from pathlib import Path

import torch

from vidseg_common.config import ArgumentParser

#: Name of a number format as it is typed.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OPTS = "values over those of the configuration, such as TEST.NUM_OUT 20"


def add_device_flags(parser: ArgumentParser) -> None:
    """Where and how the network runs."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="fp32",
        help="of the network; what follows it is fp32",
    )


def add_model_flags(parser: ArgumentParser) -> None:
    """A checkpoint, and the configuration that it is of."""
    parser.add_argument("--model", type=Path, required=True, help="checkpoint")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="YAML file, or the name of a shipped configuration; default: by the name of the "
        "checkpoint, else what the checkpoint holds",
    )


def add_overrides(parser: ArgumentParser) -> None:
    """--opts, where words without a flag mean something else."""
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help=_OPTS)


def add_override_words(parser: ArgumentParser) -> None:
    """KEY VALUE words over the configuration."""
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=_OPTS)
