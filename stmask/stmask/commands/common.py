"""Weights, configuration and predictor that flags ask for, for every command that predicts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stmask.checkpoint import load_network
from stmask.config import Config, get_config
from stmask.inference.predictor import Predictor
from stmask.inference.settings import InferenceSettings, settings_of
from stmask.model.network import STMask
from stmask.saved import KEYWORDS, find_saved
from stmask.timers import Timers
from stmask.weights import config_name_of
from vidseg_common.distributed import select_device
from vidseg_common.errors import CheckpointError

#: Where 'latest' and 'interrupt' look.
WEIGHTS = Path("weights")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Model:
    """A network and what it belongs to.

    Attributes:
        path: of the weights.
        network: in eval mode.
        cfg: its configuration.
    """

    path: Path
    network: STMask
    cfg: Config


def open_model(file: str | Path, config: str | None, *, strict: bool = True) -> Model:
    """Loads weights with their configuration.

    Args:
        file: checkpoint, or one of `KEYWORDS`.
        config: name of the configuration; None takes the one that the name of the file tells, or
            the one that its tensors fit.
        strict: every tensor has to fit; otherwise both lists of differences are printed.

    Raises:
        UserError: weights or configuration cannot be used.
    """
    path = find_saved(WEIGHTS, str(file), _stem_of(config)) if str(file) in KEYWORDS else Path(file)
    name = config or config_name_of(path)
    cfg = None if name is None else get_config(name)
    network, report = load_network(path, cfg, strict=strict)
    if report.text() and not strict:
        sys.stderr.write(f"{report.text()}\n")
    if cfg is None:
        if report.config_name is None:
            raise CheckpointError(
                f"{path}: neither its name nor its tensors tell the configuration; give --config"
            )
        cfg = get_config(report.config_name)
    return Model(path, network, cfg)


def _stem_of(config: str | None) -> str | None:
    return None if config is None else get_config(config).name


def make_predictor(
    model: Model,
    args: argparse.Namespace,
    *,
    with_masks: bool = True,
    crop: bool = True,
) -> tuple[Predictor, Timers]:
    """The predictor that `add_network_flags` describe, and the timers that measure it.

    Args:
        model: see `open_model`.
        args: parsed flags.
        with_masks: False gives boxes only.
        crop: cut masks at their boxes.

    Raises:
        UserError: no such device.
    """
    device = select_device(args.device if getattr(args, "cuda", True) else "cpu")
    settings = inference_of(model, args, with_masks=with_masks, crop=crop)
    timers = Timers(device)
    predictor = Predictor(
        model.network.to(device), settings, device, _DTYPES[args.precision], timer=timers
    )
    timers.watch(predictor.network)
    return predictor, timers


def inference_of(
    model: Model, args: argparse.Namespace, *, with_masks: bool = True, crop: bool = True
) -> InferenceSettings:
    """The settings of that predictor."""
    chosen: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("cross_class_nms", "fast_nms", "max_memory")
        if getattr(args, name) is not None
    }
    # Results have the size of the frames, whatever a configuration of the training says.
    return settings_of(
        model.cfg,
        preserve_aspect_ratio=True,
        eval_mask_branch=with_masks and model.cfg.eval_mask_branch,
        crop_masks=crop,
        **chosen,
    )
