"""Flags of every command that runs a network."""

from __future__ import annotations

import torch

from vidseg_common.config import ArgumentParser

#: Name of a number format as it is typed.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_device_flags(parser: ArgumentParser) -> None:
    """Where and how the network runs."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="fp32",
        help="of the network; what follows it is fp32",
    )


def add_override_words(parser: ArgumentParser) -> None:
    """KEY VALUE words over the configuration."""
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="values over those of the configuration, such as TEST.NUM_OUT 20",
    )
