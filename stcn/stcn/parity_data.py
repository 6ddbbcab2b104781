"""Parity cases of the training data and losses: recorded inputs in, our outputs out.

Every function takes one entry of a kit's ``cases.json``, the arrays of its record and the inputs
already made from their rules, and returns the outputs by their recorded names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from stcn.data.curriculum import FIRST_JUMP, skip_schedule
from stcn.data.sampling import choose_frames
from stcn.data.static_dataset import ImagePair, StaticTrainingSet
from stcn.data.tps import evaluate_grid, fit_spline, make_warp, pick_points
from stcn.data.video_dataset import BL30K_SCALE, ObjectFilter, VideoSetOptions, VideoTrainingSet
from stcn.losses import BootstrapSchedule, SequenceLoss, bootstrapped_cross_entropy, iou_sums
from vidseg_common.datasets.records import VideoRecord

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]


def run_loss_bootstrapped_ce(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Bootstrapped cross entropy of one sample at several iterations, with gradients."""
    schedule = BootstrapSchedule()
    outputs: dict[str, np.ndarray] = {}
    losses, fractions = [], []
    target = torch.from_numpy(inputs["target"])
    for iteration in case["config"]["its"]:
        logits = torch.from_numpy(inputs["logits"]).clone().requires_grad_()
        fraction = schedule.fraction(iteration)
        loss = bootstrapped_cross_entropy(logits, target, fraction).mean()
        (grad,) = torch.autograd.grad(loss, logits)
        outputs[f"grad_it{iteration}"] = grad.numpy()
        losses.append(loss.item())
        fractions.append(fraction)
    outputs["loss"] = np.asarray(losses)
    outputs["p"] = np.asarray(fractions)
    return outputs


def run_loss_computer(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Total training loss, its gradients and the IoU sums, with two objects and with one."""
    selector = torch.tensor(case["config"]["selector"], dtype=torch.float32)
    cls_gt = torch.from_numpy(inputs["cls_gt"]).clone()
    cls_gt[(selector[:, 1] == 0)[:, None, None, None] & (cls_gt == 2)] = 0
    outputs: dict[str, np.ndarray] = {}
    names = ("logits_1", "logits_2")
    for iteration in case["config"]["its"]:
        logits = [torch.from_numpy(inputs[name]).clone().requires_grad_() for name in names]
        losses = SequenceLoss()(logits, cls_gt, selector, iteration)
        grads = torch.autograd.grad(losses["total_loss"], logits)
        prefix = f"it{iteration}"
        outputs[f"{prefix}_total_loss1_loss2_p"] = _loss_row(losses)
        outputs[f"{prefix}_iou_sums"] = _iou_row(logits, cls_gt)
        for name, grad in zip(names, grads, strict=True):
            outputs[f"{prefix}_grad_{name}"] = grad.numpy()
    logits = [torch.from_numpy(inputs[f"single_{name}"]).clone().requires_grad_() for name in names]
    losses = SequenceLoss()(logits, (cls_gt == 1).long(), None, 45_000)
    outputs["single_total_loss1_loss2_p"] = _loss_row(losses)
    outputs["single_grad_logits_1"] = torch.autograd.grad(losses["total_loss"], logits[0])[
        0
    ].numpy()
    return outputs


def _loss_row(losses: Mapping[str, torch.Tensor]) -> np.ndarray:
    return np.asarray([losses[k].item() for k in ("total_loss", "loss_1", "loss_2", "p")])


def _iou_row(logits: list[torch.Tensor], cls_gt: torch.Tensor) -> np.ndarray:
    """Return intersection and union of the target, then those of the second object."""
    row: list[float] = []
    probs = [frame.softmax(dim=1) for frame in logits]
    for channel in (1, 2):
        masks = [prob[:, channel : channel + 1] for prob in probs]
        sums = iou_sums(masks, (cls_gt == channel).float()[:, :, None])
        row.extend(s.item() for s in sums)
    return np.asarray(row)


def run_frame_sampling(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Frame choice for videos of several lengths and jumps."""
    config = case["config"]
    rows: list[tuple[int, ...]] = []
    for length, jump in config["pairs"]:
        rng = np.random.RandomState(config["seed"] + 100 * length + jump)
        draws = range(config["draws"])
        rows.extend((length, jump, *choose_frames(length, jump, rng)) for _ in draws)
    return {"table": np.asarray(rows, dtype=np.int64)}


def run_skip_schedule(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Skip in force: the first epoch of every constant stretch, and the last epoch of all."""
    rows: list[tuple[int, ...]] = []
    last: tuple[int, ...] = ()
    for stage, iterations, length, resumed in case["config"]["runs"]:
        schedule = skip_schedule(stage, iterations, length)
        previous = None
        for epoch in range(schedule.start_epoch(resumed), schedule.num_epochs):
            jump = schedule.max_jump(epoch)
            last = (stage, iterations, length, resumed, epoch, jump)
            if jump != previous:
                rows.append(last)
            previous = jump
    if not rows or rows[-1] != last:
        rows.append(last)
    return {"changes": np.asarray(rows, dtype=np.int64)}


def run_tps_warp(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Thin-plate-spline warp for given control points, step by step."""
    config = case["config"]
    height, width = config["h"], config["w"]
    c_src = inputs["c_src"]
    c_dst = c_src + inputs["displacement"]
    theta = fit_spline(c_dst, c_src - c_dst)
    warp = make_warp(c_src, c_dst, height, width)
    image = inputs["image"].repeat(2, axis=0).repeat(2, axis=1)
    return {
        "theta": theta[1:],
        "theta_full": theta,
        "grid": evaluate_grid(c_dst, theta, height, width),
        "mapx": warp.map_x,
        "mapy": warp.map_y,
        "warped_image": warp.image(image),
        "warped_mask": warp.mask(inputs["mask"]),
        "picked_points": pick_points(
            height, width, np.random.RandomState(config["seed"]), config["n"]
        ),
    }


def run_dataset_static(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Whole samples of the static-image data set, at given seeds."""
    config = case["config"]
    size = (config["w"], config["h"])
    outputs: dict[str, np.ndarray] = {}
    with TemporaryDirectory() as folder:
        pair = ImagePair(Path(folder, "image.png"), Path(folder, "mask.png"))
        Image.fromarray(inputs["image"]).resize(size, Image.Resampling.BILINEAR).save(pair.image)
        Image.fromarray(inputs["mask"]).save(pair.mask)
        dataset = StaticTrainingSet([pair], crop_size=_recorded_side(case))
        for seed in config["seeds"]:
            sample = dataset.sample(0, np.random.RandomState(seed), FIRST_JUMP)
            outputs[f"rgb_seed{seed}"] = sample["rgb"].numpy()
            outputs[f"gt_seed{seed}"] = sample["gt"].numpy()
            fraction = sample["cls_gt"].double().mean(dim=(1, 2))
            outputs[f"cls_fraction_seed{seed}"] = fraction.numpy()
    return outputs


def run_dataset_video(case: dict[str, Any], arrays: Arrays, inputs: Arrays) -> Outputs:
    """Whole samples of the video data set, at given seeds."""
    config = case["config"]
    outputs: dict[str, np.ndarray] = {}
    options = VideoSetOptions(_recorded_side(case))
    if config["is_bl"]:
        options = replace(options, crop_scale=BL30K_SCALE, object_filter=ObjectFilter())
    with TemporaryDirectory() as folder:
        dataset = VideoTrainingSet([_write_video(case, Path(folder))], options)
        for seed, frames in zip(config["seeds"], config["frames"], strict=True):
            sample = dataset.sample(0, np.random.RandomState(seed), config["jump"])
            if sample["info"]["frames"] != frames:
                raise ValueError(f"frames {sample['info']['frames']} chosen, recorded: {frames}")
            for name in ("rgb", "cls_gt", "selector"):
                outputs[f"{name}_seed{seed}"] = sample[name].numpy()
    return outputs


def _recorded_side(case: dict[str, Any]) -> int:
    """Return the side of the recorded samples in pixels."""
    return int(case["outputs"][f"rgb_seed{case['config']['seeds'][0]}"]["shape"][-1])


def _write_video(case: dict[str, Any], folder: Path) -> VideoRecord:
    """Write the frames and annotations that the case describes in words."""
    config = case["config"]
    height, width = config["h"], config["w"]
    rule = case["inputs"]["frame_i"]["make_input"]
    frames, masks = [], {}
    for i in range(config["n"]):
        rng = np.random.RandomState(config["seed"] + i)
        pixels = rng.randint(rule["low"], rule["high"], rule["shape"]).astype(rule["dtype"])
        frame = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        frames.append(folder / f"{i:05d}.png")
        frame.save(frames[-1])
        masks[i] = folder / f"mask_{i:05d}.png"
        mask = Image.fromarray(_annotation(height, width, 0.03 * i))
        mask.putpalette(list(range(256)) * 3)
        mask.save(masks[i])
    return VideoRecord("video", tuple(frames), masks)


def _annotation(height: int, width: int, shift: float) -> np.ndarray:
    """Return the label map of a frame: an ellipse, a box over it, and another ellipse."""
    y, x = np.mgrid[:height, :width] / np.asarray([height, width])[:, None, None]

    def box(top: float, bottom: float, left: float, right: float) -> np.ndarray:
        return (y >= top) & (y < bottom) & (x >= left) & (x < right)

    def ellipse(top: float, bottom: float, left: float, right: float) -> np.ndarray:
        down = (2.0 * y - top - bottom) / (bottom - top)
        across = (2.0 * x - left - right) / (right - left)
        return down**2 + across**2 <= 1.0

    labels = np.zeros((height, width), dtype=np.uint8)
    labels[ellipse(0.1 + shift, 0.6 + shift, 0.1, 0.6)] = 1
    labels[box(0.5, 0.9, 0.5 - shift, 0.95 - shift)] = 2
    labels[ellipse(0.05, 0.3, 0.7, 0.95)] = 4
    return labels
