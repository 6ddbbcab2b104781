"""Which network a file of weights belongs to, told by its keys and shapes alone (spec 1.1)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stmask.model.settings import NetworkSettings
from vidseg_common.errors import CheckpointError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
HEAD = "prediction_layers.0."
BRANCHES = {"calibrate_class": "conf", "calibrate_track": "track", "calibrate_mask": "mask"}
#: Layers of DarkNet-53 lie beside their norms in a sequence: this key only it has.
DARKNET_KEY = "backbone._preconv.0.weight"


def infer_settings(shapes: Shapes, base: NetworkSettings | None = None) -> NetworkSettings:
    """The settings of the network that has these tensors.

    Args:
        shapes: key to shape.
        base: has what shapes do not tell: activations of the pyramid, the correlated level.

    Raises:
        CheckpointError: a tensor that every STMask has is missing, or deformable blocks follow no
            rule; the message names the key.
    """
    base = base or NetworkSettings()
    values = _backbone(shapes) | _head(shapes) | _pyramid(shapes, base) | _temporal(shapes, base)
    values["num_prototypes"] = _shape(shapes, _last(shapes, "proto_net."))[0]
    values["semantic"] = "semantic_seg_conv.weight" in shapes
    found = _numbered(shapes, "maskiou_net.maskiou_net.")
    values["maskiou_channels"] = tuple(shapes[key][0] for key in found[:-1])
    try:
        return replace(base, **values)
    except ValueError as error:
        raise CheckpointError(f"not the tensors of an STMask: {error}") from error


def _shape(shapes: Shapes, key: str) -> Shape:
    if key not in shapes:
        raise CheckpointError(f"not the tensors of an STMask: {key} is missing")
    return shapes[key]


def _numbered(shapes: Shapes, prefix: str, suffix: str = ".weight") -> list[str]:
    """Keys PREFIX N SUFFIX, by N."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)" + re.escape(suffix))
    found = {int(m[1]): key for key in shapes if (m := pattern.fullmatch(key))}
    return [found[n] for n in sorted(found)]


def _last(shapes: Shapes, prefix: str) -> str:
    found = _numbered(shapes, prefix)
    return found[-1] if found else f"{prefix}0.weight"


def _backbone(shapes: Shapes) -> dict[str, Any]:
    if DARKNET_KEY in shapes:
        blocks = _count_blocks(shapes, skip_first=True)
        stem = 2 * shapes[DARKNET_KEY][0]
        values = {"backbone": "darknet53", "blocks": blocks, "stem_width": stem}
        return values | {"dcn_interval": 0, "dcn_stages": ()}
    stem = _shape(shapes, "backbone.conv1.weight")[0]
    blocks = _count_blocks(shapes)
    interval, stages = _deformable(shapes, blocks)
    return {
        "backbone": "resnet",
        "blocks": blocks,
        "stem_width": stem,
        "dcn_interval": interval,
        "dcn_stages": stages,
    }


def _count_blocks(shapes: Shapes, *, skip_first: bool = False) -> tuple[int, ...]:
    """Blocks of every stage; the first of a stage of DarkNet is its strided layer."""
    highest: dict[int, int] = {}
    for key in shapes:
        if match := re.match(r"backbone\.layers\.(\d+)\.(\d+)\.", key):
            stage, block = int(match[1]), int(match[2])
            highest[stage] = max(highest.get(stage, 0), block)
    if sorted(highest) != list(range(len(highest))) or not highest:
        raise CheckpointError("not the tensors of an STMask: backbone.layers.0 is missing")
    return tuple(highest[stage] + (0 if skip_first else 1) for stage in range(len(highest)))


def _deformable(shapes: Shapes, blocks: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Interval and stages of the deformable blocks: 0 and () without any."""
    pattern = re.compile(r"backbone\.layers\.(\d+)\.(\d+)\.conv2\.conv_offset_mask\.weight")
    found = {(int(m[1]), int(m[2])) for key in shapes if (m := pattern.fullmatch(key))}
    if not found:
        return 0, ()
    stages = tuple(sorted({stage for stage, _ in found}))
    interval = min((block for _, block in found if block), default=max(blocks))
    rule = {(s, b) for s in stages for b in range(blocks[s]) if b % interval == 0}
    if found != rule:
        stage, block = min(found ^ rule)
        raise CheckpointError(
            f"deformable blocks of the file follow no interval: backbone.layers.{stage}.{block} "
            f"{'has' if (stage, block) in found else 'lacks'} conv2.conv_offset_mask"
        )
    return interval, stages


def _head(shapes: Shapes) -> dict[str, Any]:
    boxes = _numbered(shapes, f"{HEAD}bbox_layer.")
    if not boxes:
        hint = ""
        if f"{HEAD}bbox_layer.weight" in shapes:
            hint = "; it has a detector's head (a COCO YOLACT++ file?): training starts from those"
        raise CheckpointError(
            f"not the tensors of an STMask: {HEAD}bbox_layer.0.weight is missing{hint}"
        )
    scales = shapes[boxes[0]][0] // 4
    values: dict[str, Any] = {
        "kernels": tuple((shapes[key][2], shapes[key][3]) for key in boxes),
        "scales_per_anchor": scales,
        "num_classes": _outputs(shapes, "conf") // max(scales, 1),
        "embed_dim": _outputs(shapes, "track") // max(scales, 1),
        "share_head": not any(key.startswith("prediction_layers.1.") for key in shapes),
    }
    for branch in ("conf", "bbox", "mask", "track"):
        values[f"{branch}_depth"] = len(_numbered(shapes, f"{HEAD}{branch}_extra."))
    calibrated = [
        b for b in BRANCHES.values() if f"{HEAD}{b}_layer.0.conv_adaption.weight" in shapes
    ]
    values |= {field: branch in calibrated for field, branch in BRANCHES.items()}
    values |= {"fcb": None, "direct_calibration": False}
    if calibrated:
        first = f"{HEAD}{calibrated[0]}_layer.0."
        values["fcb"] = "ada" if f"{first}conv_offset.weight" in shapes else "ali"
        values["direct_calibration"] = f"{first}conv.weight" not in shapes
    return values


def _outputs(shapes: Shapes, branch: str) -> int:
    """Channels that come out of a branch's first layer, calibrated or not."""
    first = f"{HEAD}{branch}_layer.0."
    for name in ("conv.weight", "conv_adaption.weight"):
        if first + name in shapes:
            return shapes[first + name][0]
    return _shape(shapes, f"{first}weight")[0]


def _pyramid(shapes: Shapes, base: NetworkSettings) -> dict[str, Any]:
    strided = len(_numbered(shapes, "fpn.downsample_layers."))
    return {
        "fpn_channels": _shape(shapes, "fpn.lat_layers.0.weight")[0],
        "conv_downsample": strided > 0,
        "num_downsample": strided or base.num_downsample,
    }


def _temporal(shapes: Shapes, base: NetworkSettings) -> dict[str, Any]:
    if not any(key.startswith("TemporalNet.") for key in shapes):
        return {"temporal_fusion": False}
    convolutions = [_shape(shapes, f"TemporalNet.conv{i}.weight") for i in (1, 2, 3)]
    window = convolutions[0][1] - 2 * _shape(shapes, "fpn.lat_layers.0.weight")[0]
    return {
        "temporal_fusion": True,
        "temporal_channels": tuple(shape[0] for shape in convolutions),
        "patch_size": math.isqrt(window) if window > 0 else base.patch_size,
    }
