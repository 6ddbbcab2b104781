"""Recorded cases of data: converters, parsing and pairs, pipelines, sizes, learning rates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vatrack.data.annotations import AnnotatedFrames, matches
from vatrack.data.frames import frame_path, read_frame
from vatrack.data.settings import DatasetSettings, PipelineSettings
from vatrack.data.transforms import prepare_frame
from vatrack.inference.preprocess import prepare
from vatrack.inference.settings import InferenceSettings
from vatrack.parity_kit import Kit
from vatrack.pixels import fitted_size
from vatrack.schedules import Schedule
from vidseg_common.datasets.sailvos_kinds import from_plain, kind_of, to_plain
from vidseg_common.parity.conversion import check as check_conversion
from vidseg_common.parity_kit import Case, Comparison

#: Recorded kinds of annotation: masks, whether two boxes are wanted, entry of the image scale.
KINDS = {
    "joint": ("joint", False, "scale"),
    "both": ("joint", True, "scale_both"),
    "visible": ("visible", False, "scale"),
}


def run_conversion(case: Case, kit: Kit) -> list[Comparison]:
    """The three steps from raw annotations to every kind; they are shared, so is the check."""
    return [Comparison(*compared) for compared in check_conversion(kit.folder, dict(case))]


def run_lr(case: Case, kit: Kit) -> list[Comparison]:
    """Learning rates of the iterations that were recorded, by length of the warm-up."""
    inputs = kit.inputs(case)
    length = int(inputs["iters_per_epoch"][0])
    outputs = {}
    for name in case["outputs"]:
        warmup = int(name.removeprefix("lr_warmup"))
        schedule = Schedule(warmup_iters=warmup, warmup_ratio=1 / warmup)
        outputs[name] = np.array([schedule.at(int(i), length) for i in inputs["iters"]])
    return kit.compare(case, outputs)


def run_preprocess(case: Case, kit: Kit) -> list[Comparison]:
    """Frames as the network takes them, and sizes of many more."""
    inputs, config = kit.inputs(case), case["config"]
    outputs: dict[str, Any] = {}
    for index, (_, _, scale) in enumerate(config["imgs"]):
        image = np.ascontiguousarray(inputs[f"image{index}"][..., ::-1])
        tensor, sizes = prepare(image, InferenceSettings(img_scale=tuple(scale)))
        outputs |= {
            f"tensor{index}": tensor[None],
            f"img_shape{index}": np.array([*sizes.img_hw, 3]),
            f"pad_shape{index}": np.array([*sizes.pad_hw, 3]),
            f"scale_factor{index}": sizes.scale_factor,
        }
    fitted = [fitted_size((h, w), tuple(scale)) for w, h, scale in config["sizes"]]
    outputs["rescale_size"] = np.array([(w, h) for h, w in fitted])
    return kit.compare(case, outputs)


def run_dataset(case: Case, kit: Kit) -> list[Comparison]:
    """Annotations of three kinds, read and brought to tensors, with and without a mirror."""
    folder = kit.scratch / case["name"]
    inputs = kit.inputs(case)
    for name, pixels in zip(inputs["image_files"], inputs["images_bgr"], strict=True):
        path = folder / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    source = json.loads((kit.folder / "dataset_input.json").read_text())
    outputs: dict[str, Any] = {}
    for name in KINDS:
        data = _open(name, source, folder, case)
        outputs |= {f"{name}_{key}": value for key, value in _parsed(data)}
        for flip in (False, True):
            values = _piped(data, case, is_flipped=flip)
            outputs |= {f"{name}_flip{int(flip)}_{key}": value for key, value in values.items()}
        if name == "joint":
            outputs["reference_candidates"] = _references(data)
    return kit.compare(case, outputs)


def _open(name: str, source: dict[str, Any], folder: Path, case: Case) -> AnnotatedFrames:
    """The recorded annotations, which are joint ones, in another kind."""
    masks, two_boxes, scale = KINDS[name]
    wanted = kind_of(masks, "both" if two_boxes else None)
    plain = [to_plain(item, kind_of("joint", "amdl")) for item in source["annotations"]]
    path = folder / f"{name}.json"
    annotations = [from_plain(item, wanted) for item in plain]
    path.write_text(json.dumps({**source, "annotations": annotations}))
    pipeline = PipelineSettings(img_scale=tuple(case["config"][scale]))
    settings = DatasetSettings(
        path,
        folder,
        masks=masks,  # type: ignore[arg-type]
        two_boxes=two_boxes,
        drop_empty=True,
        pipeline=pipeline,
    )
    return AnnotatedFrames(settings)


def _parsed(data: AnnotatedFrames) -> Iterator[tuple[str, Any]]:
    yield "train_image_ids", np.array([data.image_ids[index] for index in data.keys])
    yield "group_flag", data.groups
    for row, index in enumerate(data.keys):
        objects = data.objects(int(index))
        boxes = [objects.boxes, objects.visible_boxes]
        yield f"bboxes_{row}", np.stack(boxes) if data.settings.two_boxes else objects.boxes  # type: ignore[arg-type]
        yield f"labels_{row}", objects.labels
        yield f"instances_{row}", objects.instances


def _references(data: AnnotatedFrames) -> np.ndarray:
    """Ids of the frames a reference is drawn of, padded with -1."""
    found = [data.references(int(index), data.settings.scope) for index in data.keys]
    ids = [[data.image_ids[i] for i in row] for row in found]
    width = max(map(len, ids))
    return np.array([row + [-1] * (width - len(row)) for row in ids])


def _piped(data: AnnotatedFrames, case: Case, *, is_flipped: bool) -> dict[str, Any]:
    """Tensors of the recorded key frame and reference."""
    pair = [int(data.keys[case["config"][role]]) for role in ("key", "ref")]
    first, second = (data.objects(index) for index in pair)
    values: dict[str, Any] = {}
    for prefix, index, one, other in (
        ("", pair[0], first, second),
        ("ref_", pair[1], second, first),
    ):
        image = read_frame(frame_path(data.settings.img_prefix, data.file_name(index)))
        tensor, target = prepare_frame(
            image, one, matches(one, other), data.settings.pipeline, is_flipped=is_flipped
        )
        boxes = [target.boxes, *([target.visible_boxes] if data.settings.two_boxes else [])]
        masks = [m.numpy() for m in (target.amodal_masks, target.masks) if m is not None]
        stacked = np.stack(masks) if data.settings.masks == "joint" else masks[0]
        values |= {
            f"{prefix}img": tensor,
            f"{prefix}gt_bboxes": boxes[0] if len(boxes) == 1 else np.stack(boxes),  # type: ignore[arg-type]
            f"{prefix}gt_match_indices": target.match,
            f"{prefix}gt_masks": stacked.astype(bool),
            f"{prefix}gt_masks_shape": np.array(stacked.shape),
        }
        if not prefix:
            factor = np.array(target.img_shape, np.float64) / image.shape[:2]
            values["gt_labels"] = target.labels
            values["scale"] = np.tile(factor[::-1], 2)
            frame = data.places[index, 1]
            values["meta"] = np.array(
                [*target.img_shape, 3, *target.pad_shape, 3, *image.shape, frame, int(is_flipped)]
            )
    return values
