"""Tables of DeVIS, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from records import Records
from table_text import NOT_MEASURED, learnt, parity_table, sentence, table

Row = dict[str, Any]
STAGES = ("backbone", "encoder", "decoder", "masks")


def parity(records: Records) -> str:
    """Worst error of every parity case."""
    return parity_table(records.devis_parity)


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    return learnt(records.devis_overfit)


def machine(records: Records) -> str:
    """What the speed was measured on."""
    bench = records.devis
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    return sentence(
        f"Machine: {bench['machine']}; PyTorch {bench['torch']}; weights: the published structures "
        "with the parity kit's deterministic values."
    )


def operator(records: Records) -> str:
    """Deformable attention alone."""
    rows = [
        (
            row["what"],
            row["part"],
            f"{1000 * row['plain_s']:.0f}",
            f"{1000 * row['ours_s']:.1f}",
            f"{row['ratio']:.1f} x",
            "" if "package_s" not in row else f"{1000 * row['package_s']:.0f}",
            f"{row['difference']:.0e}",
        )
        for row in records.devis.get("operator", [])
    ]
    head = ("samples", "what", "grid_sample, ms", "ours, ms", "faster", "torch-ms-deform-attn, ms")
    return table((*head, "relative difference"), rows or [[None] * 7])


def clip(records: Records) -> str:
    """A clip of six frames, plain and ours."""
    rows = [
        (
            f"`{row['model']}`",
            row["engine"],
            *(f"{row[name]:.2f}" for name in STAGES),
            f"{row['seconds']:.2f}",
            f"{row['ratio']:.1f} x",
            f"{row['detect_ratio']:.1f} x",
            f"{row['cpu_ratio']:.1f} x",
            f"{row['score_difference']:.0e}",
            f"{row['mask_iou']:.4f}",
        )
        for row in records.devis.get("clip", [])
    ]
    head = ("model", "engine", *(f"{name}, s" for name in STAGES), "all, s", "faster")
    head = (*head, "encoder and decoder faster", "CPU time less")
    head = (*head, "largest difference of scores", "IoU of all masks")
    return table(head, rows or [[None] * len(head)])


def video(records: Records) -> str:
    """Whole videos."""
    rows = [
        (
            f"`{row['model']}`",
            row["engine"],
            row["frames"],
            row["clips"],
            row["backbone_frames"],
            f"{row['forward_s']:.1f}",
            f"{row['tracking_s']:.1f}",
            f"{row['frames_per_second']:.2f}",
        )
        for row in records.devis.get("video", [])
    ]
    head = ("model", "engine", "frames", "clips", "frames through the backbone", "forward, s")
    return table((*head, "tracking, s", "frames/s"), rows or [[None] * 8])


def training(records: Records) -> str:
    """Forward and backward pass."""
    rows = [
        (row["form"], f"{row['seconds']:.1f}", f"{row['ratio']:.1f} x", f"{row['peak_mb']:.0f}")
        for row in records.devis.get("training", [])
    ]
    return table(("form", "s", "faster", "peak RSS, MB"), rows or [[None] * 4])


def memory(records: Records) -> str:
    """Resident memory of a long video."""
    rows = [
        (
            row["matching"],
            row["frames"],
            row["tracks"],
            f"{row['rss_warm_mb']:.0f}",
            f"{row['rss_end_mb']:.0f}",
            f"{row['slope_mb_per_100_frames']:.2f}",
        )
        for row in records.devis.get("memory", [])
    ]
    head = ("matching of masks", "frames", "tracks", "RSS when warm, MB", "RSS at end, MB")
    return table((*head, "slope, MB per 100 frames"), rows or [[None] * 6])


def precision(records: Records) -> str:
    """Scores of a trained small network by number format."""
    rows = [
        (row["format"], *(f"{100 * row[name]:.1f}" for name in ("AP", "AP50", "AP75")))
        for row in records.devis.get("precision", [])
    ]
    return table(("format", "AP", "AP50", "AP75"), rows or [[None] * 4])


TABLES: dict[str, Callable[[Records], str]] = {
    "devis-parity": parity,
    "devis-overfit": overfit,
    "devis-machine": machine,
    "devis-operator": operator,
    "devis-clip": clip,
    "devis-video": video,
    "devis-training": training,
    "devis-memory": memory,
    "devis-precision": precision,
}
