"""Parity cases of the network, the memory, propagation and training (see `stcn.parity`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stcn.checkpoint import infer_config, load_for_training, load_network, load_state
from stcn.inference.engine import EncodedFrame, MemoryPolicy, PropagationEngine, pad_to_multiple
from stcn.inference.memory import MemoryBank
from stcn.inference.preprocess import (
    inner_size,
    normalise,
    one_hot,
    resize_frame,
    resize_masks,
    resize_prob,
    to_index_map,
)
from stcn.losses import SequenceLoss
from stcn.model.deployed import DeployedSTCN
from stcn.model.matching import (
    aggregate,
    aggregate_logits,
    dense_affinity,
    dense_readout,
)
from stcn.model.network import STCN
from stcn.model.training import TrainingModel
from stcn.multiscale import merge_volumes

Arrays = Mapping[str, np.ndarray]
Case = Mapping[str, Any]
Outputs = dict[str, Any]


def _t(array: np.ndarray, *, grad: bool = False) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_(grad)


def _loaded(weights: Path | None) -> STCN:
    assert weights is not None, "the case names no manifest"
    return load_network(weights).requires_grad_(False)


def _dense(weights: Tensor, index: Tensor, num_elements: int) -> Tensor:
    """Scattered to (1, N, M) as the records have it."""
    return torch.zeros(len(weights), num_elements).scatter_(1, index, weights).T[None]


def run_memory_read_topk(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """The evaluation memory with its temporary slot."""
    keys, values = _t(inputs["keys"])[:, :, :, 0], _t(inputs["values"])[:, :, :, 0]
    query, out = _t(inputs["query"]), {}
    bank = MemoryBank(case["config"]["top_k"])

    def write(key: Tensor, value: Tensor, *, permanent: bool) -> None:
        bank.write(key, dict(enumerate(value)), permanent=permanent)

    def affinity() -> Tensor:
        return _dense(*bank.weights(query, 0), sum(bank.sizes(0)))

    for key, value in zip(keys[:-1], values[:-1], strict=True):
        write(key, value, permanent=True)
    out["readout_permanent"], out["affinity_permanent"] = bank.read(query), affinity()
    write(keys[-1], values[-1], permanent=False)
    out["readout_with_temp"], out["affinity_with_temp"] = bank.read(query), affinity()
    write(0.5 * keys[-1], 0.5 * values[-1], permanent=False)
    out["readout_temp_replaced"] = bank.read(query)
    write(0.7 * keys[0], 0.7 * values[0], permanent=True)
    out["readout_temp_dropped"] = bank.read(query)
    return out


def run_memory_read_train(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """The training read with gradients."""
    leaves = {name: _t(inputs[name], grad=True) for name in ("mk", "qk", "mv", "qv")}
    affinity = dense_affinity(leaves["mk"].flatten(2), leaves["qk"].flatten(2))
    readout = dense_readout(affinity, leaves["mv"].flatten(2)).unflatten(2, leaves["qk"].shape[2:])
    joint = torch.cat([readout, leaves["qv"]], 1)
    (joint * _t(inputs["cotangent"])).sum().backward()
    grads = {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}
    return {
        "affinity": affinity.detach(),
        "readout": joint.detach(),
        **grads,
    }


def run_memory_read_kernelised(
    case: Case, arrays: Arrays, inputs: Arrays, _: Path | None
) -> Outputs:
    """The kernelised read."""
    config = case["config"]
    bank = MemoryBank(config["top_k"], kernel_sigma=config["sigma"])
    for key, value in zip(_t(inputs["keys"]), _t(inputs["values"]), strict=True):
        bank.write(key[:, :, 0], dict(enumerate(value[:, :, 0])), permanent=True)
    query = _t(inputs["query"])
    weights = _dense(*bank.weights(query, 0), sum(bank.sizes(0)))
    return {"affinity": weights, "readout": bank.read(query)}


def run_aggregate(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """Soft aggregation, evaluation and training form."""
    prob = aggregate(_t(inputs["prob"]))
    spec = case["inputs"]["saturated"]["positive_part_of_sign"]["make_input"]
    draw = np.random.RandomState(spec["seed"]).standard_normal(spec["shape"])
    train = _t(inputs["train_prob"], grad=True)
    logits = aggregate_logits(train, 1)
    soft = logits.softmax(1)[:, 1:]
    total = (logits * _t(inputs["cotangent_logits"])).sum()
    (total + (soft * _t(inputs["cotangent_prob"])).sum()).backward()
    return {
        "eval_keep_bg": prob,
        "eval_no_bg": prob[1:],
        "eval_saturated": aggregate(_t((draw > 0).astype(np.float32))),
        "train_logits": logits.detach(),
        "train_prob": soft.detach(),
        "train_grad": train.grad,
    }


def run_pad_to_16(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """Padding of several sizes."""
    rows = []
    for height, width in case["config"]["sizes"]:
        left, right, top, bottom = pad_to_multiple((height, width))
        padded = (height + top + bottom, width + left + right)
        rows.append([height, width, *padded, left, right, top, bottom])
    return {"table": np.array(rows, dtype=np.int64)}


def run_cbam_block(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """The attention block with gradients."""
    block = _loaded(weights).value_encoder.fuser.attention
    assert block is not None
    block.requires_grad_(True)
    x = _t(inputs["x"], grad=True)
    gated = block.ChannelGate(x)
    pooled = torch.stack([gated.amax(1), gated.mean(1)], 1)
    out = block(x)
    (out * _t(inputs["cotangent"])).sum().backward()
    grads = {f"grad__{name}": p.grad for name, p in block.named_parameters()}
    return {
        "after_channel_gate": gated.detach(),
        "spatial_conv": block.SpatialGate.spatial(pooled).detach(),
        "output": out.detach(),
        "grad_x": x.grad,
        **grads,
    }


def run_fusion_block(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """The fuser with gradients."""
    fuser = _loaded(weights).value_encoder.fuser
    x, f16 = _t(inputs["x"], grad=True), _t(inputs["key_f16"], grad=True)
    first = fuser.block1(torch.cat([x, f16], 1))
    assert fuser.attention is not None
    attention = fuser.attention(first).detach()
    out = fuser(x, f16)
    (out * _t(inputs["cotangent"])).sum().backward()
    return {
        "block1": first.detach(),
        "attention": attention,
        "output": out.detach(),
        "grad_x": x.grad,
        "grad_f16": f16.grad,
    }


def run_decoder(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """Every stage of the decoder; skip features of batch 1 broadcast over the objects."""
    decoder = _loaded(weights).decoder
    f16, f8, f4 = (_t(inputs[name], grad=True) for name in ("f16", "f8", "f4"))
    stages = _hooked(decoder, ["compress", "up_16_8", "up_8_4", "pred"])
    logits = decoder(f16, f8, f4)
    (logits * _t(inputs["cotangent"])).sum().backward()
    grads = {"grad_f16": f16.grad, "grad_f8": f8.grad, "grad_f4": f4.grad}
    return {**stages, "logits": logits.detach(), **grads}


def run_key_encoder(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """Stages of the key encoder and both projections."""
    network = _loaded(weights)
    stages = _hooked(network.key_encoder, ["conv1", "maxpool"])
    features = network.encode_key(_t(inputs["frame"]))
    return {
        **stages,
        "f4": features.f4,
        "f8": features.f8,
        "f16": features.f16,
        "k16": features.key,
        "f16_thin": features.thin,
    }


def run_value_encoder_mo(
    case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None
) -> Outputs:
    """Stages of the value encoder with several objects."""
    network = _loaded(weights)
    frame, f16, masks = (_t(inputs[name]) for name in ("frame", "key_f16", "masks"))
    encoder = network.value_encoder
    stages = _hooked(encoder, ["conv1", "layer1", "layer2", "layer3", "fuser.block2"])
    block1 = _hooked_input(encoder.fuser.block1)
    value = network.encode_value(frame, f16, masks)
    out = {name: stages[name] for name in ("conv1", "layer1", "layer2", "layer3")}
    out["fuser_block1"] = encoder.fuser.block1.forward_shared(*block1)
    out["value"] = value[:, :, None]
    out["value_one_object"] = network.encode_value(frame, f16, masks[:1])[:, :, None]
    return out


def run_value_encoder_so(
    case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None
) -> Outputs:
    """The stage-0 value encoder."""
    network = _stage0(weights)
    stages = _hooked(network.value_encoder, ["conv1", "layer1", "layer3"])
    value = network.value_encoder(*(_t(inputs[name]) for name in ("frame", "key_f16", "mask")))
    return {**stages, "value": value[:, :, None]}


def run_stage0_to_eval(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """A stage-0 file in the evaluation network."""
    network = _loaded(weights)
    frame = _t(inputs["frame"])
    features = network.encode_key(frame)
    value = network.encode_value(frame, features.f16, _t(inputs["masks"]))
    return {"k16": features.key, "value": value[:, :, None]}


def run_train_two_objects(
    case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None
) -> Outputs:
    """Optimiser steps with two objects."""
    return _train(case, inputs, weights, case["config"]["selector"])


def run_train_one_object(
    case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None
) -> Outputs:
    """Optimiser steps of stage 0."""
    return _train(case, inputs, weights, None)


def run_propagate(case: Case, arrays: Arrays, inputs: Arrays, weights: Path | None) -> Outputs:
    """A whole video through the engine, with all of its intermediate records."""
    config = case["config"]
    later = "annotated_frames" in config
    policy = MemoryPolicy(
        mem_every=config["mem_every"],
        include_last=config["include_last"],
        top_k=config["top_k"],
        kernel_sigma=config.get("kmn_sigma"),
    )
    engine = PropagationEngine(DeployedSTCN(_loaded(weights)), policy)
    annotations = {0: inputs["labels"]} if not later else _annotations(inputs)
    ids = sorted({int(v) for labels in annotations.values() for v in np.unique(labels)} - {0})
    required = config.get("req_frames")
    images = _t(inputs["images"])[0]
    prob = torch.zeros(len(images), len(ids) + 1, 1, *images.shape[2:])
    prob[:, 0] = 1e-7
    sizes: list[tuple[int, int]] = []
    out: Outputs = {}
    for t, image in enumerate(images):
        given = annotations.get(t)
        needed = required is None or t in required
        if engine.will_skip(has_mask=given is not None, needed=needed):
            engine.skip()
            continue
        sizes += _read_sizes(engine, per_object=later)
        frame = engine.encode([image])[0]
        if t == 1:
            out.update(_frame1_records(engine, frame))
        step = engine.step(frame, _given(given), last=t == len(images) - 1)
        channels = [0, *(1 + ids.index(object_id) for object_id in engine.object_ids)]
        prob[t, channels, 0] = step
        if t == 0:
            padded = F.pad(_one_hot(annotations[0], ids), frame.pad)
            out["prob_padded_frame0"] = aggregate(padded[:, None])
        if later and t == max(annotations):
            out["prob_at_second_interaction"] = prob[t].clone()
    out["prob"], out["last_frame_prob"] = prob, prob[-1]
    out["labels"] = np.stack([to_index_map(p[:, 0], ids) for p in prob])
    out["memory_sizes"] = np.array(sizes, dtype=np.int64)
    out["pad"] = np.array(pad_to_multiple((images.shape[2], images.shape[3])), dtype=np.int64)
    return {name: out[name] for name in case["outputs"] if name in out}


def run_preprocess(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """Image and mask preparation at several sizes."""
    labels = np.array(case["config"]["labels"], dtype=np.uint8)
    image = normalise(inputs["image"])
    planes = one_hot(labels[inputs["label_index"]], [v for v in labels if v], "cpu")
    out: Outputs = {"normalised": image, "one_hot": planes[:, None]}
    for side in case["config"]["res"]:
        size = inner_size((image.shape[1], image.shape[2]), side)
        out[f"image_res{side}"] = resize_frame(image, size)
        out[f"mask_res{side}"] = resize_masks(planes, size)[:, None]
    return out


def run_output_encoding(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """From padded probabilities to label maps."""
    config = case["config"]
    left, right, top, bottom = config["pad"]
    prob = _t(inputs["prob"])[:, 0]
    prob = prob[:, top : prob.shape[1] - bottom, left : prob.shape[2] - right]
    resized = resize_prob(prob, tuple(config["out_size"]))
    return {
        "resized_prob": resized[:, None],
        "labels": to_index_map(resized, config["labels"]),
        "labels_unresized": to_index_map(prob, range(1, len(prob))),
    }


def run_ms_merge(case: Case, arrays: Arrays, inputs: Arrays, _: Path | None) -> Outputs:
    """Merging of multi-scale options."""
    volumes = [inputs[f"volume_{i}"] for i in range(case["config"]["options"])]
    return {"labels": merge_volumes(volumes, case["config"]["backward"])}


def _stage0(weights: Path | None) -> STCN:
    assert weights is not None
    network = STCN(infer_config(load_state(weights)))
    load_for_training(network, weights)
    return network.eval().requires_grad_(False)


def _hooked(module: nn.Module, names: list[str]) -> Outputs:
    """A dict that receives the outputs of sub-modules at the next forward pass."""
    found: Outputs = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            found[name] = output.detach().clone()

        return hook

    for name in names:
        module.get_submodule(name).register_forward_hook(keep(name))
    return found


def _hooked_input(block: nn.Module) -> list[Tensor]:
    """A list that receives the arguments of the block's next shared forward."""
    found: list[Tensor] = []
    original: Any = block.forward_shared

    def spy(own: Tensor, shared: Tensor) -> Tensor:
        if not found:
            found.extend([own, shared])
        return original(own, shared)

    object.__setattr__(block, "forward_shared", spy)
    return found


def _annotations(inputs: Arrays) -> dict[int, np.ndarray]:
    return {
        int(name.removeprefix("annotation_")): value
        for name, value in inputs.items()
        if name.startswith("annotation_")
    }


def _one_hot(labels: np.ndarray, ids: list[int]) -> Tensor:
    return one_hot(labels, ids, "cpu")


def _given(labels: np.ndarray | None) -> dict[int, Tensor] | None:
    if labels is None:
        return None
    ids = sorted({int(v) for v in np.unique(labels)} - {0})
    return dict(zip(ids, _one_hot(labels, ids), strict=True))


def _read_sizes(engine: PropagationEngine, *, per_object: bool) -> list[tuple[int, int]]:
    """(permanent, temporary) elements of the reads of the coming frame."""
    rows = [engine.memory.sizes(object_id) for object_id in sorted(engine.object_ids)]
    return rows if per_object else rows[:1]


def _frame1_records(engine: PropagationEngine, frame: EncodedFrame) -> Outputs:
    features = frame.features
    values = [engine.memory.stored_values(object_id) for object_id in engine.object_ids]
    return {
        "frame1_k16": features.key,
        "frame1_f8": features.f8,
        "frame1_readout": engine.memory.read(features.key, engine.object_ids),
        "memory_value_first": torch.stack(values).transpose(1, 2),
    }


def _train(
    case: Case, inputs: Arrays, weights: Path | None, selector: list[list[int]] | None
) -> Outputs:
    config = case["config"]
    assert weights is not None
    network = STCN(infer_config(load_state(weights)))
    load_for_training(network, weights)
    model = TrainingModel(network).eval()
    cls = _t(inputs["cls"].astype(np.int64))
    num_objects = 1 if selector is None else 2
    masks = torch.stack([(cls[:, 0] == k + 1).float() for k in range(num_objects)], 1)
    chosen = None if selector is None else torch.tensor(selector).float()
    optimiser = torch.optim.Adam(network.parameters(), lr=config["lr"], weight_decay=1e-7)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, config["steps"], gamma=0.1)
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    out: Outputs = {}
    losses = []
    for step, iteration in enumerate(config["its"]):
        result = model(_t(inputs["rgb"]), masks, chosen)
        logits = [result["logits_1"], result["logits_2"]]
        loss = SequenceLoss()(logits, cls, chosen, iteration)
        losses.append([loss[name].item() for name in ("total_loss", "loss_1", "loss_2")])
        optimiser.zero_grad()
        loss["total_loss"].backward()
        if step == 0:
            out.update(_first_step_records(result, network, num_objects))
        optimiser.step()
        schedule.step()
    after = dict(network.named_parameters())
    for name in case["outputs"]:
        if name.startswith("updated__"):
            key = name.removeprefix("updated__")
            out[name] = (after[key] - start[key]).detach()
    out["losses"] = np.array(losses)
    out["bn1_running_mean_after"] = network.key_encoder.bn1.running_mean
    out["lr_start_and_after"] = np.array([config["lr"], optimiser.param_groups[0]["lr"]])
    return {name: out[name] for name in case["outputs"] if name in out}


def _first_step_records(result: Mapping[str, Tensor], network: STCN, num_objects: int) -> Outputs:
    parameters = dict(network.named_parameters())
    grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    out: Outputs = {f"grad__{name}": grad.clone() for name, grad in grads.items()}
    out["grad_norms"] = np.array([float(grads[name].double().norm()) for name in parameters])
    for t in (1, 2):
        out[f"logits_{t}"] = result[f"logits_{t}"].detach()
        out[f"mask_{t}"] = result[f"masks_{t}"][:, :1].detach()
        if num_objects == 2:
            out[f"sec_mask_{t}"] = result[f"masks_{t}"][:, 1:].detach()
    return out
