"""Parity cases of losses and of a training step (see `stmask.parity`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.checkpoint import load_network
from stmask.config import get_config
from stmask.losses import FrameTargets, MultiBoxLoss, total_loss
from stmask.losses.multibox import temporal_features
from stmask.model.network import RawOutputs, STMask
from stmask.model.priors import prior_boxes
from stmask.model.settings import NetworkSettings
from stmask.model.temporal import TemporalNet
from stmask.parity_kit import Kit, fill_by_name
from vidseg_common.parity_kit import Case, Comparison, fill_state_dict

#: Strides of the levels for which priors are made.
_STRIDES = (8, 16, 32, 64, 128)


class _ShiftOnly(nn.Module):
    """As much of a network as the losses call."""

    def __init__(self) -> None:
        super().__init__()
        self.TemporalNet = TemporalNet(NetworkSettings())


def run_loss(case: Case, kit: Kit) -> list[Comparison]:
    """Targets, every loss, and the gradient of each term, on drawn predictions."""
    leaves = _predictions(kit.tensors(case))
    network = fill_by_name(_ShiftOnly(), "", case["gains"])
    cfg = get_config("STMask_plus_base_config").copy(case.get("cfg", {}))
    targets, loss = _targets(case), MultiBoxLoss(cfg)
    raw = _raw_outputs(leaves, tuple(case["image_hw"]))
    found = loss.match(raw, targets)
    losses = loss(raw, targets, network, temporal=leaves["T2S_concat_feat"])
    classes = found.classes
    if cfg.use_sigmoid_focal_loss:
        # The focal loss of the original writes background over what it ignores.
        classes = classes.clamp(min=0)
    outputs = {"target.conf_t": classes, "target.ids_t": found.ids, "target.idx_t": found.objects}
    outputs |= {f"loss.{name}": value for name, value in losses.items()}
    parameters = leaves | dict(network.named_parameters())
    for name in kit.recorded(case):
        if name.startswith("grad."):
            _, term, wanted = name.split(".", 2)
            made = torch.autograd.grad(losses[term], parameters[wanted], retain_graph=True)
            outputs[name] = made[0]
    return kit.compare(case, outputs)


def _predictions(drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drawn arrays as the network gives them; gradients are with respect to these."""
    made = {
        "loc": drawn["loc"],
        "conf": drawn["conf"],
        "mask_coeff": drawn["mask_coeff"],
        "centerness": drawn["centerness"].tanh(),
        "track": F.normalize(drawn["track"], dim=-1),
        "proto": drawn["proto"].relu(),
        "T2S_concat_feat": drawn["t2s_concat"].relu(),
    }
    made |= {"segm": drawn["segm"]} if "segm" in drawn else {}
    return {name: value.requires_grad_() for name, value in made.items()}


def _raw_outputs(leaves: Mapping[str, Tensor], image_hw: tuple[int, int]) -> RawOutputs[Tensor]:
    levels = [(-(-image_hw[0] // s), -(-image_hw[1] // s)) for s in _STRIDES]
    return RawOutputs(
        loc=leaves["loc"],
        conf_logits=leaves["conf"],
        mask_coeff=leaves["mask_coeff"],
        track=leaves["track"],
        centerness=leaves["centerness"][..., 0],
        priors=prior_boxes(levels, NetworkSettings(), torch.device("cpu")),
        proto=leaves["proto"],
        fpn_feat=torch.empty(0),
        t2s_feat=torch.empty(0),
        levels=levels,
        semantic=leaves.get("segm"),
    )


def _targets(case: Case) -> list[FrameTargets]:
    """The objects of a case, frame by frame; their masks are ellipses that fill the boxes."""
    frames = [frame for clip in case["gt"] for frame in clip]
    return [
        FrameTargets(
            torch.tensor(frame["boxes"], dtype=torch.float32).view(-1, 4),
            torch.tensor(frame["labels"], dtype=torch.int64),
            torch.tensor(frame["ids"], dtype=torch.int64),
            _ellipses(frame["boxes"], tuple(case["image_hw"])),
        )
        for frame in frames
    ]


def _ellipses(boxes: list[list[float]], image_hw: tuple[int, int]) -> Tensor:
    masks = torch.zeros((len(boxes), *image_hw), dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        mask[:] = _ellipse(box, image_hw)
    return masks


def _ellipse(box: list[float], image_hw: tuple[int, int]) -> Tensor:
    height, width = image_hw
    x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    across = (torch.arange(width) + 0.5 - (x1 + x2) / 2) / ((x2 - x1) / 2)
    down = (torch.arange(height) + 0.5 - (y1 + y2) / 2) / ((y2 - y1) / 2)
    return across[None] ** 2 + down[:, None] ** 2 <= 1


def run_train_step(case: Case, kit: Kit) -> list[Comparison]:
    """Losses of one clip with frozen batch norm, and gradients of parameters."""
    network = _frozen_network(case, kit)
    targets, clip = _targets(case), kit.tensors(case)["clip"]
    raw = network(clip.flatten(0, 1))
    cfg = get_config("STMask_plus_base_config").copy(case.get("cfg", {}))
    losses = MultiBoxLoss(cfg)(raw, targets, network)
    total = total_loss(losses)
    total.backward()
    parameters = dict(network.named_parameters())
    outputs: dict[str, Any] = {f"loss.{name}": value for name, value in losses.items()}
    outputs |= {f"grad.{name}": parameters[name].grad for name in case["grads"]}
    outputs["loss.total"] = total
    outputs["T2S_concat_feat"] = temporal_features(raw, network)
    frozen = [p for p in network.parameters() if not p.requires_grad]
    outputs["frozen_bn_without_grad"] = [len(frozen)]
    return kit.compare(case, outputs)


def _frozen_network(case: Case, kit: Kit) -> STMask:
    """A network in training, its batch norm frozen; the case overrides gains of the manifest."""
    manifest = kit.manifest(kit.manifest_of(case))
    gains = manifest["gains"] | case["gains_override"]
    arrays = fill_state_dict(manifest | {"gains": gains})
    path = Path(kit.scratch) / f"{case['name']}.pth"
    torch.save(OrderedDict((k, torch.from_numpy(v)) for k, v in arrays.items()), path)
    network = load_network(path)[0].train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    return network
