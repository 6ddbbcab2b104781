"""Runs recorded cases of the original implementation: `python -m stemseg.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into the official container and go through the loader
that reads official files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

from pathlib import Path

from stemseg.parity_kit import Kit
from vidseg_common.errors import run_cli
from vidseg_common.parity_cases import Suite

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"

#: Module to the kinds whose `run_<kind>` it has.
RUNNERS = {
    "stemseg.parity_network": (
        *("coordinate_maps", "op_frozen_bn", "op_bottleneck", "op_fpn", "decoder", "net"),
    ),
    "stemseg.parity_losses": (
        *("loss_embedding", "loss_lovasz", "loss_semseg_foreground", "targets_rescale"),
        *("lr_schedules", "train", "train_step"),
    ),
    "stemseg.parity_data": (
        *("dataset_parse", "dataset_sampling", "dataset_sample", "dataset_image_filters"),
        *("mask_resize", "collate", "instance_duplicator", "concat_dataset", "rle"),
    ),
    "stemseg.parity_inference": (
        *("resize_rules", "input_dim_flags", "preprocess", "subsequences", "cluster", "chainer"),
        *("output", "kitti_mots_postprocessing", "visualisation", "infer"),
    ),
}

SUITE = Suite("stemseg", RUNNERS, Kit, RECORDS)
main = SUITE.main
run_kit = SUITE.run_kit
run_case = SUITE.run_case

if __name__ == "__main__":
    run_cli(main)
