"""Runs recorded cases of the original implementation: `python -m devis.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into a file like the released one and go through the
loader that reads released files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

from pathlib import Path

from devis.parity_kit import Kit
from vidseg_common.errors import run_cli
from vidseg_common.parity_cases import Suite

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"

#: Module to the kinds whose `run_<kind>` it has.
RUNNERS: dict[str, tuple[str, ...]] = {
    "devis.parity_start": ("init_from_coco", "init_mask_head", "parameter_groups"),
    "devis.parity_tracking": ("track",),
    "devis.parity_losses": (
        *("matcher_clip", "criterion_clip", "criterion_image", "focal_and_dice"),
    ),
    "devis.parity_layers": (
        *("op_msda", "op_modulated_deform_conv", "op_temporal_attn_encoder"),
        *("op_temporal_attn_decoder", "encoder", "decoder", "transformer"),
        *("position_sine", "position_learned", "bbox_attention", "mask_head"),
        *("conv_head_3d", "swin_layer"),
    ),
    "devis.parity_networks": ("net_devis", "net_deformable_detr"),
    "devis.parity_training": ("net_mask_head", "train_devis", "train_mask_head"),
    "devis.parity_data": (
        *("preprocess_val", "batch_padding", "clips_of_video", "train_sampling"),
        *("postprocess_clip", "postprocess_image", "train_targets"),
    ),
}

SUITE = Suite("devis", RUNNERS, Kit, RECORDS)
main = SUITE.main
run_kit = SUITE.run_kit

if __name__ == "__main__":
    run_cli(main)
