"""Flags of every command that runs a network, and what they ask for."""

from __future__ import annotations

import argparse

import torch

from vatrack.config import BACKBONES
from vatrack.inference.predictor import Predictor
from vatrack.weights import Model
from vidseg_common.distributed import select_device

#: Name of a number format as it is typed.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_config_flags(parser: argparse.ArgumentParser, default: str | None, note: str) -> None:
    """Which configuration, and what is changed in it.

    Args:
        parser: gets the flags.
        default: name of the configuration.
        note: what holds without one.
    """
    add = parser.add_argument
    add(
        "--config",
        default=default,
        metavar="CONFIG",
        help=f"configuration: a file, or the name of one that comes with this package{note}",
    )
    add("--backbone", choices=sorted(BACKBONES), help="another backbone than the configuration's")
    add(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="values that replace those of the configuration (model.test_cfg.rcnn.score_thr=0.05)",
    )


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Where and how the network runs."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add(
        "--precision",
        choices=tuple(PRECISIONS),
        default="fp32",
        help="of the network; what follows it is fp32",
    )


def make_predictor(
    model: Model,
    args: argparse.Namespace,
    device: torch.device | None = None,
    *,
    with_detections: bool = False,
) -> Predictor:
    """The predictor that `add_network_flags` describe.

    Args:
        model: network and settings.
        args: parsed flags.
        device: where to run; None follows the flags.
        with_detections: make masks of all detections.

    Raises:
        UserError: no such device, or it cannot compute in that number format.
    """
    device = select_device(args.device) if device is None else device
    return Predictor(
        model.network.to(device),
        model.inference,
        device,
        PRECISIONS[args.precision],
        with_detections=with_detections,
    )
