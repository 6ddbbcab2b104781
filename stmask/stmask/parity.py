"""Runs recorded cases of the original implementation: `python -m stmask.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into a file like the released one and go through the
loader that reads released files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

from pathlib import Path

from stmask.parity_kit import Kit
from vidseg_common.errors import run_cli
from vidseg_common.parity_cases import Suite

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"

#: Module to the kinds whose `run_<kind>` it has.
RUNNERS = {
    "stmask.parity_network": (
        *("net_forward", "head", "priors", "boxes", "mask_assembly"),
        *("op_dcnv2", "op_correlation", "op_roi_align", "op_feature_align"),
    ),
    "stmask.parity_inference": (*("nms", "candidates", "json_result", "preprocess"),),
    "stmask.parity_tracking": (*("tf_shift", "tracker_tf", "tracker_plain", "video"),),
    "stmask.parity_losses": ("loss", "train_step"),
}

SUITE = Suite("stmask", RUNNERS, Kit, RECORDS)
main = SUITE.main
run_kit = SUITE.run_kit

if __name__ == "__main__":
    run_cli(main)
