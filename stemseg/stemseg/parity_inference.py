"""Parity cases of inference: from frames to result files (see `stemseg.parity`)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stemseg.commands import filter_mots
from stemseg.config import load_config, merge
from stemseg.drawing import color_map, overlay_mask
from stemseg.inference.chain import Chainer, ClipMaps
from stemseg.inference.classes import ClassScores, ClassVotes
from stemseg.inference.clips import subsequences
from stemseg.inference.cluster import ClusterRule, cluster
from stemseg.inference.engine import VideoTracks
from stemseg.inference.labels import LabelStore, statistics_of
from stemseg.inference.preprocess import (
    InputRule,
    frame_geometry,
    input_dims,
    network_scale,
    prepare,
    to_picture,
)
from stemseg.inference.settings import data_section
from stemseg.outputs import davis, kitti_mots, youtube_vis
from stemseg.outputs.postprocess import Filters, filter_folder, read_objects
from stemseg.parity_kit import Case, Comparison, Kit, exact
from vidseg_common import rle
from vidseg_common.errors import UserError

#: Name of a data set in the records to the configuration of its released model.
CONFIGS = {
    "davis": "davis_2",
    "ytvis": "youtube_vis",
    "youtube_vis": "youtube_vis",
    "kittimots": "kitti_mots_2",
    "kitti_mots": "kitti_mots_2",
}
_PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def run_resize_rules(case: Case, kit: Kit) -> list[Comparison]:
    """Network input size of images."""
    rows = []
    for (width, height), (min_dim, max_dim) in case["inputs"]:
        found = frame_geometry((height, width), InputRule(min_dim, max_dim, *_PLAIN))
        scale = network_scale((height, width), min_dim, max_dim)
        rows.append([list(found.network[::-1]), scale, list(found.padding)])
    return [exact("sizes", rows, case["expected"])]


def run_input_dim_flags(case: Case, kit: Kit) -> list[Comparison]:
    """Effect of --min_dim and --max_dim."""
    rows = []
    for variant, flags in case["inputs"]:
        section = load_config(CONFIGS[variant]).INPUT
        rows.append(input_dims((section.MIN_DIM, section.MAX_DIM), *flags))
    return [exact("dims", rows, case["expected"])]


def run_preprocess(case: Case, kit: Kit) -> list[Comparison]:
    """Input tensor of a frame, and the frame recovered from it."""
    frame = kit.inputs(case)["images"][1]
    outputs: dict[str, Any] = {}
    for i, section in enumerate(case["config"]):
        rule = InputRule.from_config(merge(load_config("defaults"), {"INPUT": section}))
        x, geometry = prepare(frame, rule)
        outputs[f"conf{i}"] = x
        outputs[f"size{i}"] = np.asarray(geometry.network)
        outputs[f"back{i}"] = to_picture(x, rule)
    return kit.compare(case, outputs)


def run_subsequences(case: Case, kit: Kit) -> list[Comparison]:
    """Clips of videos of several lengths."""
    rows = []
    for row in case["inputs"]:
        overlap = row["frame_overlap"]
        if overlap <= 0:
            overlap = data_section(load_config(CONFIGS[row["dataset"]])).INFERENCE_FRAME_OVERLAP
        clips = subsequences(row["seq_len"], row["clip_len"], overlap)
        padded = [[i < clip.num_padded for i in range(len(clip.frames))] for clip in clips]
        rows.append(
            {
                "clips": [list(clip.frames) for clip in clips],
                "padded": padded[0] if clips[0].num_padded else None,
            }
        )
    return [exact("clips", rows, case["expected"])]


def _cluster_rule(config: dict[str, Any]) -> ClusterRule:
    return ClusterRule(
        min_seediness=config["min_seediness_prob"],
        primary_prob=config["primary_prob_thresh"],
        secondary_prob=config["secondary_prob_thresh"],
        free_dim_stds=tuple(config["free_dim_stds"]),
        max_instances=config["max_instances"],
    )


def run_cluster(case: Case, kit: Kit) -> list[Comparison]:
    """Clusters of points."""
    inputs = {k: torch.from_numpy(v).float() for k, v in kit.inputs(case).items()}
    found = cluster(
        inputs["embeddings"].T.contiguous(),
        inputs["bandwidths"].T.contiguous(),
        inputs["seediness"].reshape(-1),
        _cluster_rule(case["config"]),
        first_label=case["config"]["cluster_label_start"],
        with_masks=True,
    )
    outputs = {
        "labels": found.labels,
        "centers": found.centers,
        "stds": found.stds,
        "instance_labels": np.asarray(found.instance_labels),
        "primary_masks": found.primary_masks,
    }
    return kit.compare(case, {name: outputs[name] for name in case["outputs"]})


def run_chainer(case: Case, kit: Kit) -> list[Comparison]:
    """Tracks of overlapping clips."""
    inputs = {k: torch.from_numpy(v) for k, v in kit.inputs(case).items()}
    scale = int(case["config"]["resize_scale"])
    foreground = inputs["masks"] > 0
    chainer = Chainer(_cluster_rule(case["config"]), scale=scale)
    maps: dict[int, np.ndarray] = {}
    outputs: dict[str, Any] = {}
    instance_labels = []
    for i, frames in enumerate(case["config"]["clips"]):
        parts = [inputs[f"{name}{i}"].float() for name in ("embeddings", "bandwidths", "seediness")]
        found = chainer.add(ClipMaps(tuple(frames), *parts), {t: foreground[t] for t in frames})
        instance_labels.append(found.instance_labels)
        outputs[f"clip_map{i}"] = torch.stack([found.label_map(t) for t in frames])
        maps.update({t: found.label_map(t).numpy() for t in found.new_frames})
    ordered = [maps[t] for t in sorted(maps)]
    outputs["track_map"] = np.stack(ordered)
    counted = statistics_of(ordered).of_label
    expected = case["expected"]
    return [
        *kit.compare(case, outputs),
        exact("counts", {k: x.num_pixels for k, x in counted.items()}, expected["counts"]),
        exact("lifetimes", {k: x.lifetime for k, x in counted.items()}, expected["lifetimes"]),
        exact("clip_labels", instance_labels, expected["clip_labels"]),
    ]


def run_visualisation(case: Case, kit: Kit) -> list[Comparison]:
    """Colour map and overlays."""
    inputs = kit.inputs(case)
    image, mask = inputs["images"][0], inputs["mask"]
    outputs = {
        "color_map": color_map(),
        "overlay": overlay_mask(image, mask, (10, 200, 90)),
        "overlay_03": overlay_mask(image, mask, (255, 0, 0), 0.3),
    }
    return kit.compare(case, outputs)


def run_kitti_mots_postprocessing(case: Case, kit: Kit) -> list[Comparison]:
    """Filtered result file, byte for byte."""
    folder = kit.scratch / case["name"] / "results"
    folder.mkdir(parents=True)
    (folder / "0007.txt").write_text("".join(f"{x}\n" for x in case["inputs"]["lines"]))
    arguments = case["inputs"].get("arguments", {})
    words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    with redirect_stdout(io.StringIO()):
        filter_mots.main([str(folder), *words])
    text = (folder.with_name("results_nms") / "0007.txt").read_text()
    return [exact("text", text, case["expected"]["text"])]


def _recorded_tracks(config: dict[str, Any], track_map: np.ndarray) -> VideoTracks:
    """Tracks of label maps at stride 4 of a padded input."""
    rule = InputRule(config["min_dim"], config["max_dim"], *_PLAIN)
    geometry = frame_geometry((config["image_height"], config["image_width"]), rule)
    if list(geometry.padded) != list(config["padded"]):
        raise UserError(f"padded size {geometry.padded}, recorded: {config['padded']}")
    labels = LabelStore()
    for frame in track_map:
        labels.append(frame)
    return VideoTracks(geometry, labels, statistics_of(track_map))


def run_output(case: Case, kit: Kit) -> list[Comparison]:
    """Result files of given tracks."""
    inputs = kit.inputs(case)
    tracks = _recorded_tracks(case["config"], inputs["track_map"])
    counted = tracks.statistics.of_label
    statistics = [
        exact(name, {k: getattr(x, field) for k, x in counted.items()}, case["config"][name])
        for name, field in (("counts", "num_pixels"), ("lifetimes", "lifetime"))
    ]
    if "category_logits" in inputs:
        return statistics + _output_youtube_vis(case, kit, tracks, inputs)
    if "category_map" in inputs:
        return statistics + _output_kitti_mots(case, kit, tracks, inputs)
    return statistics + _output_davis(case, kit, tracks, inputs)


def _output_davis(
    case: Case, kit: Kit, tracks: VideoTracks, inputs: dict[str, np.ndarray]
) -> list[Comparison]:
    kept = tracks.statistics.by_lifetime(case["config"]["max_tracks"])
    folder = kit.scratch / case["name"]
    davis.write_masks(tracks, kept, folder)
    images = [Image.open(path) for path in sorted(folder.glob("*.png"))]
    palette = np.zeros(768, np.uint8)
    stored = images[0].getpalette() or []
    palette[: len(stored)] = stored
    outputs = {
        "png": np.stack([np.asarray(image) for image in images]),
        "palette": palette,
        "overlay": np.stack(list(davis.draw_frames(tracks, kept, inputs["frames"]))),
    }
    return [
        *kit.compare(case, outputs),
        exact("instances_to_keep", kept, case["expected"]["instances_to_keep"]),
        exact("mode", images[0].mode, case["expected"]["mode"]),
    ]


def _output_youtube_vis(
    case: Case, kit: Kit, tracks: VideoTracks, inputs: dict[str, np.ndarray]
) -> list[Comparison]:
    tracks.classes = ClassScores()
    logits = torch.from_numpy(2 * inputs["category_logits"])
    for labels, of_frame in zip(inputs["track_map"], logits, strict=True):
        tracks.classes.add(torch.from_numpy(labels), of_frame)
    kept = tracks.statistics.by_lifetime(case["config"]["max_tracks"])
    scored = youtube_vis.scored_tracks(tracks, kept)
    entries = youtube_vis.result_entries(tracks, scored, video_id=17)
    expected = case["expected"]
    masks = [[x["segmentations"] for x in found] for found in (entries, expected["results_json"])]
    return [
        *kit.compare(case, _entry_arrays(entries)),
        exact("instances_to_keep", kept, expected["instances_to_keep"]),
        exact("encoded masks", *masks),
    ]


def _entry_arrays(entries: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What results.json holds, as arrays."""
    masks = [[rle.decode(mask) for mask in entry["segmentations"]] for entry in entries]
    return {
        "masks": np.asarray(masks),
        "scores": np.asarray([entry["score"] for entry in entries]),
        "category_ids": np.asarray([entry["category_id"] for entry in entries]),
    }


def _output_kitti_mots(
    case: Case, kit: Kit, tracks: VideoTracks, inputs: dict[str, np.ndarray]
) -> list[Comparison]:
    category_map = inputs["category_map"].copy()
    category_map[inputs["track_map"] == 3] = 1
    tracks.classes = ClassVotes()
    for labels, classes in zip(inputs["track_map"], category_map, strict=True):
        tracks.classes.add_map(labels, classes)
    numbered = kitti_mots.numbered_tracks(tracks, case["config"]["max_tracks"])
    objects = kitti_mots.result_objects(tracks, numbered)
    folder = kit.scratch / case["name"] / "results"
    folder.mkdir(parents=True)
    (folder / "0002.txt").write_text(kitti_mots.format_lines(objects))
    filter_folder(folder, "_nms", Filters())
    expected = case["expected"]
    kept = [track.label for track in numbered]
    return [
        *kit.compare(case, {"masks": np.stack([rle.decode(x.rle) for x in objects])}),
        exact("instances_to_keep", kept, expected["instances_to_keep"]),
        *(
            exact(name, (folder.with_name(name) / "0002.txt").read_text(), expected[f"{name}_0002"])
            for name in ("results", "results_nms")
        ),
    ]


def run_infer(case: Case, kit: Kit) -> list[Comparison]:
    """The whole inference command, and what happens inside it."""
    from stemseg.parity_command import run_command

    run = run_command(case, kit)
    outputs: dict[str, Any] = {}
    for i, (clips, tracks) in enumerate(run.sequences):
        foreground: dict[int, np.ndarray] = {}
        for number, (maps, masks) in enumerate(clips):
            outputs[f"seq{i}.clip{number}.embeddings"] = maps.embeddings
            outputs[f"seq{i}.clip{number}.bandwidths"] = maps.bandwidths
            outputs[f"seq{i}.clip{number}.seediness"] = maps.seediness
            foreground.update({t: mask.numpy() for t, mask in masks.items()})
        outputs[f"seq{i}.foreground"] = np.stack([foreground[t] for t in sorted(foreground)])
        maps_of_labels = [tracks.labels[t] for t in range(tracks.num_frames)]
        outputs[f"seq{i}.track_map"] = np.stack(maps_of_labels)
    outputs |= _files_of(run.output, case)
    expected = case["expected"]
    found = {"files": run.files, **_facts_of(run.output, expected)}
    for i, (_, tracks) in enumerate(run.sequences):
        found[f"seq{i}.clips"] = [sorted(set(clip.frames)) for clip in tracks.clips]
    plain = [exact(name, found.get(name), value) for name, value in expected.items()]
    return kit.compare(case, outputs) + plain


def _files_of(output: Path, case: Case) -> dict[str, Any]:
    """Recorded outputs that are read from result files."""
    if "seq0.png" in case["outputs"]:
        folders = sorted(path for path in (output / "results").iterdir() if path.is_dir())
        return {
            f"seq{i}.png": np.stack([np.asarray(Image.open(p)) for p in sorted(f.glob("*.png"))])
            for i, f in enumerate(folders)
        }
    if "scores" in case["outputs"]:
        return _entry_arrays(json.loads((output / "results.json").read_text()))
    outputs: dict[str, Any] = {}
    for name in case["outputs"]:
        if name.startswith("lines."):
            file = name.removeprefix("lines.")
            objects = read_objects(output / file)
            outputs[name] = np.asarray(
                [(x.frame, x.track_id, x.class_id, *x.rle["size"]) for x in objects]
            )
            outputs[f"areas.{file}"] = np.asarray([rle.area(x.rle) for x in objects])
    return outputs


def _facts_of(output: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """Counts of lines and entries of result files, for those that are recorded."""
    facts: dict[str, Any] = {}
    for name in expected:
        if name.startswith("n_lines "):
            text = (output / name.removeprefix("n_lines ")).read_text()
            facts[name] = len(text.splitlines())
    if "n_results" in expected:
        entries = json.loads((output / "results.json").read_text())
        facts |= {"n_results": len(entries), "video_ids": [e["video_id"] for e in entries]}
    return facts
