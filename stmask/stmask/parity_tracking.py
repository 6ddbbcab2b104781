"""Parity cases of temporal fusion, of the trackers and of whole videos (see `stmask.parity`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.checkpoint import load_network
from stmask.inference.candidates import Candidates, select
from stmask.inference.detections import Detections
from stmask.inference.memory import Memory
from stmask.inference.plain_tracker import PlainTracker
from stmask.inference.settings import InferenceSettings
from stmask.inference.tracker import Tracker
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from stmask.model.temporal import (
    TemporalNet,
    normalized_correlation,
    roi_features,
    temporal_features,
)
from stmask.parity_inference import fields_of, postprocess_case
from stmask.parity_kit import Kit, fill_by_name
from vidseg_common.parity_kit import Case, Comparison

PATCH_SIZE = NetworkSettings.patch_size


class _TemporalPart(nn.Module):
    """A network that can only move instances, filled as a case says."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.TemporalNet = TemporalNet(NetworkSettings())
        fill_by_name(self.TemporalNet, "TemporalNet.", case["gains"])

    def temporal_features(
        self, previous: Tensor, current: Tensor, previous_t2s: Tensor, current_t2s: Tensor
    ) -> Tensor:
        """As of the whole network."""
        return temporal_features(previous, current, previous_t2s, current_t2s, PATCH_SIZE)


@torch.inference_mode()
def run_tf_shift(case: Case, kit: Kit) -> list[Comparison]:
    """Instances of one frame moved to the next."""
    x, part = kit.tensors(case), _TemporalPart(case)
    maps = {name: x[name].relu() for name in ("fpn_ref", "fpn_next", "t2s_ref", "t2s_next")}
    before, after = (_shift_frame(case, x, maps, name) for name in ("ref", "next"))
    concat = part.temporal_features(*maps.values())
    rois = roi_features(concat, before.boxes)
    loc, change = part.TemporalNet(rois)
    moved = Memory.start(before, Detections.of(before)).shifted(part, after).entries
    correlation = normalized_correlation(maps["fpn_ref"], maps["fpn_next"], PATCH_SIZE)
    return kit.compare(
        case,
        {
            "correlation": correlation,
            "concat": concat,
            "roi_features": rois,
            "loc_shift": loc,
            "coeff_shift": change,
            "box": moved.boxes,
            "score": moved.scores,
            "mask_coeff": moved.coeffs,
            "mask": moved.masks,
        },
    )


def _shift_frame(
    case: Case, x: Mapping[str, Tensor], maps: Mapping[str, Tensor], name: str
) -> Candidates:
    """The instances of the case with the features of one of its two frames."""
    n = len(case["boxes"])
    return Candidates(
        boxes=torch.tensor(case["boxes"]),
        coeffs=x["coeff"],
        track=torch.zeros(n, 1),
        classes=torch.ones(n, dtype=torch.long),
        scores=torch.tensor(case["scores"]),
        centerness=torch.zeros(n),
        proto=x["proto"].relu(),
        fpn_feat=maps[f"fpn_{name}"],
        t2s_feat=maps[f"t2s_{name}"],
    )


def run_tracker_tf(case: Case, kit: Kit) -> list[Comparison]:
    """The tracker with temporal fusion on drawn features."""
    tracker = Tracker(_TemporalPart(case), InferenceSettings())
    outputs: dict[str, Any] = {}
    for t, frame in enumerate(_drawn_frames(case, kit, is_squashed=False)):
        outputs |= _tracked(f"f{t}", tracker, tracker.step(frame))
    return _compare_recorded(case, kit, outputs)


def _tracked(prefix: str, tracker: Tracker, shown: Detections) -> dict[str, Any]:
    """Everything that may be recorded of a frame."""
    assert tracker.memory is not None
    memory = tracker.memory
    values: dict[str, Any] = {"box_ids": shown.ids, "mask": shown.masks, **fields_of(shown)}
    values |= {f"memory.{name}": value for name, value in fields_of(memory.entries).items()}
    values |= {"memory.tracked_mask": memory.lost, "comp_scores": tracker.match_totals}
    return {f"{prefix}.{name}": value for name, value in values.items()}


def run_video(case: Case, kit: Kit) -> list[Comparison]:
    """Whole frames in order, as trained: from images to results at the size of the video."""
    network, _ = load_network(kit.weights(kit.manifest_of(case)))
    # One pixel of the records lies within rounding of the threshold 0.5: the order of summation
    # decides it, and that depends on the number of threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return _compare_recorded(case, kit, _video_outputs(case, kit, network.eval()))
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _video_outputs(case: Case, kit: Kit, network: STMask) -> dict[str, Any]:
    x = kit.tensors(case)
    tracker = Tracker(network, InferenceSettings())
    outputs: dict[str, Any] = {}
    for t in range(case["frames"]):
        noise = case["noise_scale"] * x[f"noise{t}"] if t else 0
        found = select(network(x["base"] + noise), 0, tracker.settings)
        shown = tracker.step(found)
        result = postprocess_case(case, shown)
        outputs |= _tracked(f"f{t}", tracker, shown) | {
            f"f{t}.post.box": result.boxes,
            f"f{t}.post.segm": result.masks,
            f"f{t}.post.segm_area": result.masks.sum((1, 2)),
        }
    return outputs


def run_tracker_plain(case: Case, kit: Kit) -> list[Comparison]:
    """The tracker without temporal fusion."""
    tracker = PlainTracker(InferenceSettings(temporal_fusion_module=False))
    outputs: dict[str, Any] = {}
    for t, frame in enumerate(_drawn_frames(case, kit, is_squashed=True)):
        found = tracker.step(frame)
        shown = {"box_ids": found.ids, **fields_of(found)}
        outputs |= {f"f{t}.{name}": value for name, value in shown.items()}
    return _compare_recorded(case, kit, outputs)


def _compare_recorded(case: Case, kit: Kit, outputs: Mapping[str, Any]) -> list[Comparison]:
    """What was recorded of all that there is: later frames have fewer outputs."""
    recorded = kit.recorded(case)
    return kit.compare(case, {name: x for name, x in outputs.items() if name in recorded})


def _drawn_frames(case: Case, kit: Kit, *, is_squashed: bool) -> Iterator[Candidates]:
    """The detections of a case, with the features of frame t mod "distinct"."""
    x = kit.tensors(case)
    embeddings = F.normalize(x["embeddings"])
    coeffs = x["coeffs"].tanh() if is_squashed else x["coeffs"]
    for t, found in enumerate(case["detections"]):
        k, n, rows = t % case["distinct"], len(found["boxes"]), _whole(found["object"])
        yield Candidates(
            boxes=torch.tensor(found["boxes"]).view(n, 4),
            coeffs=coeffs[rows],
            track=embeddings[rows],
            classes=_whole(found["classes"]),
            scores=torch.tensor(found["scores"]).view(n),
            centerness=torch.tensor(found["centerness"]).view(n),
            proto=x[f"proto{k}"].relu(),
            fpn_feat=x[f"fpn{k}"].relu(),
            t2s_feat=x[f"t2s{k}"].relu(),
        )


def _whole(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)
