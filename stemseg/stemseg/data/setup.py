"""The data sets of a configuration. Source: spec 2, 3.3, 7.1-7.4."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from stemseg.config import Config
from stemseg.data.image_clips import (
    ImageClips,
    ImageRules,
    coco_rules,
    mapillary_rules,
    pascal_voc_rules,
)
from stemseg.data.mixture import Mixture, shares
from stemseg.data.samples import ClipSet
from stemseg.data.sampling import ClipLength
from stemseg.data.sequences import VideoFile, open_image_set, open_video_set
from stemseg.data.video_clips import (
    VideoClips,
    VideoRules,
    davis_rules,
    kitti_mots_rules,
    youtube_vis_rules,
)
from stemseg.feed import DEFAULT_SEED
from stemseg.inference.preprocess import InputRule
from vidseg_common.arguments import did_you_mean
from vidseg_common.datasets.category_maps import CATEGORY_MAPS
from vidseg_common.datasets.category_names import standard_categories
from vidseg_common.errors import ConfigError

#: Data sets of every training mode in their order, with the key of their weight.
MODES: dict[str, tuple[tuple[str, str], ...]] = {
    "davis": (
        ("coco", "COCO_WEIGHT"),
        ("ytvis", "YOUTUBE_VIS_WEIGHT"),
        ("davis", "DAVIS_WEIGHT"),
        ("pascalvoc", "PASCAL_VOC_WEIGHT"),
    ),
    "youtube_vis": (
        ("coco", "COCO_WEIGHT"),
        ("pascalvoc", "PASCAL_VOC_WEIGHT"),
        ("ytvis", "YOUTUBE_VIS_WEIGHT"),
    ),
    "kitti_mots": (("mapillary", "MAPILLARY_WEIGHT"), ("kittimots", "KITTI_MOTS_WEIGHT")),
}
#: Data sets by the names of the command line.
DATASETS = ("coco", "mapillary", "pascalvoc", "ytvis", "davis", "kittimots")

_MODE_SECTIONS = {"davis": "DAVIS", "youtube_vis": "YOUTUBE_VIS", "kitti_mots": "KITTI_MOTS"}
_MAP_TARGETS = {"davis": "davis", "youtube_vis": "youtube-vis", "kitti_mots": "kitti-mots"}
_IMAGE_RULES: dict[str, tuple[str, Callable[..., ImageRules]]] = {
    "coco": ("coco", coco_rules),
    "pascalvoc": ("pascal-voc", pascal_voc_rules),
    "mapillary": ("mapillary", mapillary_rules),
}


@dataclass(frozen=True)
class _Request:
    """What a data set is made for."""

    cfg: Config
    num_samples: int | None
    rng: random.Random
    augments: bool = False

    @property
    def mode(self) -> str:
        return _checked_mode(self.cfg)

    def clip_length(self, section: str) -> ClipLength:
        gaps = getattr(self.cfg.DATA, section)
        try:
            return ClipLength(self.cfg.INPUT.NUM_FRAMES, gaps.FRAME_GAP_LOWER, gaps.FRAME_GAP_UPPER)
        except ConfigError as error:
            raise ConfigError(f"DATA.{section}.{error}") from None


def build_dataset(
    cfg: Config, num_samples: int, *, seed: int = DEFAULT_SEED, augments: bool = False
) -> Mixture:
    """Builds all data sets of the training mode of a configuration.

    Args:
        cfg: the configuration.
        num_samples: of the whole training, MAX_ITERATIONS * BATCH_SIZE.
        seed: of the choice of clips; the same in all processes.
        augments: change the clips of video sets too, which no published stage does.

    Raises:
        ConfigError: a weight, a frame gap, the mode or an environment variable does not fit.
        DatasetError: a file is missing, or there is nothing to train on.
    """
    rng = random.Random(seed)
    parts = []
    for name, count in dataset_shares(cfg, num_samples).items():
        parts.append((_build(name, _Request(cfg, count, rng, augments)), count))
    return Mixture(parts)


def dataset_shares(cfg: Config, num_samples: int) -> dict[str, int]:
    """How many samples each data set of the training mode gives, in order; none without any.

    Raises:
        ConfigError: the mode is unknown, or the weights do not sum to 1.
    """
    mode = _checked_mode(cfg)
    section = getattr(cfg.DATA, _MODE_SECTIONS[mode])
    names = [name for name, _ in MODES[mode]]
    try:
        counts = shares([getattr(section, key) for _, key in MODES[mode]], num_samples)
    except ConfigError as error:
        raise ConfigError(f"DATA.{_MODE_SECTIONS[mode]}: {error}") from None
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def build_single(
    cfg: Config, name: str, *, num_clips: int | None = None, seed: int = DEFAULT_SEED
) -> ClipSet:
    """Builds one data set as the training mode of a configuration uses it.

    Args:
        cfg: the configuration.
        name: one of `DATASETS`.
        num_clips: clips to draw from videos, one per sequence by default; image sets are whole.
        seed: of the choice of clips.

    Raises:
        ConfigError: the name is unknown, or the mode does not use the data set.
        DatasetError: a file is missing, or there is nothing to train on.
    """
    if name not in DATASETS:
        raise ConfigError(f"no data set {name!r}{did_you_mean(name, DATASETS)}")
    request = _Request(cfg, num_clips, random.Random(seed))
    used = [used for used, _ in MODES[request.mode]]
    if name not in used:
        raise ConfigError(
            f"TRAINING.MODE is {request.mode}, which does not use {name}, only {', '.join(used)}"
        )
    return _build(name, request)


def _checked_mode(cfg: Config) -> str:
    mode: str = cfg.TRAINING.MODE
    if mode not in MODES:
        raise ConfigError(
            f"TRAINING.MODE is {mode!r}; expected {', '.join(MODES)}{did_you_mean(mode, MODES)}"
        )
    return mode


def _build(name: str, request: _Request) -> ClipSet:
    if name in _IMAGE_RULES:
        return _image_clips(name, request)
    return {"davis": _davis, "ytvis": _youtube_vis, "kittimots": _kitti_mots}[name](request)


def _image_clips(name: str, request: _Request) -> ImageClips:
    source, rules = _IMAGE_RULES[name]
    categories = CATEGORY_MAPS[(source, _MAP_TARGETS[request.mode])]
    return ImageClips(
        open_image_set(name),
        rules(categories),
        request.cfg.INPUT.NUM_FRAMES,
        InputRule.from_config(request.cfg),
        _class_names(request.mode),
    )


def _class_names(mode: str) -> dict[int, str]:
    """Names of the classes that samples of image sets have."""
    if mode == "davis":
        return {1: "object"}
    if mode == "kitti_mots":
        return {1: "car", 2: "pedestrian"}
    return {category.id: category.name for category in standard_categories("ytvis2019")}


def _davis(request: _Request) -> VideoClips:
    file = open_video_set("davis", "train")
    file = replace(file, category_names=_class_names("davis"))
    return _video_clips(request, "DAVIS", file, davis_rules(augments=request.augments))


def _youtube_vis(request: _Request) -> VideoClips:
    """Class agnostic where the training is."""
    length = request.clip_length("YOUTUBE_VIS")
    if length.gap_lower < length.num_frames:
        raise ConfigError(
            f"DATA.YOUTUBE_VIS.FRAME_GAP_LOWER is {length.gap_lower}; it has to be at least "
            f"INPUT.NUM_FRAMES = {length.num_frames}"
        )
    file = open_video_set("ytvis", "train")
    is_agnostic = request.mode == "davis"
    if is_agnostic:
        file = replace(file, category_names=_class_names("davis"))
    rules = youtube_vis_rules(
        is_agnostic=is_agnostic,
        duplicates=request.cfg.DATA.YOUTUBE_VIS.SINGLE_INSTANCE_DUPLICATION,
        augments=request.augments,
    )
    return _video_clips(request, "YOUTUBE_VIS", file, rules)


def _kitti_mots(request: _Request) -> VideoClips:
    file = open_video_set("kittimots", "train")
    return _video_clips(request, "KITTI_MOTS", file, kitti_mots_rules(augments=request.augments))


def _video_clips(request: _Request, section: str, file: VideoFile, rules: VideoRules) -> VideoClips:
    sequences = rules.usable(file.sequences)
    return VideoClips(
        sequences,
        len(sequences) if request.num_samples is None else request.num_samples,
        request.clip_length(section),
        rules,
        InputRule.from_config(request.cfg),
        request.rng,
        file.category_names,
    )
