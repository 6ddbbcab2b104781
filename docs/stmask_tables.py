"""Tables of STMask's documents, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from records import Records
from table_text import NOT_MEASURED, learnt, parity_table, sentence, table


def parity(records: Records) -> str:
    """Worst error of every parity case."""
    return parity_table(records.stmask_parity)


#: Published numbers of YouTube-VIS 2019: model, frames per second, mAP, mAP*, name of the file.
PUBLISHED = (
    ("R50 FCA+TF", 29.3, 32.6, 33.4, "STMask_plus_resnet50"),
    ("R50 FCA+FCB(ali)+TF", 27.8, None, 32.1, "STMask_plus_resnet50_ali"),
    ("R50 FCA+FCB(ada)+TF", 28.6, 32.8, 33.0, "STMask_plus_resnet50_ada"),
    ("R101 FCA+TF", 24.5, 36.0, 36.3, "STMask_plus_base"),
    ("R101 FCA+FCB(ali)+TF", 22.1, 36.3, 37.1, "STMask_plus_base_ali"),
    ("R101 FCA+FCB(ada)+TF", 23.4, 36.8, 37.9, "STMask_plus_base_ada"),
)


#: Name of a file to the variant that the benchmark runs.
VARIANTS = {
    "STMask_plus_resnet50": "r50_fca_tf",
    "STMask_plus_resnet50_ali": "r50_ali",
    "STMask_plus_resnet50_ada": "r50_ada",
    "STMask_plus_base": "r101_fca_tf",
    "STMask_plus_base_ali": "r101_ali",
    "STMask_plus_base_ada": "r101_ada",
}
Row = dict[str, Any]


def published(records: Records) -> str:
    """Results of the paper, its speed, and the speed measured here."""
    rows = [
        (
            name,
            "-" if score is None else score,
            star,
            fps,
            _frames_per_second(records, VARIANTS[file]),
            f"`make eval-stmask MODEL=weights/{file}.pth`",
        )
        for name, fps, score, star, file in PUBLISHED
    ]
    head = ("model", "mAP", "mAP*", "frames/s, published", "frames/s here", "command")
    return table(head, rows)


def _frames_per_second(records: Records, variant: str) -> str | None:
    """Of the fastest exact form of a variant, with few candidates."""
    rows = [
        row
        for row in records.stmask.get("frames", [])
        if row["variant"] == variant and row["engine"] == "ours fp32"
    ]
    if not rows:
        return None
    return f"{1 / min(rows, key=lambda row: row['candidates'])['seconds']:.2f}"


def machine(records: Records) -> str:
    """What the speed was measured on."""
    bench = records.stmask
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    return sentence(
        f"Machine: {bench['machine']}; PyTorch {bench['torch']}; input {bench['size']}; weights: "
        "the published structures with the parity kit's deterministic values."
    )


def frames(records: Records) -> str:
    """Whole frames, plain and ours."""
    rows = [
        (
            f"`{row['variant']}`",
            row["candidates"],
            row["engine"],
            f"{row['shown']:.0f}",
            f"{row['seconds']:.3f}",
            f"{1 / row['seconds']:.2f}",
            f"{row['ratio']:.2f} x",
            f"{row['cpu_seconds']:.2f}",
            f"{row['cpu_ratio']:.2f} x",
            f"{100 * row['same_instances']:.2f} %",
            f"{row['mask_iou']:.4f}",
        )
        for row in records.stmask.get("frames", [])
    ]
    head = ("model", "candidates", "engine", "objects shown", "s/frame", "frames/s", "faster")
    head = (*head, "CPU s/frame", "less", "same objects", "IoU of all masks")
    return table(head, rows or [[None] * 11])


def stages(records: Records) -> str:
    """Time of each part of a frame."""
    found = records.stmask.get("frames", [])
    names = list(dict.fromkeys(name for row in found for name in row["stages"]))
    rows = [
        (
            f"`{row['variant']}`",
            row["candidates"],
            row["engine"],
            *(f"{1000 * row['stages'].get(name, 0):.0f}" for name in names),
        )
        for row in found
    ]
    head = ("model", "candidates", "engine", *(names or ["parts"]))
    return table(head, rows or [[None] * 4])


def temporal(records: Records) -> str:
    """Correlation and motion of the memory."""
    engines = ("plain", "ours fp32", "ours bf16")
    rows = [
        (
            row["what"],
            *(f"{1000 * row[name]:.1f}" if name in row else "" for name in engines),
            *(f"{row[f'ratio {name}']:.1f} x" if name in row else "" for name in engines[1:]),
        )
        for row in records.stmask.get("temporal", [])
    ]
    head = ("what", *engines, "faster, fp32", "faster, bf16")
    return table(head, rows or [[None] * 6])


def precision(records: Records) -> str:
    """Scores of a trained small network by number format."""
    rows = [
        (row["format"], *(f"{100 * row[name]:.1f}" for name in ("AP", "AP50", "AP75")))
        for row in records.stmask.get("precision", [])
    ]
    return table(("format", "AP", "AP50", "AP75"), rows or [[None] * 4])


def memory(records: Records) -> str:
    """Resident memory of a long video."""
    rows = [
        (
            row["frames"],
            f"{row['shown']:.1f}",
            f"{row['rss_warm_mb']:.0f}",
            f"{row['rss_end_mb']:.0f}",
            f"{row['slope_mb_per_100_frames']:.2f}",
        )
        for row in records.stmask.get("memory", [])
    ]
    head = ("frames", "objects a frame", "RSS when warm, MB", "RSS at end, MB")
    return table((*head, "slope, MB per 100 frames"), rows or [[None] * 5])


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    return learnt(records.stmask_overfit)


TABLES: dict[str, Callable[[Records], str]] = {
    "stmask-published": published,
    "stmask-machine": machine,
    "stmask-frames": frames,
    "stmask-stages": stages,
    "stmask-temporal": temporal,
    "stmask-precision": precision,
    "stmask-memory": memory,
    "stmask-parity": parity,
    "stmask-overfit": overfit,
}
