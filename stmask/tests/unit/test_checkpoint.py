"""Released files, earlier revisions, wrong names, and what training starts from."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import stmask
from stmask.checkpoint import (
    build_network,
    load_coco_start,
    load_network,
    load_state,
    save_network,
)
from stmask.checkpoint_shapes import infer_settings
from stmask.config import CONFIGS, get_config, network_settings
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from stmask.start import start_from_nothing
from stmask.weights import FIRST_TABLE, RELEASED, config_name_for, config_name_of
from vidseg_common.checkpoint import shapes_of
from vidseg_common.errors import CheckpointError, ConfigError

RECORDS = Path(__file__).parents[1] / "parity" / "records"
COCO = json.loads((RECORDS / "coco_init.json").read_text())
VARIANTS = {
    "r50_fca_tf": "STMask_plus_resnet50", "r50_ali": "STMask_plus_resnet50_ali",
    "r50_ada": "STMask_plus_resnet50_ada", "r101_fca_tf": "STMask_plus_base",
    "r101_ali": "STMask_plus_base_ali", "r101_ada": "STMask_plus_base_ada",
}  # fmt: skip
#: A network of the same structure that is small enough for tests.
SMALL = {
    "stem_width": 4, "blocks": (1, 2, 3, 1), "fpn_channels": 8, "num_prototypes": 4,
    "embed_dim": 6, "temporal_channels": (8, 8, 8), "patch_size": 3,
}  # fmt: skip


def manifest(name):
    return json.loads((RECORDS / f"manifest_{name}.json").read_text())


def shapes(name):
    return {key["name"]: tuple(key["shape"]) for key in manifest(name)["keys"]}


def small(**changes):
    return NetworkSettings(**SMALL | changes)


def save(path, settings):
    network = STMask(settings)
    save_network(network, path)
    return network


def write_constant(path, content):
    """A file with the keys and shapes of a manifest; ones that share one number take no space."""
    kinds = {"float32": torch.ones(()), "int64": torch.ones((), dtype=torch.int64)}
    torch.save({k["name"]: kinds[k["dtype"]].expand(k["shape"]) for k in content["keys"]}, path)
    return path


def meta(config):
    with torch.device("meta"):
        return build_network(config)


@pytest.mark.parametrize(("variant", "name"), VARIANTS.items())
def test_keys_and_order_are_those_of_the_released_file(variant, name):
    network = meta(get_config(f"{name}_config"))
    assert list(shapes_of(network.state_dict()).items()) == list(shapes(variant).items())
    settings = infer_settings(shapes(variant))
    assert settings == network.settings
    assert config_name_for(settings) == f"{name}_config"


@pytest.mark.parametrize(("variant", "name"), VARIANTS.items())
def test_file_loads_strictly_under_either_name(variant, name, tmp_path):
    content = manifest(variant)
    path = write_constant(tmp_path / content["released_files"][0], content)
    for released in content["released_files"]:
        assert config_name_of(released) == content["config"] == f"{name}_config"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, report = load_network(path, get_config(f"{name}_config"))
    assert not report.difference.count and not report.text()
    assert all((value == 1).all() for value in network.state_dict().values())


def test_file_names():
    assert config_name_of("weights/STMask_plus_base_ada_3_40000.pth") == (
        "STMask_plus_base_ada_config"
    )
    assert config_name_of("STMask_plus_base_OVIS_12_900_interrupt.pth") == (
        "STMask_plus_base_OVIS_config"
    )
    assert config_name_of("mine.pth") is None
    assert {config_name_of(f"{name}.pth") for name in FIRST_TABLE} <= set(CONFIGS)
    assert {f"{name}_config" for name in RELEASED} <= set(CONFIGS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fcb": "ali", "calibrate_class": True},
        {"fcb": "ada", "calibrate_class": True, "calibrate_track": True},
        {"fcb": "ada", "calibrate_mask": True, "calibrate_class": True, "num_classes": 26},
        {"dcn_interval": 3, "scales_per_anchor": 2, "conf_depth": 1, "bbox_depth": 1,
         "mask_depth": 1, "track_depth": 1},
        {"fcb": "ali", "calibrate_class": True, "direct_calibration": True,
         "scales_per_anchor": 2},
        {"dcn_interval": 0, "dcn_stages": ()},
        {"temporal_fusion": False, "semantic": True, "maskiou_channels": (4, 8)},
        {"kernels": ((3, 3), (3, 5)), "num_downsample": 1},
        {"share_head": False},
        {"backbone": "darknet53", "blocks": (1, 2, 2, 1, 1), "dcn_interval": 0, "dcn_stages": ()},
    ],
)  # fmt: skip
def test_settings_are_inferred_from_shapes(changes, tmp_path):
    settings = small(**changes)
    if settings.dcn_interval == 3:
        settings = replace(settings, blocks=(1, 4, 4, 1))
    if not settings.temporal_fusion:
        settings = replace(settings, temporal_channels=(512, 512, 1024), patch_size=11)
    path = tmp_path / "a.pth"
    network = save(path, settings)
    loaded, report = load_network(path)
    assert loaded.settings == settings == report.settings
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_earlier_revision_is_loaded_with_a_warning(tmp_path):
    path = tmp_path / "STMask_plus_resnet50.pth"
    cfg = get_config("STMask_plus_resnet50_config").copy(
        {"network_sizes": SMALL, "mask_proto_n": 4, "embed_dim": 6}
    )
    settings = replace(network_settings(cfg), scales_per_anchor=2, conf_depth=1)
    save(path, settings)
    with pytest.warns(UserWarning, match="scales_per_anchor 2 for 1"):
        network, report = load_network(path, cfg)
    assert network.settings == settings and "conf_depth" in report.text()


def test_left_over_keys_of_old_files_are_dropped(tmp_path):
    path = tmp_path / "a.pth"
    network = save(path, small())
    state = torch.load(path, weights_only=True)
    extra = {
        "backbone.layer1.0.conv1.weight": torch.zeros(1),
        "fpn.downsample_layers.2.weight": torch.zeros(8, 8, 3, 3),
        "fpn.downsample_layers.2.bias": torch.zeros(8),
    }
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    torch.save({k: v for k, v in {**state, **extra}.items() if k not in counters}, path)
    assert not set(load_state(path)) & set(extra)
    loaded, _ = load_network(path)
    assert loaded.settings == network.settings


def test_another_variant_under_a_wrong_name_is_told(tmp_path):
    path = write_constant(tmp_path / "STMask_plus_base_ali.pth", manifest("r50_ali"))
    name = config_name_of(path)
    with pytest.raises(CheckpointError) as caught:
        load_network(path, get_config(name))
    text = str(caught.value)
    assert "STMask_plus_base_ali" in text and "STMask_plus_resnet50_ali_config" in text
    assert "backbone.layers.1.2.conv2.bias" in text or "first key that differs" in text


def test_first_differing_key_follows_the_order_of_the_network(tmp_path):
    path = tmp_path / "a.pth"
    save(path, small(blocks=(1, 1, 3, 1)))
    cfg = get_config("STMask_plus_resnet50_config").copy({"network_sizes": SMALL})
    with pytest.raises(CheckpointError, match=r"is backbone\.layers\.1\.1\.conv1\.weight, which"):
        load_network(path, cfg)


def test_not_strict_keeps_what_fits(tmp_path):
    path = tmp_path / "a.pth"
    network = save(path, small(num_classes=5))
    sizes = SMALL | {"num_classes": 9}
    cfg = get_config("STMask_plus_resnet50_config").copy({"network_sizes": sizes})
    loaded, report = load_network(path, cfg, strict=False)
    assert loaded.settings.num_classes == 9
    assert torch.equal(loaded.fpn.lat_layers[0].weight, network.fpn.lat_layers[0].weight)
    assert set(report.difference.mis_shaped) == {
        f"prediction_layers.0.conf_layer.{k}.{kind}"
        for k in range(3)
        for kind in ("weight", "bias")
    }
    assert "conf_layer.2.bias" in report.text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list"),
        ({}, "mapping"),
        ({"epoch": 3}, "'epoch' is no named tensor"),
        ({"conv1.weight": torch.zeros(1)}, r"backbone\.conv1\.weight is missing"),
    ],
)
def test_foreign_files_are_refused(content, message, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load_network(path)


def test_detector_file_is_recognised(tmp_path):
    with pytest.raises(CheckpointError, match="COCO"):
        infer_settings(shapes("coco_yolact_plus_resnet50"))
    with pytest.raises(CheckpointError, match="no such file"):
        load_network(tmp_path / "absent.pth")


def test_deformable_blocks_without_a_rule(tmp_path):
    got = dict(shapes("r50_fca_tf"))
    del got["backbone.layers.2.2.conv2.conv_offset_mask.weight"]
    with pytest.raises(CheckpointError, match=r"layers\.2\.2 lacks"):
        infer_settings(got)


@pytest.mark.parametrize("name", COCO)
def test_coco_start_equals_the_record(name, tmp_path):
    coco, variant = name.split(" -> ")
    expected = COCO[name]
    path = write_constant(tmp_path / "coco.pth", manifest(f"coco_{coco}"))
    network = meta(get_config(f"{VARIANTS[variant]}_config"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = load_coco_start(path, network)
    assert any("learnt is lost" in str(w.message) for w in caught) == ("resnet50" in coco)
    assert len(report.taken) == expected["taken"]
    outside = {key for key in report.taken if not key.startswith("backbone.")}
    assert outside == set(expected["taken_outside_backbone"])
    for kind in (
        "dropped",
        "initialised_xavier_uniform",
        "initialised_zero",
        "left_as_constructed",
    ):
        assert sorted(getattr(report, kind)) == sorted(expected[kind]), kind


def test_start_from_a_bare_backbone_and_from_nothing(tmp_path):
    path = tmp_path / "resnet.pth"
    source = STMask(small())
    renamed = {
        (f"layer{int(k[7]) + 1}{k[8:]}" if k.startswith("layers.") else k): v
        for k, v in source.backbone.state_dict().items()
        if "conv_offset_mask" not in k
    }
    torch.save({**renamed, "fc.weight": torch.zeros(2, 2)}, path)
    network = STMask(small())
    report = load_coco_start(path, network, focal_init_pi=0.01)
    assert torch.equal(network.backbone.conv1.weight, source.backbone.conv1.weight)
    assert report.dropped == ("backbone.fc.weight",)
    assert all("conv_offset_mask" in key for key in report.left_as_constructed)
    bias = network.prediction_layers[0].conf_layer[1].bias
    assert bias[0] == 0 and bias[1:].sigmoid().tolist() == pytest.approx([0.01] * 40)
    assert "taken" in report.text()

    network = STMask(small())
    before = network.backbone.conv1.weight.clone()
    nothing = start_from_nothing(network)
    assert torch.equal(network.backbone.conv1.weight, before) and not nothing.taken
    assert not network.proto_net[0].bias.any() and network.proto_net[0].weight.any()
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="nothing in it fits"):
        load_coco_start(path, network)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="holds list"):
        load_coco_start(path, network)


def test_public_loading(tmp_path):
    path = tmp_path / "a.pth"
    save(path, small())
    assert not stmask.load(path).training
    with pytest.raises(ConfigError, match="STMask_plus_base_config"):
        stmask.load(path, config="STMask_plus_bas_config")
