"""Typed configuration of training; every published stage is a YAML file in `configs/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stcn.model.network import NetworkConfig
from vidseg_common.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class DataConfig:
    """Where training data lies and how it is fed.

    Attributes:
        source: what is trained on: static images, BL30K, DAVIS and YouTube-VOS ("main"), DAVIS
            alone (or own videos in its layout), or synthetic videos rendered on the fly.
        static_root: static segmentation data sets (stage 0).
        bl_root: BL30K (stage 1).
        yv_root: YouTube-VOS (stages 2 and 3).
        davis_root: DAVIS (stages 2 and 3); videos are read from `2017/trainval` in it.
        yv_subset: file with YouTube-VOS video names, one a line; None uses all.
        davis_subset: file with DAVIS video names, one a line; None uses the 2017 training set,
            with "davis" the list `ImageSets/2017/train.txt` of the folder.
        crop: side of the square training crop in pixels, a multiple of 16.
        num_workers: loader processes per training process.
        synthetic_length: samples of one epoch of synthetic videos.
    """

    source: Literal["static", "bl30k", "main", "davis", "synthetic"] = "static"
    static_root: Path = Path("../static")
    bl_root: Path = Path("../BL30K")
    yv_root: Path = Path("../YouTube")
    davis_root: Path = Path("../DAVIS")
    yv_subset: Path | None = None
    davis_subset: Path | None = None
    crop: int = 384
    num_workers: int = 8
    synthetic_length: int = 4000


@dataclass(frozen=True)
class TrainConfig:
    """One training stage (spec section 6.1).

    Attributes:
        stage: 0 static images, 1 BL30K, 2 main after BL30K, 3 main after static images.
        network: structure; stage 0 trains without the channel of the other objects.
        data: see `DataConfig`.
        batch_size: per process.
        iterations: optimiser steps.
        lr: learning rate of Adam.
        steps: iterations at which the rate is multiplied by `gamma`.
        gamma: see `steps`.
        weight_decay: the L2 form.
        bootstrap_start: iteration up to which every pixel counts in the loss.
        bootstrap_end: iteration from which only the hardest 15 % count.
        train_batch_norm: use and update batch statistics. The published training never does;
            a network trained from random weights needs it.
        pretrained: start the encoders from ImageNet weights (ignored when weights are loaded).
        channels_last: memory layout of the network; faster on CPUs and with half precision.
        amp: mixed precision, "auto" is fp16 on a GPU and off on a CPU.
        seed: of everything.
        deterministic: refuse operators without a deterministic form.
        report_every: iterations between logged averages.
        image_every: iterations between logged pictures.
        save_every: iterations between checkpoints.
        min_final_iterations: a final save happens only after more iterations than this.
    """

    stage: Literal[0, 1, 2, 3] = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch_size: int = 8
    iterations: int = 300_000
    lr: float = 1e-5
    steps: tuple[int, ...] = (150_000,)
    gamma: float = 0.1
    weight_decay: float = 1e-7
    bootstrap_start: int = 20_000
    bootstrap_end: int = 70_000
    train_batch_norm: bool = False
    pretrained: bool = True
    channels_last: bool = False
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    seed: int = 14159265
    deterministic: bool = False
    report_every: int = 100
    image_every: int = 800
    save_every: int = 50_000
    min_final_iterations: int = 5_000

    def check(self) -> None:
        """Checks values that depend on one another, once all overrides are in.

        Raises:
            ConfigError: naming the key.
        """
        positive = ("batch_size", "iterations", "report_every", "image_every", "save_every")
        for name in positive:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.data.crop < 16 or self.data.crop % 16:
            raise ConfigError(f"data.crop must be a multiple of 16, got {self.data.crop}")
        if self.bootstrap_end <= self.bootstrap_start:
            raise ConfigError(
                f"bootstrap_end ({self.bootstrap_end}) must lie after "
                f"bootstrap_start ({self.bootstrap_start})"
            )
        if self.network.key_block not in ("basic", "bottleneck"):
            raise ConfigError(
                f"network.key_block must be basic or bottleneck, got {self.network.key_block!r}"
            )
        two_objects = self.data.source != "static"
        if two_objects != self.network.others_channel:
            raise ConfigError(
                f"data.source {self.data.source!r} needs network.others_channel "
                f"{str(two_objects).lower()}"
            )
        if two_objects == (self.stage == 0):
            raise ConfigError(
                f"stage {self.stage} does not go with data.source {self.data.source!r}: "
                "stage 0 trains on static images, the others on videos"
            )
