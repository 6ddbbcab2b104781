"""What training starts from, beyond the recorded cases; groups of parameters."""

import dataclasses

import pytest
import torch

from devis.config import load_config, model_settings
from devis.model import build
from devis.parameter_groups import describe, freeze, groups_of, optimiser_groups
from devis.start import COCO_OF_YOUTUBE, StartOptions, start_devis, start_mask_head
from vidseg_common.errors import CheckpointError

SETTINGS = model_settings(load_config("devis_R_50_YT-19"))
CROSS = "def_detr.transformer.decoder.layers.0.cross_attn."


def own_of(settings):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build(settings).state_dict().items()}
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def coco():
    """A COCO model: every value of a key is the key's number."""
    shapes = own_of(model_settings(load_config("deformable_mask_head_R_50")))
    return {key: value + i + 1 for i, (key, value) in enumerate(shapes.items())}


@pytest.fixture(scope="module")
def own():
    return own_of(SETTINGS)


def changed(**values):
    temporal = {k: values.pop(k) for k in list(values) if hasattr(SETTINGS.temporal, k)}
    return dataclasses.replace(
        SETTINGS, **values, temporal=dataclasses.replace(SETTINGS.temporal, **temporal)
    )


def test_fewer_levels_points_and_frames(coco):
    settings = changed(
        num_levels=3, num_frames=3, num_queries=30, dec_points=2, connect_all=False, window=2
    )
    file = dict(coco)
    for name in ("sampling_offsets", "attention_weights"):
        rows = len(file[f"{CROSS}{name}.bias"])
        file[f"{CROSS}{name}.bias"] = torch.arange(float(rows))
    start = start_devis(file, own_of(settings), settings, StartOptions(), "x.pth")
    whole = torch.arange(256.0).view(8, 4, 4, 2)
    assert torch.equal(start.state[f"{CROSS}sampling_offsets.bias"], whole[:, :3].flatten())
    twin = start.state[f"{CROSS}temporal_sampling_offsets.bias"].view(8, 2, 3, 2, 2)
    assert torch.equal(twin, whole[:, None, :3, :2].expand(-1, 2, -1, -1, -1))
    weights = start.state[f"{CROSS}temporal_attention_weights.bias"].view(8, 2, 3, 2)
    whole = torch.arange(128.0).view(8, 4, 4)
    assert torch.equal(weights, whole[:, None, :3, :2].expand(-1, 2, -1, -1))
    encoder = "def_detr.transformer.encoder.layers.0.self_attn.temporal_attention_weights.bias"
    assert start.sources[encoder] == f"adapted {8 * 2 * 3 * 4}"
    assert len(start.state["def_detr.transformer.level_embed"]) == 3
    assert any("input_proj.3" in key for key in start.unused)


def test_one_level_takes_the_projection_of_its_stage(coco):
    settings = changed(num_levels=1)
    bare = {
        key.removeprefix("def_detr."): value
        for key, value in coco.items()
        if key.startswith("def_detr.")
    }
    start = start_devis(bare, own_of(settings), settings, StartOptions(), "x.pth")
    weight = start.state["def_detr.input_proj.0.0.weight"]
    assert torch.equal(weight, coco["def_detr.input_proj.2.0.weight"])
    with pytest.raises(CheckpointError, match=r"input_proj\.0\.0\.weight has the shape"):
        start_devis(coco, own_of(settings), settings, StartOptions(), "x.pth")


def test_queries_of_a_file_with_as_many_rows_as_a_frame(coco, own):
    rows = torch.arange(10.0)[:, None].expand(-1, 512)
    file = coco | {"def_detr.query_embed.weight": rows}
    start = start_devis(file, own, SETTINGS, StartOptions(queries=True), "x.pth")
    assert torch.equal(start.state["def_detr.query_embed.weight"], rows.repeat(6, 1))


def test_class_rows_come_from_the_same_category(coco, own):
    rows = torch.arange(91.0)[:, None].expand(-1, 256)
    file = coco | {"def_detr.class_embed.0.weight": rows}
    start = start_devis(file, own, SETTINGS, StartOptions(classes=True), "x.pth")
    taken = start.state["def_detr.class_embed.0.weight"][:, 0].tolist()
    assert taken == [max(category - 1, 0) for category in COCO_OF_YOUTUBE]
    assert taken[0] == 0 and taken[4] == 40  # person and snowboard
    ovis = dataclasses.replace(SETTINGS, num_classes=25)
    with pytest.raises(CheckpointError, match="40 classes of YouTube-VIS 2019 only"):
        start_devis(file, own, ovis, StartOptions(classes=True), "x.pth")


def test_temporal_layers_of_a_clip_model_are_copied(own):
    file = {key: value + 1 for key, value in own.items()}
    start = start_devis(file, own, SETTINGS, StartOptions(), "x.pth")
    assert start.sources[f"{CROSS}temporal_sampling_offsets.bias"] == "copied"


def test_other_numbers_of_rows_are_refused(coco, own):
    file = coco | {f"{CROSS}sampling_offsets.bias": torch.zeros(7)}
    with pytest.raises(CheckpointError, match="7 rows; expected 8 heads x 4 levels x 4 points x 2"):
        start_devis(file, own, SETTINGS, StartOptions(), "x.pth")


def test_a_detector_starts_a_detector_without_prefix():
    file = {"class_embed.0.bias": torch.arange(3.0), "more": torch.zeros(1)}
    own = {"class_embed.0.bias": torch.zeros(3), "query_embed.weight": torch.zeros(2, 2)}
    start = start_mask_head(file, own, shift_classes=True, source="x.pth")
    assert start.state["class_embed.0.bias"].tolist() == [1.0, 2.0, 0.0]
    assert start.unused == ["more"] and start.keys_from("scratch") == ["query_embed.weight"]
    assert "not used: more" in start.text() and "1 copied, 0 adapted, 1 scratch" in start.text()


@pytest.mark.parametrize(
    ("words", "trained"), [([], 42), (["SOLVER.LR_BACKBONE", "0"], 0)], ids=["usual", "frozen"]
)
def test_the_backbone_is_frozen_without_a_learning_rate(words, trained):
    cfg = load_config("devis_R_50_YT-19", words)
    with torch.device("meta"):
        network = build(model_settings(cfg))
    freeze(network, cfg)
    groups = {group.name: group for group in groups_of(network, cfg)}
    assert len(groups["backbone"].parameters) == trained
    lines = list(describe(network, list(groups.values())))
    assert len(lines) == len(list(network.parameters()))
    assert lines[-1].endswith("frozen") and any("lr 1e-05 (linear_proj)" in x for x in lines)
    made = torch.optim.AdamW(optimiser_groups(list(groups.values())), weight_decay=1e-4)
    assert [group["lr"] for group in made.param_groups][:1] == [1e-4]
