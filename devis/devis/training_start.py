"""What a training begins with: adapted weights of another model, or a backbone (spec 7.4, 9)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from devis.backbone_start import RANDOM, start_backbone
from devis.checkpoint import read_checkpoint
from devis.config import Config, model_settings
from devis.start import StartOptions, start_devis, start_mask_head
from vidseg_common.hub_file import hub_file

_ADDRESS = ("http://", "https://")


def start_network(network: nn.Module, cfg: Config, backbone: Path | None = None) -> str:
    """Fills a network before its first step.

    Args:
        network: as constructed, changed in place.
        cfg: MODEL.WEIGHTS is a file or an address; empty starts from the backbone alone.
        backbone: file with ImageNet weights, or "none"; None takes the usual one. Not read where
            there are weights.

    Returns:
        Lines for a terminal: what was taken over and what was not.

    Raises:
        CheckpointError: a file cannot be read or does not fit.
        DownloadError: a file cannot be fetched.
    """
    if not cfg.MODEL.WEIGHTS:
        if backbone is not None and str(backbone) == RANDOM:
            return "random weights, also of the backbone"
        return start_backbone(network, cfg.MODEL.BACKBONE, backbone)
    path = local_file(cfg.MODEL.WEIGHTS)
    given, settings = read_checkpoint(path).model, model_settings(cfg)
    own = network.state_dict()
    if settings.family == "devis":
        wanted = cfg.SOLVER.DEVIS
        options = StartOptions(
            temporal=wanted.FINETUNE_TEMPORAL_MODULES,
            queries=wanted.FINETUNE_QUERY_EMBEDDINGS,
            classes=wanted.FINETUNE_CLASS_LOGITS,
        )
        start = start_devis(given, own, settings, options, str(path))
    else:
        shift = cfg.MODEL.SHIFT_CLASS_NEURON
        start = start_mask_head(given, own, shift_classes=shift, source=str(path))
    network.load_state_dict(start.state)
    return f"{path}: {start.text()}"


def local_file(weights: str) -> Path:
    """The file of MODEL.WEIGHTS; that of an address is fetched into torch's cache.

    Raises:
        DownloadError: it cannot be fetched.
    """
    return hub_file(weights) if weights.startswith(_ADDRESS) else Path(weights)
