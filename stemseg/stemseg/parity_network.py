"""Parity cases of the network and its parts (see `stemseg.parity`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stemseg.checkpoint import PUBLISHED, load_network
from stemseg.config import Config, load_config, merge
from stemseg.inference.preprocess import preprocess
from stemseg.model.coordinates import CHANNELS, MODE_DIMS, coordinate_offset
from stemseg.model.decoders import (
    EmbeddingDecoder,
    EmbeddingOutputs,
    SeedinessDecoder,
    SemsegDecoder,
    Trunk,
    TrunkSizes,
)
from stemseg.model.deployed import DeployedNetwork
from stemseg.model.fpn import FPN, Backbone
from stemseg.model.network import STEmSeg
from stemseg.model.resnet import Bottleneck, FrozenBatchNorm
from stemseg.parity_kit import Case, Comparison, Kit, compare_output, exact, fill_module
from vidseg_common.errors import UserError

TRUNK_PARTS = ("block_32x", "block_16x", "conv_16", "block_8x", "conv_8", "block_4x", "conv_4")
#: Seed of the factors whose weighted sum the gradients are of.
GRADIENT_SEED = 999


def run_coordinate_maps(case: Case, kit: Kit) -> list[Comparison]:
    """Offsets of every mode and the sizes of the modes."""
    outputs = {
        f"{mode}.{i}": coordinate_offset(mode, (t, h, w), scale)
        for mode in case["config"]["channels"]
        for i, (t, h, w, scale) in enumerate(case["config"]["shapes"])
    }
    dims = {mode: MODE_DIMS.get(mode) for mode in CHANNELS}
    expected = case.get("expected", {})
    return [
        *kit.compare(case, outputs),
        *(exact(name[:20], dims, value) for name, value in expected.items()),
    ]


def _with_gradients(
    module: nn.Module, leaves: Mapping[str, Tensor], total: Tensor, names: list[str]
) -> dict[str, Any]:
    """Gradients of `total` that a case records, as `grad.NAME` of an input or a parameter."""
    total.backward()
    parameters = dict(module.named_parameters())
    every = {**parameters, **leaves}
    return {name: every[name.removeprefix("grad.")].grad for name in names}


def _gradient_names(case: Case) -> list[str]:
    return [name for name in case["outputs"] if name.startswith("grad.")]


def _run_op(case: Case, kit: Kit, module: nn.Module) -> list[Comparison]:
    fill_module(module, case["params"])
    inputs = {k: torch.from_numpy(v) for k, v in kit.inputs(case).items()}
    x = inputs["x"].requires_grad_()
    y = module(x)
    gradients = _with_gradients(module, {"x": x}, (y * inputs["g"]).sum(), _gradient_names(case))
    return kit.compare(case, {"y": y, **gradients})


def run_op_frozen_bn(case: Case, kit: Kit) -> list[Comparison]:
    """Frozen batch norm."""
    return _run_op(case, kit, FrozenBatchNorm(case["inputs"]["x"]["shape"][1]))


def run_op_bottleneck(case: Case, kit: Kit) -> list[Comparison]:
    """Residual block."""
    config = case["config"]
    block = Bottleneck(config["in"], config["mid"], config["out"], config["stride"])
    return _run_op(case, kit, block)


def run_op_fpn(case: Case, kit: Kit) -> list[Comparison]:
    """Feature pyramid."""
    inputs = {k: torch.from_numpy(v) for k, v in kit.inputs(case).items()}
    maps = {name: inputs[name].requires_grad_() for name in ("C2", "C3", "C4", "C5")}
    gains = [inputs[f"g{level}"] for level in (2, 3, 4, 5)]
    fpn = FPN([x.shape[1] for x in maps.values()], gains[0].shape[1])
    fill_module(fpn, case["params"])
    levels = fpn(list(maps.values()))
    total = torch.stack([(p * g).sum() for p, g in zip(levels, gains, strict=True)]).sum()
    gradients = _with_gradients(fpn, maps, total, _gradient_names(case))
    return kit.compare(case, {f"P{i}": p for i, p in enumerate(levels, 2)} | gradients)


def _build_decoder(config: Mapping[str, Any]) -> Trunk:
    grouped = config["norm"].startswith("GroupNorm")
    sizes = TrunkSizes(
        num_frames=config["num_frames"],
        in_channels=config["in_channels"],
        inter_channels=tuple(config["inter_channels"]),
        norm="gn" if grouped else config["norm"],
        num_groups=int(config["norm"][len("GroupNorm(") : -1]) if grouped else 1,
        pool=config["pool"],
    )
    if config["kind"] == "emb":
        return EmbeddingDecoder(
            sizes, config["mode"], tanh=config["tanh"], with_seediness=config["seed"]
        )
    if config["kind"] == "sem":
        return SemsegDecoder(sizes, config["nc"], foreground_channel=config["fg"])
    if config["kind"] == "seed":
        return SeedinessDecoder(sizes)
    raise UserError(f"unknown kind of decoder {config['kind']!r}")


def _joined(outputs: EmbeddingOutputs | Tensor) -> Tensor:
    """The maps of a head as one, in the recorded order."""
    if isinstance(outputs, Tensor):
        return outputs
    return torch.cat([x for x in outputs if x is not None], 1)


def _watch(module: nn.Module, names: Mapping[str, str], seen: dict[str, Any]) -> None:
    """Keeps the output of sub-modules: name of the module to the name to keep it under."""

    def keeper(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # Later layers may work in place.
            seen.setdefault(name, output.detach().clone())

        return keep

    for path, name in names.items():
        module.get_submodule(path).register_forward_hook(keeper(name))


def run_decoder(case: Case, kit: Kit) -> list[Comparison]:
    """One decoder with its parts and gradients."""
    decoder = _build_decoder(case["config"])
    fill_module(decoder, case["params"])
    leaves = {k: torch.from_numpy(v).requires_grad_() for k, v in kit.inputs(case).items()}
    seen: dict[str, Any] = {}
    _watch(decoder, {name: name for name in TRUNK_PARTS}, seen)
    y = _joined(decoder([leaves[name] for name in ("x4", "x8", "x16", "x32")]))
    g = torch.from_numpy(np.random.RandomState(GRADIENT_SEED).standard_normal(y.shape)).float()
    gradients = _with_gradients(decoder, leaves, (y * g).sum(), _gradient_names(case))
    return kit.compare(case, {"y": y, **seen, **gradients})


def variant_config(manifest_name: str, sections: Mapping[str, Any]) -> Config:
    """The configuration of a manifest's released model with a case's sections over it."""
    variant = manifest_name.removeprefix("manifest_").removesuffix(".json")
    if variant not in PUBLISHED:
        raise UserError(f"{manifest_name}: no released model of the name {variant!r}")
    return merge(load_config(PUBLISHED[variant]), sections, source="case of the kit")


def run_net(case: Case, kit: Kit) -> list[Comparison]:
    """The whole network from frames to head outputs, as trained and as it runs in inference."""
    cfg = variant_config(case["manifest"], case["config"])
    network = load_network(kit.weights(case["manifest"]), cfg)
    images = torch.stack([preprocess(frame, cfg) for frame in kit.inputs(case)["frames"]])
    with torch.inference_mode():
        first = _backbone_parts(network.backbone, images[:1])
        maps = [network.backbone(image[None]) for image in images]
        features = [torch.stack([m[i][0] for m in maps], 1)[None] for i in range(4)]
        heads = _head_parts(network, features)
        deployed = _deployed_parts(network, images)
    arrays, specs = kit.arrays(case), case["outputs"]
    fast = [compare_output(name, specs[name], arrays, x) for name, x in deployed.items()]
    return [
        *kit.compare(case, {"preprocessed_frame0": images[0], **first, **heads}),
        *(replace(item, name=f"deployed {item.name}") for item in fast),
    ]


def _deployed_parts(network: STEmSeg, images: Tensor) -> dict[str, Tensor]:
    """Pyramid of the first frame and outputs of every head, as inference computes them."""
    fast = DeployedNetwork(network)
    frames = [frame for batch in images.split(4) for frame in fast.encode_frames(batch)]
    outputs = fast.decode_clips([frames])
    embedding = [outputs.embeddings, outputs.raw_bandwidths]
    parts = {f"frame0.P{i}": x for i, x in enumerate(frames[0].levels, 2)}
    if network.seediness_head is None:
        embedding.append(outputs.seediness)
    else:
        parts["seediness_head"] = outputs.seediness[0]
    if outputs.semseg_logits is not None:
        parts["semseg_head"] = outputs.semseg_logits[0]
    return {**parts, "embedding_head": torch.cat(embedding, 1)[0]}


def _backbone_parts(backbone: Backbone, frame: Tensor) -> dict[str, Tensor]:
    stem = backbone.body.stem(frame)
    parts = {"frame0.stem": stem[0]}
    maps = backbone.body(frame)
    parts |= {f"frame0.C{i}": x[0] for i, x in enumerate(maps, 2)}
    return parts | {f"frame0.P{i}": x[0] for i, x in enumerate(backbone.fpn(maps), 2)}


def _head_parts(network: STEmSeg, features: list[Tensor]) -> dict[str, Tensor]:
    """Outputs of every head and of the parts of its trunk, without the batch axis."""
    seen: dict[str, Any] = {}
    for name in ("embedding_head", "seediness_head", "semseg_head"):
        head = getattr(network, name)
        if head is not None:
            _watch(head, {part: f"{name}.{part}" for part in TRUNK_PARTS}, seen)
            seen[name] = _joined(head(features))
    return {name: value[0] for name, value in seen.items()}
