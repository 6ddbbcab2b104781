"""Recorded cases of inputs and of predictions: sizes, clips, batches, what is kept."""

from __future__ import annotations

import json
from typing import Any

import torch

from devis.data.clip_sample import clip_sample, crop, flip, resize
from devis.data.clip_target import clip_images, clip_target
from devis.data.clips import bounce, clips_of_video, training_starts
from devis.data.resize import pad_batch, preprocess
from devis.inference.selection import paste_masks, select_clip, select_images
from devis.parity_kit import Kit
from vidseg_common.parity_kit import Case, Comparison


def run_preprocess_val(case: Case, kit: Kit) -> list[Comparison]:
    """Resized and normalised images; frames and images of COCO go the same way."""
    images, config = kit.inputs(case), case["config"]
    names = {name: images[name.split("_", 1)[1]] for name in case["outputs"]}
    sizes = config["min_size"], config["max_size"]
    return kit.compare(case, {name: preprocess(image, *sizes) for name, image in names.items()})


def run_batch_padding(case: Case, kit: Kit) -> list[Comparison]:
    """Clips of two sizes in one batch."""
    inputs = kit.tensors(case)
    padded = pad_batch([inputs["a"], inputs["b"]])
    outputs = {"tensors": padded.images, "exact_mask": padded.mask.to(torch.uint8)}
    return kit.compare(case, outputs)


def run_clips_of_video(case: Case, kit: Kit) -> list[Comparison]:
    """How videos of many lengths are cut."""
    config = case["config"]
    table = {
        f"T{frames}_stride{stride}": [_clips(n, frames, stride) for n in config["lengths"]]
        for frames, stride in config["clip_and_stride"]
    }
    return kit.compare(case, {"text_clips": json.dumps(table)})


def _clips(length: int, num_frames: int, stride: int) -> dict[str, Any]:
    cut = clips_of_video(length, num_frames, stride)
    return {
        "clips": cut.clips,
        "final_video_length": length,
        "last_real_idx": cut.last_start,
        "length": length,
        "real_video_length": cut.real_length,
    }


def run_train_sampling(case: Case, kit: Kit) -> list[Comparison]:
    """Start frames and frames of training clips, for the same lengths as recorded."""
    recorded = json.loads(str(kit.arrays(case)["out.text_samples"]))
    made = []
    for row in recorded:
        keys = {key: row[key] for key in ("T", "sample_each_frame", "length")}
        starts = training_starts(row["length"], row["T"], each_frame=row["sample_each_frame"])
        frames = [[start, bounce(row["length"], start, row["T"])] for start in starts]
        made.append(keys | {"start_and_frames": frames})
    return kit.compare(case, {"text_samples": json.dumps(made)})


def run_postprocess_clip(case: Case, kit: Kit) -> list[Comparison]:
    """Predictions of a clip."""
    inputs, config = kit.tensors(case), case["config"]
    kept = select_clip(
        inputs["logits"],
        1.4 * inputs["box_logits"].sigmoid() - 0.2,
        num_frames=config["frames"],
        real_frames=config["real_frames"],
        size=tuple(config["video_size_hw"]),
        num_out=config["num_out"],
    )
    outputs = {
        "exact_query_index": kept.queries,
        "scores": kept.scores,
        "exact_labels": kept.labels,
        "center_points": kept.centers,
        "boxes": kept.boxes,
    }
    return kit.compare(case, outputs)


def run_postprocess_image(case: Case, kit: Kit) -> list[Comparison]:
    """Predictions and masks of a batch of images."""
    inputs, config = kit.tensors(case), case["config"]
    sizes = [(h, w) for h, w in config["original_sizes"]]
    network = [(h, w) for h, w in config["network_sizes"]]
    boxes = inputs["box_logits"].sigmoid()
    kept = select_images(inputs["logits"], boxes, sizes, config["num_out"])
    padded = max(h for h, _ in network), max(w for _, w in network)
    masks = paste_masks(inputs["masks"], padded, network, sizes)
    outputs: dict[str, Any] = {"exact_query_index": kept.queries}
    for index, mask in enumerate(masks):
        outputs |= {
            f"scores{index}": kept.scores[index],
            f"exact_labels{index}": kept.labels[index],
            f"boxes{index}": kept.boxes[index],
            f"mask_masks{index}": mask.to(torch.uint8),
        }
    return kit.compare(case, outputs)


def run_train_targets(case: Case, kit: Kit) -> list[Comparison]:
    """A training clip and its target, with every random choice given."""
    inputs, config = kit.inputs(case), case["config"]
    frames = [inputs[f"frame{index}"] for index in range(config["frames"])]
    annotations = json.loads(str(inputs["annotations_json"]))
    sample = clip_sample(frames, annotations, range(config["frames"]))
    is_flip = config["crop_or_flip"] == "flip"
    sample = flip(sample) if is_flip else crop(sample, *config["crop_or_flip"])
    sample = resize(sample, config["resize_short"], config["resize_max"])
    target = clip_target(sample, boxes_from_masks=is_flip)
    outputs = {
        "images": clip_images(sample),
        "boxes": target.boxes,
        "centroids": target.centroids,
        "exact_labels": target.labels + 1,  # recorded before the background is taken out
        "exact_valid": target.valid,
        "exact_area": target.area,
        "exact_masks": target.masks.to(torch.uint8),
        "exact_size": target.size,
    }
    return kit.compare(case, outputs)
