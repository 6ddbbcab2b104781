"""Recorded cases of operators and layers (see `devis.parity`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devis.model.attention import (
    DecoderTemporalAttn,
    TemporalMSDeformAttn,
    other_frames,
)
from devis.model.decoder import Decoder, DecoderLayer, Mlp
from devis.model.encoder import Encoder, EncoderLayer
from devis.model.mask_head import BoxAttention, MaskHead, ModulatedDeformConv, conv_head_3d
from devis.model.position import LearnedFramePosition, SinePosition
from devis.model.settings import ModelSettings, TemporalSettings
from devis.model.swin import Stage
from devis.model.transformer import Transformer, valid_ratio
from devis.ops.ms_deform_attn import level_starts, ms_deform_attn, plain_pytorch
from devis.parity_kit import Kit, fill_by_case
from vidseg_common.parity_kit import Case, Comparison

Outputs = dict[str, Any]


def _both_forms(case: Case, kit: Kit, run: Callable[[], Outputs]) -> list[Comparison]:
    """The outputs with the compiled kernel (where it can be had) and in plain PyTorch."""
    chosen = kit.compare(case, run())
    with plain_pytorch():
        plain = kit.compare(case, run())
    return [*chosen, *(replace(item, name=f"plain {item.name}") for item in plain)]


def _shapes(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [(height, width) for height, width in config["spatial_shapes"]]


def _leaves(kit: Kit, case: Case, *names: str) -> tuple[dict[str, Tensor], Outputs]:
    """Inputs, those named with gradient; and how the gradients will be called."""
    inputs = kit.tensors(case)
    leaves = {name: inputs[name].requires_grad_() for name in names}
    return inputs, {f"grad_{name}": leaf for name, leaf in leaves.items()}


def _gradients(leaves: Mapping[str, Tensor], module: nn.Module, case: Case) -> Outputs:
    """Gradients of inputs, and of those parameters whose gradients are recorded."""
    found: Outputs = {name: leaf.grad for name, leaf in leaves.items()}
    for name, parameter in module.named_parameters():
        if f"grad_{name}" in case["outputs"]:
            found[f"grad_{name}"] = parameter.grad
    return found


def run_op_msda(case: Case, kit: Kit) -> list[Comparison]:
    """The sampling operator with its three gradients."""
    config, shapes = case["config"], _shapes(case["config"])

    def run() -> Outputs:
        inputs, leaves = _leaves(kit, case, "value", "locations")
        weights = inputs["weight_logits"].softmax(-1)
        weights = weights.unflatten(-1, (len(shapes), config["points"])).requires_grad_()
        starts = level_starts(shapes)
        out = ms_deform_attn(inputs["value"], shapes, starts, inputs["locations"], weights)
        out.backward(inputs["grad_output"])
        found: Outputs = {name: leaf.grad for name, leaf in leaves.items()}
        return found | {"output": out, "grad_weights": weights.grad}

    return _both_forms(case, kit, run)


def run_op_modulated_deform_conv(case: Case, kit: Kit) -> list[Comparison]:
    """The convolution of the mask head with its gradients."""
    layer = fill_by_case(ModulatedDeformConv(case["config"]["in"], case["config"]["out"]), case)
    inputs, leaves = _leaves(kit, case, "x")
    out = layer(inputs["x"])
    out.backward(inputs["grad_output"])
    return kit.compare(case, {"output": out} | _gradients(leaves, layer, case))


def _sizes(config: Mapping[str, Any]) -> tuple[int, int, int, int]:
    levels = len(config["spatial_shapes"])
    return config["d_model"], levels, config["heads"], config["current_points"]


def run_op_temporal_attn_encoder(case: Case, kit: Kit) -> list[Comparison]:
    """Attention of the encoder to all frames."""
    config = case["config"]
    others = other_frames(config["frames"])

    def run() -> Outputs:
        layer = TemporalMSDeformAttn(*_sizes(config), others, config["temporal_points"])
        return _run_attention(case, kit, layer)[0]

    return _both_forms(case, kit, run)


def _run_attention(
    case: Case, kit: Kit, layer: TemporalMSDeformAttn
) -> tuple[Outputs, dict[str, Tensor]]:
    """Forward and backward of an attention layer, on queries of a clip or of frames."""
    fill_by_case(layer, case)
    inputs, leaves = _leaves(kit, case, "query", "input_flatten", "reference_points")
    memory, query, reference = (
        inputs[name] for name in ("input_flatten", "query", "reference_points")
    )
    out = layer(
        query.view(len(memory), -1, query.shape[-1]),
        reference.view(len(memory), -1, *reference.shape[2:]),
        memory,
        _shapes(case["config"]),
    ).view_as(query)
    out.backward(inputs["grad_output"])
    return {"output": out} | _gradients(leaves, layer, case), inputs


def run_op_temporal_attn_decoder(case: Case, kit: Kit) -> list[Comparison]:
    """Attention of the decoder, and where it looks."""
    config = case["config"]
    layer = DecoderTemporalAttn(
        *_sizes(config),
        other_frames(config["frames"]),
        config["temporal_points"],
        instance_aware=config["instance_aware"],
    )

    def run() -> Outputs:
        layer.zero_grad()
        outputs, inputs = _run_attention(case, kit, layer)
        query, reference = inputs["query"], inputs["reference_points"]
        frames = config["frames"]
        found = layer.samples(
            query.view(frames, -1, query.shape[-1]),
            reference.view(frames, -1, *reference.shape[2:]),
            _shapes(config),
        )
        assert found.other_locations is not None
        return outputs | {
            "locations_frame0": found.locations[:1],
            "temporal_locations_frame1": found.other_locations[1:2],
            "weights_current": found.weights,
            "weights_temporal": found.other_weights,
        }

    return _both_forms(case, kit, run)


def run_encoder(case: Case, kit: Kit) -> list[Comparison]:
    """Layers of the temporal encoder."""
    config = case["config"]
    others = other_frames(config["frames"], None if config["connect_all"] else config["window"])

    def run() -> Outputs:
        layers = [
            EncoderLayer(
                config["d_model"],
                config["ffn"],
                0.0,
                TemporalMSDeformAttn(*_sizes(config), others, config["temporal_points"]),
                attention_first=False,
            )
            for _ in range(2)
        ]
        encoder = fill_by_case(Encoder(layers), case)
        inputs, leaves = _leaves(kit, case, "src", "pos")
        first: list[Tensor] = []
        layers[0].register_forward_hook(lambda _module, _args, out: first.append(out))
        out = encoder(inputs["src"], inputs["pos"], _shapes(config), inputs["valid_ratios"])
        out.backward(inputs["grad_output"])
        return {"layer0": first[0], "output": out} | _gradients(leaves, encoder, case)

    return _both_forms(case, kit, run)


def run_decoder(case: Case, kit: Kit) -> list[Comparison]:
    """Layers of the temporal decoder, with and without refinement."""
    config = case["config"]
    dim, others = config["d_model"], other_frames(config["frames"])
    attentions = [
        DecoderTemporalAttn(*_sizes(config), others, config["temporal_points"], instance_aware=True)
        for _ in range(2)
    ]
    layers = [
        DecoderLayer(dim, config["heads"], config["ffn"], 0.0, attention, attention_first=False)
        for attention in attentions
    ]
    heads = nn.ModuleList(Mlp(dim, dim, dim, 4) for _ in layers) if config["refine"] else None
    decoder = fill_by_case(Decoder(layers, bbox_embed=heads, box_gradient=True), case)

    def run() -> Outputs:
        inputs, leaves = _leaves(kit, case, "tgt", "query_pos", "src")
        hidden, references = decoder(
            inputs["tgt"],
            inputs["query_pos"],
            inputs["reference_points"],
            inputs["src"],
            _shapes(config),
            inputs["valid_ratios"],
        )
        hidden.backward(inputs["grad_output"])
        return {"hs": hidden, "references": references} | _gradients(leaves, decoder, case)

    return _both_forms(case, kit, run)


def run_transformer(case: Case, kit: Kit) -> list[Comparison]:
    """A whole small transformer: of clips, of clips without connections, of padded images."""
    config, count = case["config"], case["config"]["frames_or_images"]
    is_clip = not case["name"].endswith("image")
    temporal = TemporalSettings(
        num_frames=count, connected="no_temporal" not in case["name"], enc_points=2, dec_points=3
    )
    settings = ModelSettings(
        family="devis" if is_clip else "deformable_detr",
        num_queries=config["queries"],
        hidden_dim=config["d_model"],
        dim_feedforward=config["ffn"],
        dropout=0.0,
        num_levels=len(config["spatial_shapes"]),
        refine_boxes=False,
        enc_layers=config["layers"][0],
        dec_layers=config["layers"][1],
        num_heads=config["heads"],
        temporal=temporal if is_clip else None,
    )
    transformer = fill_by_case(Transformer(settings), case)
    shapes = _shapes(config)
    paddings = [_padding(count, *shape, padded=not is_clip) for shape in shapes]

    def run() -> Outputs:
        transformer.zero_grad()
        inputs, leaves = _leaves(kit, case, "src1", "query_embed")
        levels = [inputs[f"src{i}"] for i in range(len(shapes))]
        positions = [inputs[f"pos{i}"] for i in range(len(shapes))]
        out = transformer(levels, paddings, positions, inputs["query_embed"])
        out.hidden.backward(inputs["grad_output"])
        memory = [x.transpose(0, 1)[None] if is_clip else x for x in out.memory]
        found = {f"memory{i}": x for i, x in enumerate(memory)}
        if not is_clip:
            found["valid_ratios"] = torch.stack([valid_ratio(x) for x in paddings], 1)
        found |= {"hs": out.hidden, "init_reference": out.initial}
        found["inter_references"] = out.references
        return found | _gradients(leaves, transformer, case)

    return _both_forms(case, kit, run)


def _padding(count: int, height: int, width: int, *, padded: bool) -> Tensor:
    """Image 1 padded on the right and image 2 at the bottom, by a quarter each."""
    padding = torch.zeros(count, height, width, dtype=torch.bool)
    if padded:
        padding[1, :, width - max(1, width // 4) :] = True
        padding[2, height - max(1, height // 4) :] = True
    return padding


def run_position_sine(case: Case, kit: Kit) -> list[Comparison]:
    """Sines of row and column."""
    position = SinePosition(2 * case["config"]["num_pos_feats"])
    return kit.compare(case, {"pos": position(kit.tensors(case)["mask"])})


def run_position_learned(case: Case, kit: Kit) -> list[Comparison]:
    """The same with a vector per frame."""
    config = case["config"]
    position = fill_by_case(LearnedFramePosition(config["hidden"], config["frames"]), case)
    return kit.compare(case, {"pos": position(kit.tensors(case)["mask"])})


def run_bbox_attention(case: Case, kit: Kit) -> list[Comparison]:
    """Attention maps of two levels."""
    attention = fill_by_case(BoxAttention(case["config"]["d"], 2), case)
    inputs, leaves = _leaves(kit, case, "q", "k0", "k1")
    maps = [attention(inputs["q"], inputs[f"k{i}"], inputs[f"mask{i}"], i) for i in range(2)]
    torch.autograd.backward(maps, [inputs["grad_output0"], inputs["grad_output1"]])
    found = {"map0": maps[0], "map1": maps[1]}
    return kit.compare(case, found | _gradients(leaves, attention, case))


def run_mask_head(case: Case, kit: Kit) -> list[Comparison]:
    """The mask head on features of a clip."""
    config = case["config"]
    head = MaskHead(
        config["dim"],
        tuple(config["feature_channels"]),
        config["attention_levels"],
        modulated=config["modulated_deformable"],
        out_layer=config["out_layer"],
    )
    fill_by_case(head, case)
    inputs, leaves = _leaves(kit, case, "feat0", "feat3", "att0")
    found: Outputs = {}
    for name in ("lay1", "gn2", "gn4"):
        if name in case["outputs"]:
            head.get_submodule(name).register_forward_hook(
                lambda _module, _args, out, name=name: found.update({name: out})
            )
    out = head(
        [inputs[f"feat{i}"] for i in range(len(config["feature_channels"]))],
        [inputs[f"att{i}"] for i in range(config["attention_levels"])],
        torch.arange(config["frames"]).repeat(config["instances"]),
    )
    grad = np.random.RandomState(5).standard_normal(tuple(out.shape))
    out.backward(torch.from_numpy(grad.astype("float32")))
    return kit.compare(case, found | {"output": out} | _gradients(leaves, head, case))


def run_conv_head_3d(case: Case, kit: Kit) -> list[Comparison]:
    """The head of the ablations."""
    head = fill_by_case(conv_head_3d(), case)
    inputs, leaves = _leaves(kit, case, "x")
    out = head(inputs["x"])
    out.backward(inputs["grad_output"])
    return kit.compare(case, {"output": out} | _gradients(leaves, head, case))


def run_swin_layer(case: Case, kit: Kit) -> list[Comparison]:
    """A stage of Swin on a map that no window fits, and the merging after it."""
    config = case["config"]
    stage = Stage(config["dim"], config["heads"], config["window"], [0.0, 0.0], merges=True)
    fill_by_case(stage, case)
    inputs, leaves = _leaves(kit, case, "x")
    out, merged = stage(inputs["x"].unflatten(1, (config["H"], config["W"])))
    out.flatten(1, 2).backward(inputs["grad_output"])
    found = {"output": out.flatten(1, 2), "downsampled": merged.flatten(1, 2)}
    return kit.compare(case, found | _gradients(leaves, stage, case))
