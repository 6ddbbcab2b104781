"""Recorded cases of what training starts from: adapted weights, groups of parameters."""

from __future__ import annotations

import json
import zlib
from typing import Any

import torch
from torch import Tensor

from devis.config import Config, load_config, model_settings
from devis.model import build
from devis.parameter_groups import Group, freeze, groups_of
from devis.parity_kit import Kit
from devis.start import Start, StartOptions, start_devis, start_mask_head
from vidseg_common.parity_kit import Case, Comparison

#: What the records hold where a value is the network's own.
OWN_VALUE = -7.0
COCO_FILE = "manifest_mask_head_r50.json"
DETECTOR_FILE = "manifest_deformable_detr_r50_refine.json"
#: Networks whose groups are recorded.
GROUPED = {
    "devis_r50_yt19": "devis_R_50_YT-19",
    "mask_head_r50": "deformable_mask_head_R_50",
    "mask_head_swinl": "deformable_mask_head_SwinL",
}


def run_init_from_coco(case: Case, kit: Kit) -> list[Comparison]:
    """DeVIS from a COCO Mask-Head: the source of every key, and some of the tensors."""
    config = case["config"]
    described = kit.manifest(config["target"])["config"]
    settings = model_settings(load_config(described["yaml"]), described["num_classes"])
    options = StartOptions(
        temporal=config["finetune_temporal_modules"],
        queries=config["finetune_query_embeddings"],
        classes=config["finetune_class_logits"],
    )
    file, own = kit.state(COCO_FILE), _own_values(kit, config["target"])
    start = start_devis(file, own, settings, options, COCO_FILE)
    texts = {
        "text_sources": "\n".join(f"{key} {source}" for key, source in start.sources.items()),
        "text_unused": "\n".join(start.unused),
    }
    return _compare(case, kit, start, texts, prefix="")


def run_init_mask_head(case: Case, kit: Kit) -> list[Comparison]:
    """A Mask-Head from the official detector: moved class rows, keys that it lacks."""
    own = _own_values(kit, COCO_FILE)
    start = start_mask_head(kit.state(DETECTOR_FILE), own, shift_classes=True, source=DETECTOR_FILE)
    texts = {"text_scratch": "\n".join(start.keys_from("scratch"))}
    return _compare(case, kit, start, texts, prefix="def_detr.")


def run_parameter_groups(case: Case, kit: Kit) -> list[Comparison]:
    """Learning rate, size and names of every group of three networks."""
    table = {name: _groups_of(load_config(config)) for name, config in GROUPED.items()}
    return kit.compare(case, {"text_groups": json.dumps(table)})


def _own_values(kit: Kit, manifest: str) -> dict[str, Tensor]:
    return {
        key["name"]: torch.full(key["shape"], OWN_VALUE) for key in kit.manifest(manifest)["keys"]
    }


def _compare(
    case: Case, kit: Kit, start: Start, texts: dict[str, str], prefix: str
) -> list[Comparison]:
    tensors = {n: start.state[prefix + n] for n in case["outputs"] if not n.startswith("text_")}
    return kit.compare(case, {**texts, **tensors})


def _groups_of(cfg: Config) -> dict[str, Any]:
    with torch.device("meta"):
        network = build(model_settings(cfg))
    freeze(network, cfg)
    frozen = sum(not parameter.requires_grad for parameter in network.parameters())
    groups = {group.name: _summary(group) for group in groups_of(network, cfg)}
    return groups | {"frozen": {"tensors": frozen}}


def _summary(group: Group) -> dict[str, Any]:
    names = [name for name, _ in group.parameters]
    return {
        "crc32_of_newline_joined_names": zlib.crc32("\n".join(names).encode()),
        "elements": sum(parameter.numel() for _, parameter in group.parameters),
        "first": names[:2],
        "last": names[-1:],
        "lr": group.lr,
        "tensors": len(names),
    }
