"""Configurations: shipped files, KEY VALUE words, checks, settings of the network."""

import pytest
import yaml

from devis.config import (
    CONFIGS,
    Config,
    find_config,
    load_config,
    model_settings,
    num_classes,
    to_dict,
)
from devis.config_tree import Config as Tree
from vidseg_common.config import from_dict, keys_of
from vidseg_common.errors import ConfigError

SHIPPED = sorted(CONFIGS.rglob("*.yaml"))
YT19 = "devis_R_50_YT-19"


def set_keys(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from set_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_describes_a_network(path):
    cfg = load_config(path)
    settings = model_settings(cfg)
    assert settings.num_classes == num_classes(cfg)
    assert (settings.family == "devis") == (cfg.DATASETS.TYPE == "vis")
    assert set(set_keys(yaml.safe_load(path.read_text()))) <= set(keys_of(Tree))
    assert from_dict(Config, to_dict(cfg)) == cfg


def test_files_are_found_by_path_and_name():
    path = CONFIGS / "devis" / "YT-19" / f"{YT19}.yaml"
    for name in (path, str(path), f"devis/YT-19/{YT19}.yaml", f"devis/YT-19/{YT19}", YT19):
        assert find_config(name) == path
    assert find_config(f"{YT19}.yaml") == path
    with pytest.raises(ConfigError, match="did you mean devis_R_50_YT-19"):
        find_config("devis_R50_YT-19.yaml")
    with pytest.raises(ConfigError, match="no such configuration"):
        find_config(f"elsewhere/{YT19}.yaml")


def test_defaults_are_those_of_the_specification():
    cfg = Config()
    assert cfg.MODEL.NUM_QUERIES == 300 and cfg.MODEL.MATCHER.BBX_GIOU_COST == 2.0
    assert cfg.SOLVER.LR_LINEAR_PROJ_NAMES[-1] == "reference_points"
    assert cfg.TEST.CLIP_TRACKING.MIN_TRACK_SCORE == 0.002 and cfg.TEST.EPOCHS_TO_EVAL[0] == 6
    assert cfg.MODEL.MASK_HEAD.USED_FEATURES[3] == ("/4", "backbone")


def test_published_values():
    cfg = load_config("devis_Swin_L_OVIS")
    assert cfg.MODEL.BACKBONE == "swin_l_p4w12" and cfg.INPUT.SCALE_FACTOR_TRAIN == 0.9
    assert cfg.SOLVER.STEPS == (6, 10) and cfg.TEST.CLIP_TRACKING.CENTER_COST == 1
    ablation = load_config("devis_ablation0_deformable_vistr")
    assert model_settings(ablation).queries_per_frame == 10
    assert ablation.MODEL.LOSS.MASK_AUX_LOSS == ()
    assert load_config("deformable_mask_head_R_50").SOLVER.FROZEN_PARAMS == ("class_embed",)


def test_words_of_the_command_line():
    words = [
        *("MODEL.LOSS.MASK_AUX_LOSS", "[1, 2]", "TEST.NUM_OUT", "8", "SOLVER.LR_BACKBONE", "1e-6"),
        *("MODEL.MASK_HEAD.UPSAMPLING_RESOLUTIONS", "('/32', '/16')"),
        *(
            "MODEL.MASK_HEAD.USED_FEATURES",
            "[['/32','encoded'],['/16','backbone'],['/8','encoded'],['/4','backbone']]",
        ),
        *("TEST.VIZ.VIDEO_NAMES", "a,b", "TEST.USE_TOP_K", "True", "OUTPUT_DIR=x=y"),
        *("MODEL.WEIGHTS", "'a b.pth'", "SOLVER.STEPS", "3,7"),
    ]
    cfg = load_config(YT19, words)
    assert cfg.MODEL.LOSS.MASK_AUX_LOSS == (1, 2) and cfg.TEST.NUM_OUT == 8
    assert cfg.MODEL.MASK_HEAD.UPSAMPLING_RESOLUTIONS == ("/32", "/16")
    assert cfg.MODEL.MASK_HEAD.USED_FEATURES[1] == ("/16", "backbone")
    assert cfg.TEST.VIZ.VIDEO_NAMES == "a,b" and cfg.OUTPUT_DIR == "x=y"
    assert cfg.SOLVER.LR_BACKBONE == 1e-6 and cfg.SOLVER.STEPS == (3, 7)
    assert cfg.MODEL.WEIGHTS == "a b.pth"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL.NUM_QUERIE", "3"], "did you mean MODEL.NUM_QUERIES"),
        (["MODEL.NUM_QUERIES"], "no value after it"),
        (["MODEL.NUM_QUERIES", "many"], "MODEL.NUM_QUERIES"),
        (["MODEL.NUM_QUERIES", "[3"], "MODEL.NUM_QUERIES"),
        (["MODEL.BACKBONE", "resnet5"], "swin_l_p4w12"),
        (["DATASETS.TYPE", "coco_panoptic"], "one of coco, vis"),
        (["MODEL.LOSS.FOCAL_LOSS", "False"], "no softmax loss"),
        (["MODEL.LOSS.MASK_AUX_LOSS", "[5]"], "layers 0 to 4"),
        (["MODEL.LOSS.AUX_LOSS", "False"], r"must be \[\]"),
        (["MODEL.TRANSFORMER.DECODER_LAYERS", "5"], "needs 6 decoder layers"),
        (["MODEL.WITH_REF_POINT_REFINE", "True"], "exclude each other"),
        (["TEST.INPUT_FOLDER", "x", "TEST.EPOCHS_TO_EVAL", "[]"], "EPOCHS_TO_EVAL"),
        (["MODEL.MASK_ON", "False"], "MASK_ON must be True"),
        (["MODEL.DEVIS.NUM_FRAMES", "1"], "2 or more"),
        (["MODEL.MASK_HEAD.USED_FEATURES", "[['/32', 'encoded']]"], "levels /32, /16, /8, /4"),
        (["MODEL.NUM_FEATURE_LEVELS", "1"], "no level /16"),
        (["MODEL.MASK_HEAD.UPSAMPLING_RESOLUTIONS", "['/4']"], "among /32, /16, /8, got /4"),
        (["MODEL.NUM_QUERIES", "61"], "multiple of MODEL.DEVIS.NUM_FRAMES"),
        (
            ["MODEL.NUM_QUERIES", "42", "SOLVER.DEVIS.FINETUNE_QUERY_EMBEDDINGS", "True"],
            "300 must be a multiple of the 7",
        ),
        (["SOLVER.BATCH_SIZE", "2"], "BATCH_SIZE must be 1"),
        (["TEST.CLIP_TRACKING.STRIDE", "6"], "1 to 5"),
        (["MODEL.DEVIS.DEFORMABLE_ATTENTION.ENC_TEMPORAL_WINDOW", "3"], "even number"),
        (["DATASETS.VAL_DATASET", "yt_vis_val_20"], "VAL_DATASET: .* did you mean yt_vis_val_21"),
        (["DATASETS.VAL_DATASET", "x", "DATASETS.TYPE", "coco"], "there are train, val"),
    ],
)
def test_what_does_not_fit(words, message):
    with pytest.raises(ConfigError, match=message):
        model_settings(load_config(YT19, words))


def test_all_problems_are_listed_with_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("MODEL: {NUM_QUERIES: 61, LOSS: {FOCAL_LOSS: false}}\nDATASETS: {TYPE: vis}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert "bad.yaml" in lines[0] and len(lines) == 5


def test_keeping_every_query_is_warned_of_when_the_number_differs():
    with pytest.warns(UserWarning, match="every one of the 10 queries"):
        load_config(YT19, ["TEST.USE_TOP_K", "False"])


def test_each_part_of_the_transformer_gets_its_own_points():
    words = ["MODEL.TRANSFORMER.ENC_N_POINTS", "3", "MODEL.TRANSFORMER.DEC_N_POINTS", "5"]
    settings = model_settings(load_config("deformable_mask_head_R_50", words), classes=7)
    assert (settings.enc_points, settings.dec_points, settings.num_classes) == (3, 5, 7)


def test_a_detector_without_masks():
    settings = model_settings(load_config("deformable_mask_head_R_50", ["MODEL.MASK_ON", "False"]))
    assert settings.family == "deformable_detr" and settings.temporal is None
