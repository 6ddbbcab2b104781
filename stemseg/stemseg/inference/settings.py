"""From a configuration and flags to the settings of the engine. Source: spec sections 4 and 5.1."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stemseg.config import Config
from stemseg.config_tree import Davis, KittiMots, YoutubeVis
from stemseg.inference.classes import ClassKind
from stemseg.inference.cluster import ClusterRule
from stemseg.inference.engine import EngineSettings
from stemseg.inference.preprocess import InputRule, input_dims
from vidseg_common.errors import ConfigError

DataSection = Davis | YoutubeVis | KittiMots

#: What each TRAINING.MODE does about classes.
CLASS_KINDS: dict[str, ClassKind] = {
    "davis": "none",
    "youtube_vis": "scores",
    "kitti_mots": "votes",
}


@dataclass(frozen=True)
class Choices:
    """What a user may choose for inference; None takes the value of the configuration.

    Attributes:
        frame_overlap: frames that neighbouring clips share; 0 and below as None.
        max_tracks: tracks kept of a video.
        min_dim: see `input_dims`.
        max_dim: see `input_dims`.
        min_seediness_prob: smallest seediness of an instance's centre.
        seediness_thresh: foreground threshold where there is no semantic head.
        resize_embeddings: cluster at the size of the network's input.
        frame_batch: frames that go through the backbone together.
        clip_batch: clips that go through the decoders together.
    """

    frame_overlap: int | None = None
    max_tracks: int | None = None
    min_dim: int | None = None
    max_dim: int | None = None
    min_seediness_prob: float | None = None
    seediness_thresh: float = 0.25
    resize_embeddings: bool = False
    frame_batch: int = 1
    clip_batch: int = 1


def data_section(cfg: Config, mode: str | None = None) -> DataSection:
    """The DATA section of a mode, by default that of the configuration.

    Raises:
        ConfigError: there is no such mode.
    """
    mode = mode or cfg.TRAINING.MODE
    sections: dict[str, DataSection] = {
        "davis": cfg.DATA.DAVIS,
        "youtube_vis": cfg.DATA.YOUTUBE_VIS,
        "kitti_mots": cfg.DATA.KITTI_MOTS,
    }
    if mode not in sections:
        raise ConfigError(f"TRAINING.MODE: expected {', '.join(sections)}, got {mode!r}")
    return sections[mode]


def max_tracks_of(
    cfg: Config, choices: Choices, mode: str | None = None, *, most: int | None = None
) -> int:
    """Tracks kept of a video.

    Args:
        cfg: holds the limit where none is chosen.
        choices: see `Choices`.
        mode: davis, youtube_vis or kitti_mots; None takes that of the configuration.
        most: what the results have room for; a configured limit above it is lowered.

    Raises:
        ConfigError: fewer than one, or more chosen than there is room for.
    """
    limit = choices.max_tracks
    if limit is None:
        limit = data_section(cfg, mode).MAX_INFERENCE_TRACKS
        limit = limit if most is None else min(limit, most)
    if limit < 1:
        raise ConfigError(f"at least one track has to be kept of a video, not {limit}")
    if most is not None and limit > most:
        raise ConfigError(
            f"the results have room for at most {most} tracks of a video, not {limit} "
            "(--max_tracks)"
        )
    return limit


def engine_settings(cfg: Config, choices: Choices, mode: str | None = None) -> EngineSettings:
    """Settings of the engine.

    Args:
        cfg: of the network.
        choices: see `Choices`.
        mode: davis, youtube_vis or kitti_mots; None takes that of the configuration.

    Raises:
        ConfigError: a value that does not fit, or a network without classes where they are needed.
    """
    mode = mode or cfg.TRAINING.MODE
    section = data_section(cfg, mode)
    classes = CLASS_KINDS[mode]
    if classes != "none" and not cfg.MODEL.USE_SEMSEG_HEAD:
        raise ConfigError(
            f"results of {mode} have classes, but the network has no semantic head "
            "(MODEL.USE_SEMSEG_HEAD)"
        )
    overlap = choices.frame_overlap or 0
    configured = (cfg.INPUT.MIN_DIM, cfg.INPUT.MAX_DIM)
    min_dim, max_dim = input_dims(configured, choices.min_dim, choices.max_dim)
    if min(min_dim, max_dim) < 1:
        raise ConfigError(f"input size: min_dim {min_dim} and max_dim {max_dim} must be positive")
    return EngineSettings(
        clip_length=cfg.INPUT.NUM_FRAMES,
        overlap=overlap if overlap > 0 else section.INFERENCE_FRAME_OVERLAP,
        input=replace(InputRule.from_config(cfg), min_dim=min_dim, max_dim=max_dim),
        cluster=ClusterRule.from_config(cfg, min_seediness=choices.min_seediness_prob),
        seediness_thresh=choices.seediness_thresh,
        # A network trained at full resolution is used at full resolution.
        full_scale=choices.resize_embeddings or cfg.TRAINING.LOSS_AT_FULL_RES,
        classes=classes,
        foreground_channel=cfg.MODEL.SEMSEG.FOREGROUND_CHANNEL,
        frame_batch=choices.frame_batch,
        clip_batch=choices.clip_batch,
    )
