"""Recorded cases of joining clips: cost matrices and the tracks of whole videos."""

from __future__ import annotations

import json

import numpy as np
from torch import Tensor

from devis.config import load_config
from devis.data.clips import clips_of_video
from devis.inference.results import finish
from devis.inference.tracking import ClipOutput, ClipTracker
from devis.parity_kit import Kit
from vidseg_common.parity_kit import Case, Comparison

#: Number of the recorded video.
VIDEO_ID = 10


def run_track(case: Case, kit: Kit) -> list[Comparison]:
    """Every cost matrix, and the entries of the result file."""
    config, inputs = case["config"], kit.tensors(case)
    opts = [word for pair in config["overrides"].items() for word in pair]
    settings = load_config(config["yaml"], opts).TEST.CLIP_TRACKING
    height, width = config["video_size_hw"]
    tracker = ClipTracker(settings, config["frames"], (height, width))
    video = clips_of_video(config["video_length"], config["frames"], settings.STRIDE)
    for number in range(len(video.clips)):
        is_last = number == len(video.clips) - 1
        tracker.step(_clip(inputs, number), video.last_start if is_last else 0)
    results = finish((track.frames for track in tracker.tracks), settings)
    outputs = {
        "text_result_json": json.dumps([result.entry(VIDEO_ID) for result in results]),
        "text_cost_shapes": json.dumps([list(cost.shape) for cost in tracker.costs]),
    }
    if "costs" in case["outputs"]:
        flat = np.concatenate([cost.reshape(-1) for cost in tracker.costs])
        return kit.compare(case, {**outputs, "costs": flat})
    return kit.compare(case, outputs)


def _clip(inputs: dict[str, Tensor], number: int) -> ClipOutput:
    names = ("scores", "labels", "center_points", "boxes", "masks", "inverse_idxs")
    return ClipOutput(*(inputs[f"clip{number}_{name}"] for name in names))
