"""From a training configuration to batches: data, curriculum and loader (spec 6.3 to 6.6)."""

from __future__ import annotations

from stcn.config import DataConfig, TrainConfig
from stcn.data.curriculum import skip_schedule
from stcn.data.loader import LoaderOptions, TrainingLoader, first_jump, iterations_per_epoch
from stcn.data.mixture import DAVIS_SUBSET, StageData
from stcn.data.samples import TrainingSet
from stcn.data.synthetic_dataset import SyntheticOptions, SyntheticTrainingSet


def build_loader(
    config: TrainConfig, *, rank: int = 0, world_size: int = 1, pin_memory: bool = False
) -> TrainingLoader:
    """Opens a stage's data and returns its loader, with the frame-skip curriculum in force.

    Raises:
        DatasetError: a folder is missing or holds nothing to train on.
        ConfigError: fewer items than one batch.
    """
    dataset = _dataset(config)
    options = LoaderOptions(
        config.batch_size, config.data.num_workers, config.seed, rank, world_size, pin_memory
    )
    if config.stage == 0:
        return TrainingLoader(dataset, options, first_jump)
    length = iterations_per_epoch(len(dataset), options)
    schedule = skip_schedule(config.stage, config.iterations, length)
    return TrainingLoader(dataset, options, schedule.max_jump)


def _dataset(config: TrainConfig) -> TrainingSet:
    data = config.data
    if data.source == "synthetic":
        return SyntheticTrainingSet(data.synthetic_length, SyntheticOptions(crop_size=data.crop))
    if data.source == "davis":
        return _davis(data)
    stage_data = StageData(
        static_root=data.static_root,
        bl_root=data.bl_root,
        yv_root=data.yv_root,
        davis_root=data.davis_root,
        yv_subset=data.yv_subset,
        davis_subset=data.davis_subset or DAVIS_SUBSET,
        crop_size=data.crop,
    )
    return stage_data.dataset({"static": 0, "bl30k": 1, "main": 3}[data.source])


def _davis(data: DataConfig) -> TrainingSet:
    """DAVIS without YouTube-VOS, or own videos in its layout."""
    own_list = data.davis_root / "2017" / "trainval" / "ImageSets" / "2017" / "train.txt"
    stage_data = StageData(
        yv_root=None,
        davis_root=data.davis_root,
        davis_subset=data.davis_subset or own_list,
        crop_size=data.crop,
    )
    return stage_data.dataset(3)
