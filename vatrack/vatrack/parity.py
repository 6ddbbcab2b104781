"""Runs recorded cases of the original implementation: `python -m vatrack.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into a file like the released one and go through the
loader that reads released files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

from pathlib import Path

from vatrack.parity_kit import Kit
from vidseg_common.errors import run_cli
from vidseg_common.parity_cases import Suite

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"

#: Module to the kinds whose `run_<kind>` it has.
RUNNERS: dict[str, tuple[str, ...]] = {
    "vatrack.parity_network": ("backbone", "rpn", "anchors", "coder", "heads"),
    "vatrack.parity_regions": ("nms", "roi_align", "roi_extract", "paste", "rle"),
    "vatrack.parity_tracking": ("tracker", "e2e"),
    "vatrack.parity_losses": (
        *("assign", "loss_mask", "loss_rcnn", "loss_rpn", "loss_track", "mask_target", "train"),
    ),
    "vatrack.parity_data": ("conversion", "dataset", "preprocess", "lr"),
    "vatrack.parity_evaluation": ("evaluation",),
}

SUITE = Suite("vatrack", RUNNERS, Kit, RECORDS)
main = SUITE.main
run_kit = SUITE.run_kit

if __name__ == "__main__":
    run_cli(main)
