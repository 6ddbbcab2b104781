"""Configuration files, overrides and the errors of both."""

import dataclasses

import pytest
import yaml

from stemseg.config import (
    CONFIGS,
    Config,
    config_for_checkpoint,
    dump_yaml,
    load_config,
    merge,
    to_dict,
    update,
)
from vidseg_common.errors import ConfigError

NAMES = ("davis_1", "davis_2", "youtube_vis", "kitti_mots_1", "kitti_mots_2")


def test_defaults_file_has_every_key():
    content = yaml.safe_load((CONFIGS / "defaults.yaml").read_text())
    assert content == to_dict(Config())
    assert load_config("defaults") == Config()


@pytest.mark.parametrize("name", NAMES)
def test_published_files_load_by_name_file_name_and_path(name):
    cfg = load_config(name)
    assert cfg == load_config(f"{name}.yaml") == load_config(CONFIGS / f"{name}.yaml")
    assert name.startswith(cfg.TRAINING.MODE)


def test_published_values():
    davis, videos, cars = (load_config(x) for x in ("davis_2", "youtube_vis", "kitti_mots_2"))
    assert (davis.INPUT.NUM_FRAMES, davis.TRAINING.FREEZE_BACKBONE) == (16, True)
    assert davis.DATA.YOUTUBE_VIS.FRAME_GAP_LOWER == 16
    assert videos.MODEL.SEMSEG.INTER_CHANNELS == (256,) * 4
    assert videos.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS == (0.3, 0.3)
    assert (cars.INPUT.MAX_DIM, cars.CLUSTERING.MIN_SEEDINESS_PROB) == (1792, 0.95)


def test_tree_is_read_only():
    cfg = load_config("davis_1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.INPUT.MIN_DIM = 1
    with pytest.raises(AttributeError, match="MIN_DIMS"):
        _ = cfg.INPUT.MIN_DIMS


def test_saved_tree_is_read_again(tmp_path):
    cfg = load_config("kitti_mots_1", opts=["INPUT.MIN_DIM", "300"])
    dump_yaml(cfg, tmp_path / "config.yaml")
    assert config_for_checkpoint(tmp_path / "000010.pth", "davis_1") == cfg
    assert config_for_checkpoint(tmp_path / "x" / "a.pth", "davis_1") == load_config("davis_1")


def test_overrides_of_every_type():
    words = [
        *("INPUT.MIN_DIM", "300", "TRAINING.LR_DECAY_STEPS", "5", "9"),
        *("TRAINING.NESTEROV", "f", "TRAINING.MIXED_PRECISION", "YES", "TRAINING.MODE=davis"),
        *("TRAINING.INITIAL_LR", "1e-4", "INPUT.IMAGE_STD", "[1,2,3]"),
    ]
    cfg = update(Config(), words)
    training = cfg.TRAINING
    assert (cfg.INPUT.MIN_DIM, training.LR_DECAY_STEPS) == (300, (5, 9))
    assert (training.NESTEROV, training.MIXED_PRECISION) == (False, True)
    assert (training.MODE, training.INITIAL_LR) == ("davis", 1e-4)
    assert cfg.INPUT.IMAGE_STD == (1, 2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["INPUT.MIN_DIMS", "3"], "did you mean INPUT.MIN_DIM"),
        (["INPUT.MIN_DIM"], "no value"),
        (["INPUT.MIN_DIM", "x"], "an integer"),
        (["INPUT.NUM_FRAMES", "7"], "INPUT.NUM_FRAMES"),
        (["MODEL.BACKBONE.TYPE", "X-101-FPN"], "R-101-FPN"),
        (["MODEL.EMBEDDING_DIM_MODE", "xyffff"], "MODEL.EMBEDDING_DIM_MODE"),
        (["MODEL.EMBEDDINGS.EMBEDDING_SIZE", "4"], "EMBEDDING_SIZE"),
        (["TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS", "0.3"], "FREE_DIM_STDS"),
        (["TRAINING.BATCH_SIZE", "0"], "TRAINING.BATCH_SIZE"),
    ],
)
def test_faulty_overrides_name_the_key(words, message):
    with pytest.raises(ConfigError, match=message):
        update(Config(), words)


def test_unknown_key_of_a_file_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("MODEL:\n  EMBEDDINGS:\n    EMBEDING_SIZE: 4\n")
    with pytest.raises(ConfigError, match=r"a\.yaml.*EMBEDING_SIZE.*did you mean"):
        load_config(path)


def test_empty_value_of_a_file_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("INPUT:\n  MIN_DIM:\n")
    with pytest.raises(ConfigError, match=r"INPUT\.MIN_DIM"):
        load_config(path)


def test_mistyped_name_offers_the_nearest():
    with pytest.raises(ConfigError, match="did you mean davis_1"):
        load_config("davis1.yaml")


def test_merge_replaces_lists_and_keeps_the_rest():
    cfg = merge(load_config("davis_2"), {"MODEL": {"SEMSEG": {"INTER_CHANNELS": [8, 8, 8, 8]}}})
    assert cfg.MODEL.SEMSEG.INTER_CHANNELS == (8,) * 4
    assert cfg.INPUT.NUM_FRAMES == 16
