"""Recorded cases of whole networks: forward of clips and images (see `devis.parity`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from devis.checkpoint import load_network
from devis.config import Config, load_config, model_settings, update
from devis.inference.selection import select_clip, select_images
from devis.model import build
from devis.model.detector import DeformableDETR, Detections
from devis.model.segmenter import DeVIS
from devis.parity_kit import Kit
from vidseg_common.parity_kit import Case, Comparison

Outputs = dict[str, Any]
#: Networks whose manifests name no configuration differ from this one by the case's overrides.
DETECTOR = "deformable_mask_head_R_50"


def configuration(case: Case, kit: Kit) -> tuple[Config, int]:
    """The configuration of a case, and the width of its class head."""
    described = kit.manifest(case["config"]["manifest"])["config"]
    yaml = described.get("yaml")
    changes = dict(described.get("overrides") or {}) | case["config"]["overrides"]
    if not yaml:
        changes |= {"MODEL.MASK_ON": False, "MODEL.WEIGHTS": ""}
    words = [word for pair in changes.items() for word in pair]
    return update(load_config(yaml or DETECTOR), words), described["num_classes"]


def network_of(case: Case, kit: Kit) -> tuple[Config, Any]:
    """The network of a case with weights from a file like the released one, in eval mode."""
    cfg, classes = configuration(case, kit)
    own = build(model_settings(cfg, classes))
    path = kit.released_file(case["config"]["manifest"], own)
    return cfg, load_network(path, cfg, classes)


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Images (3, H, W) at the top left of one batch (B, 3, H, W); True where none is (B, H, W)."""
    height, width = (max(int(x.shape[axis]) for x in images) for axis in (1, 2))
    batch = images[0].new_zeros(len(images), 3, height, width)
    padding = torch.ones(len(images), height, width, dtype=torch.bool)
    for index, image in enumerate(images):
        batch[index, :, : image.shape[1], : image.shape[2]] = image
        padding[index, : image.shape[1], : image.shape[2]] = False
    return batch, padding


def on_the_way(detections: Detections) -> Outputs:
    """What the detector computed, by the recorded names."""
    features, decoded = detections.features, detections.decoded
    found: Outputs = {f"backbone{i}": x for i, x in enumerate(features.stages)}
    found |= {f"proj{i}": x for i, x in enumerate(features.levels)}
    memory = torch.cat([x.flatten(2) for x in decoded.memory], -1).transpose(1, 2)
    return found | {
        "memory": memory,
        "hs": decoded.hidden,
        "references": decoded.references,
        "references_last": decoded.references[-1],
        "pred_boxes": detections.boxes[-1],
        "pred_logits": detections.logits[-1],
        "pred_logits_first8": detections.logits[-1][..., :8],
    }


def instance_masks(masks: Tensor) -> Outputs:
    """Masks (images or frames, instances, h, w) and the part that tells instances apart."""
    mean = masks.mean(1)
    return {
        "masks": masks,
        "masks_mean_over_instances": mean,
        "masks_minus_mean_over_instances": masks - mean[:, None],
    }


def compare_recorded(kit: Kit, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
    """Of the outputs that a kind of case can have, those that this one has."""
    return kit.compare(case, {k: v for k, v in outputs.items() if k in case["outputs"]})


def _record(module: nn.Module, name: str, into: Outputs) -> None:
    """Keeps what a module gives the next time it runs."""
    module.register_forward_hook(lambda _module, _args, out: into.update({name: out}))


@torch.no_grad()
def run_net_devis(case: Case, kit: Kit) -> list[Comparison]:
    """A clip through DeVIS: on the way, predictions and masks of the distinct slots."""
    cfg, network = network_of(case, kit)
    assert isinstance(network, DeVIS)
    clip, config = kit.tensors(case)["clip"], case["config"]
    found: Outputs = {}
    # A clip of 36 frames was recorded with 6 real ones, whatever its "real_frames" says.
    real_frames = int(kit.arrays(case)["out.scores.shape"][0])
    for index, layer in enumerate(network.def_detr.transformer.encoder.layers):
        _record(layer, f"enc{index}", found)
    _record(network.mask_head.get_submodule("lay1"), "mask_head_lay1", found)
    detections = network.def_detr(clip)
    chosen = select_clip(
        detections.logits[-1],
        detections.boxes[-1],
        num_frames=len(clip),
        real_frames=real_frames,
        size=config["video_size_hw"],
        num_out=cfg.TEST.NUM_OUT,
    )
    slots, inverse = chosen.distinct()
    masks = network.masks(detections, [slots])[:, :real_frames]
    queries = detections.decoded.hidden[-1, 0].view(len(clip), -1, cfg.MODEL.HIDDEN_DIM)[:, slots]
    maps = network.attention_maps(detections, queries)
    outputs = found | on_the_way(detections) | instance_masks(masks.transpose(0, 1))
    outputs |= {f"attention_map{i}": x for i, x in enumerate(maps)}
    outputs |= {
        "exact_query_index": chosen.queries,
        "exact_inverse": inverse,
        "exact_labels": chosen.labels,
        "exact_spatial_shapes": [tuple(x.shape[-2:]) for x in detections.features.levels],
        "scores": chosen.scores,
        "boxes": chosen.boxes,
        "center_points": chosen.centers,
    }
    return compare_recorded(kit, case, outputs)


def images_of(case: Case, kit: Kit) -> tuple[Tensor, Tensor]:
    """The padded images of a case."""
    inputs = kit.tensors(case)
    names = sorted(name for name in inputs if name.startswith("image"))
    return pad_images([inputs[name] for name in names])


def predictions(case: Case, cfg: Config, detections: Detections) -> tuple[Outputs, Tensor]:
    """Selected predictions by recorded names, and the selected queries (B, K)."""
    sizes = case["config"]["original_sizes"]
    chosen = select_images(
        detections.logits[-1], detections.boxes[-1], sizes, cfg.TEST.NUM_OUT, top_k=True
    )
    found: Outputs = {}
    for index in range(len(sizes)):
        found |= {
            f"scores{index}": chosen.scores[index],
            f"exact_labels{index}": chosen.labels[index],
            f"boxes{index}": chosen.boxes[index],
        }
    return found, chosen.queries


@torch.no_grad()
def run_net_deformable_detr(case: Case, kit: Kit) -> list[Comparison]:
    """Two padded images through the detector."""
    cfg, network = network_of(case, kit)
    assert isinstance(network, DeformableDETR)
    detections = network(*images_of(case, kit))
    outputs = on_the_way(detections) | predictions(case, cfg, detections)[0]
    return compare_recorded(kit, case, outputs)
