"""Parity cases of the training data (see `stemseg.parity`)."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from stemseg.config import load_config, merge
from stemseg.data.collate import collate
from stemseg.data.duplicate import duplicate_instance
from stemseg.data.image_clips import (
    ImageRules,
    coco_rules,
    filter_images,
    limit_instances,
    mapillary_rules,
    pascal_voc_rules,
)
from stemseg.data.mixture import Mixture, items_of_share, shares
from stemseg.data.pixels import resize_masks
from stemseg.data.samples import ClipSample, ClipSet
from stemseg.data.sampling import ClipLength, draw_clips
from stemseg.data.sequences import VideoSequence, read_image_records, read_sequences
from stemseg.data.video_clips import (
    VideoRules,
    clip_sample,
    davis_rules,
    kitti_mots_rules,
    youtube_vis_rules,
)
from stemseg.inference.preprocess import InputRule
from stemseg.parity_kit import Case, Comparison, Kit, exact
from vidseg_common import rle
from vidseg_common.datasets.category_maps import CATEGORY_MAPS
from vidseg_common.errors import UserError

#: Loaders of the recorded cases: their rules, annotation file and section of the configuration.
VIDEO_LOADERS: dict[str, tuple[VideoRules, str, str]] = {
    "davis": (davis_rules(), "davis_and_ytvis", "DAVIS"),
    "ytvis": (youtube_vis_rules(), "davis_and_ytvis", "YOUTUBE_VIS"),
    "kittimots": (kitti_mots_rules(), "kittimots", "KITTI_MOTS"),
}
IMAGE_LOADERS = {"coco": coco_rules, "pascal_voc": pascal_voc_rules, "mapillary": mapillary_rules}
MAP_TARGETS = {"davis": "davis", "ytvis": "youtube-vis", "kittimots": "kitti-mots"}
FIRST_DUPLICATION_SEED = 11


def run_rle(case: Case, kit: Kit) -> list[Comparison]:
    """Run-length strings of masks given as rows of 0 and 1."""
    masks = [np.array([[int(pixel) for pixel in row] for row in rows]) for rows in case["inputs"]]
    codes = [rle.encode(mask) for mask in masks]
    got = [{**code, "area": rle.area(code)} for code in codes]
    return [exact("counts", got, case["expected"])]


def run_mask_resize(case: Case, kit: Kit) -> list[Comparison]:
    """Masks at other sizes, and mirrored."""
    mask = torch.from_numpy(kit.inputs(case)["mask"])
    outputs = {
        name: mask.flip(1) if name == "flip" else resize_masks(mask[None], tuple(spec["shape"]))[0]
        for name, spec in case["outputs"].items()
    }
    return kit.compare(case, outputs)


def run_collate(case: Case, kit: Kit) -> list[Comparison]:
    """Clips of different sizes in one batch."""
    inputs = {name: torch.from_numpy(value) for name, value in kit.inputs(case).items()}
    count = sum(name.startswith("images") for name in inputs)
    batch = collate(
        [
            ClipSample(
                inputs[f"images{i}"], inputs[f"masks{i}"], inputs[f"ignore{i}"], torch.ones(1), ""
            )
            for i in range(count)
        ]
    )
    outputs: dict[str, Any] = {"images": batch.images, "sizes": np.asarray(batch.sizes)}
    for i, target in enumerate(batch.targets):
        outputs |= {f"masks{i}": target.masks, f"ignore{i}": target.ignore_masks}
    return kit.compare(case, outputs)


def run_instance_duplicator(case: Case, kit: Kit) -> list[Comparison]:
    """The second instance of clips with one, for several seeds."""
    inputs = kit.inputs(case)
    images, masks = list(inputs["images"]), list(inputs["masks"])
    outputs: dict[str, np.ndarray] = {}
    for number in sorted({int(match[0]) for match in map(_number, case["outputs"])}):
        rng = random.Random(FIRST_DUPLICATION_SEED + number)
        clip = duplicate_instance(images, masks, rng)
        parts = (images, masks, masks) if clip is None else (clip.images, clip.original, clip.copy)
        for name, frames in zip(("images", "original", "duplicate"), parts, strict=True):
            outputs[f"{name}{number}"] = np.stack(frames)
    return kit.compare(case, outputs)


def _number(name: str) -> re.Match[str]:
    match = re.search(r"\d+$", name)
    if match is None:
        raise UserError(f"output {name!r} has no number at its end")
    return match


class _Empty(ClipSet):
    """A data set with nothing but a length."""

    name = "empty"

    def __init__(self, length: int) -> None:
        self.length = length
        self.category_names = {}

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, rng: random.Random) -> ClipSample:
        raise NotImplementedError


def run_concat_dataset(case: Case, kit: Kit) -> Iterator[Comparison]:
    """Items of weighted mixtures, and of a data set that is longer than its share."""
    for i, (row, want) in enumerate(
        zip(case["inputs"]["rows"], case["expected"]["rows"], strict=True)
    ):
        counts = shares(row["weights"], row["total"])
        mixture = Mixture([*zip(map(_Empty, row["lengths"]), counts, strict=True)])
        got = [list(mixture.locate(index)) for index in range(len(mixture))]
        yield exact(f"rows[{i}]", {"id_mapping": got}, want)
    sparse = case["inputs"]["sparse"]
    items = items_of_share(sparse["length"], sparse["samples"])
    yield exact("sparse", items, case["expected"]["sparse_indices_right_behaviour"])


def run_dataset_parse(case: Case, kit: Kit) -> list[Comparison]:
    """What is read from a file of sequences, and what is left without empty frames."""
    sequences = _read_videos(case["inputs"]["dataset"], kit)
    parsed = [
        {
            "id": s.id,
            "len": len(s),
            "dims": s.image_dims,
            "instance_ids": s.instance_ids,
            "category_labels": s.category_labels,
            "mask_areas": [[int(mask.sum()) for mask in masks] for masks in s.load_masks()],
        }
        for s in sequences
    ]
    filtered = [s.filter_zero_instance_frames() for s in sequences]
    left = [{"id": s.id, "image_paths": s.image_paths} for s in filtered]
    expected = case["expected"]
    return [
        exact("parsed", parsed, expected["parsed"]),
        exact("filtered", left, expected["filtered"]),
    ]


def _read_videos(content: Any, kit: Kit) -> list[VideoSequence]:
    return read_sequences(_write_json(content, kit), [kit.scratch]).sequences


def _write_json(content: Any, kit: Kit) -> Path:
    path = kit.scratch / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def run_dataset_sampling(case: Case, kit: Kit) -> Iterator[Comparison]:
    """Clips that every loader draws after the same seed."""
    seed, config = _seed(case), case["config"]
    for name, want in case["expected"].items():
        rules, file, section = VIDEO_LOADERS[name]
        sequences = rules.usable(_read_videos(case["inputs"][file], kit))
        gaps = config["DATA"][section]
        length = ClipLength(
            config["INPUT"]["NUM_FRAMES"], gaps["FRAME_GAP_LOWER"], gaps["FRAME_GAP_UPPER"]
        )
        lengths = [len(sequence) for sequence in sequences]
        refs = draw_clips(lengths, len(want["samples"]), length, random.Random(seed))
        clips = [sequences[ref.sequence].extract_subsequence(ref.frames) for ref in refs]
        samples = [
            {
                "id": clip.id,
                "image_paths": clip.image_paths,
                "instance_ids": clip.instance_ids,
                "categories": clip.category_labels,
            }
            for clip in clips
        ]
        listed = [[sequence.id, len(sequence)] for sequence in sequences]
        yield exact(f"{name} sequences", listed, want["sequences"])
        yield exact(f"{name} samples", samples, want["samples"])


def _seed(case: Case) -> int:
    match = re.search(r"random\.seed\((\d+)\)", case["how"])
    if match is None:
        raise UserError(f"case {case['name']!r} does not say with which seed it was recorded")
    return int(match[1])


def run_dataset_sample(case: Case, kit: Kit) -> list[Comparison]:
    """A whole training sample of a loader, from image files on."""
    loader = next(name for name in VIDEO_LOADERS if name in case["name"])
    rules, file, _ = VIDEO_LOADERS[loader]
    (drawn,) = (other for other in kit.cases() if other["kind"] == "dataset_sampling")
    clip = _clip_of(_read_videos(drawn["inputs"][file], kit), case["inputs"]["image_paths"])
    inputs = kit.inputs(case)
    for t, name in enumerate(clip.image_paths):
        (kit.scratch / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(kit.scratch / name), inputs[f"frame{t}"])
    pixels = InputRule.from_config(merge(load_config("defaults"), case["config"]))
    sample = clip_sample(clip, rules, pixels, random.Random(_seed(case)))
    outputs = {
        "images": sample.images,
        "masks": sample.masks,
        "ignore_masks": sample.ignore_masks,
        "category_ids": sample.category_ids,
        "original_dims": np.asarray(sample.original_size),
    }
    return kit.compare(case, outputs)


def _clip_of(sequences: list[VideoSequence], image_paths: list[str]) -> VideoSequence:
    """The frames of the given images, which are of one sequence."""
    (sequence,) = (s for s in sequences if set(image_paths) <= set(s.image_paths))
    return sequence.extract_subsequence(sequence.image_paths.index(path) for path in image_paths)


def run_dataset_image_filters(case: Case, kit: Kit) -> Iterator[Comparison]:
    """Images, classes and masks that the image sets keep."""
    for name, want in case["expected"].items():
        source, _, target = name.partition("/")
        file = read_image_records(_write_json(case["inputs"][source], kit), kit.scratch)
        limit = re.fullmatch(r"filter max (\d+) instances", target)
        if limit is None:
            rules = _image_rules(source, target)
            got: Any = [
                {
                    "image": record.path,
                    "categories": record.categories,
                    "mapped": [rules.categories.kept.get(c) for c in record.categories],
                }
                for record in filter_images(file.records, rules)
            ]
        else:
            rules = replace(_image_rules(source, "kittimots"), max_instances=int(limit[1]))
            (record,) = (r for r in filter_images(file.records, rules) if r.path == want["image"])
            record, ignore = limit_instances(record, rules)
            got = {
                "image": record.path,
                "categories": record.categories,
                "areas": record.mask_areas(),
                "ignore_area": int(ignore.sum()),
            }
        yield exact(name, got, want)


def _image_rules(source: str, target: str) -> ImageRules:
    categories = CATEGORY_MAPS[(source.replace("_", "-"), MAP_TARGETS[target])]
    return IMAGE_LOADERS[source](categories)
