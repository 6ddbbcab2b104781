"""Tables of STEm-Seg's documents, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from records import Records
from table_text import NOT_MEASURED, parity_table, sentence, table

Row = dict[str, Any]


def machine(records: Records) -> str:
    """What the speed was measured on."""
    bench = records.stemseg
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    return sentence(
        f"Machine: {bench['machine']}; PyTorch {bench['torch']}; video: {bench['clip']}, 854x480, "
        f"at `--min_dim {bench['min_dim']}`; weights: the published structures with the parity "
        "kit's deterministic values."
    )


def stages(records: Records) -> str:
    """Time of each part of one clip."""
    rows = records.stemseg.get("stages", [])
    head = ("engine", "backbone, s", "decoders, s", "decoders of the next clip, s")
    head = (*head, "clustering, s", "output, s")
    if not rows:
        return table(head, [[None] * 6])
    return table(head, [_stage_cells(row) for row in rows])


def _stage_cells(row: Row) -> tuple[str, ...]:
    # The plain path has a time for every decoder, and the same for every clip.
    single = sum(value for name, value in row.items() if name.endswith(" decoder"))
    first = row.get("decoders", single)
    following = row.get("decoders, following clip", single)
    numbers = (row["backbone"], first, following, row["clustering"], row["output"])
    return (row["engine"], *(f"{value:.3f}" for value in numbers))


def clustering(records: Records) -> str:
    """The clusterer alone."""
    rows = [
        (
            row["stride"],
            f"{row['points']:,}",
            row["instances"],
            f"{row['plain_s']:.3f}",
            f"{row['ours_s']:.3f}",
            f"{row['ratio']:.1f} x",
            f"{100 * row['equal']:.3f} %",
        )
        for row in records.stemseg.get("clustering", [])
    ]
    head = ("stride", "points", "instances", "plain, s", "ours, s", "faster", "equal labels")
    return table(head, rows or [[None] * 7])


def video(records: Records) -> str:
    """Whole videos."""
    sections = ("video", "video_full", "video_davis", "video_published")
    return _videos([row for name in sections for row in records.stemseg.get(name, [])])


def gpu(records: Records) -> str:
    """Whole videos on a GPU."""
    rows = records.stemseg.get("gpu", [])
    return _videos(rows) if rows else sentence("Not measured: no GPU was at hand.")


def _videos(rows: list[Row]) -> str:
    cells = [
        (
            row["case"],
            row["engine"],
            f"{row['seconds']:.1f}",
            f"{row['frames'] / row['seconds']:.2f}",
            f"{row['ratio']:.2f} x",
            f"{100 * row['equal']:.4f} %",
            f"{row['equal_mask_pixels']:.4f}",
        )
        for row in rows
    ]
    head = ("model", "engine", "s", "frames/s", "faster", "equal labels", "IoU of all masks")
    return table(head, cells or [[None] * 7])


def memory(records: Records) -> str:
    """Resident memory of a long video."""
    rows = [
        (
            row["frames"],
            f"{row['rss_warm_mb']:.0f}",
            f"{row['rss_end_mb']:.0f}",
            f"{row['slope_mb_per_100_frames']:.2f}",
        )
        for row in records.stemseg.get("memory", [])
    ]
    head = ("frames", "RSS after 100 frames, MB", "RSS at end, MB", "slope, MB per 100 frames")
    return table(head, rows or [[None] * 4])


def parity(records: Records) -> str:
    """Worst error of every parity case."""
    return parity_table(records.stemseg_parity)


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    found = records.overfit
    if not found:
        return sentence(f"Score and time: {NOT_MEASURED}.")
    clips = ", ".join(f"{clip['objects']} object(s)" for clip in found["clips"])
    return sentence(
        f"J&F {found['J&F']:.3f} (J {found['J']:.3f}, F {found['F']:.3f}) after "
        f"{found['iterations']} iterations on clips with {clips}; training took "
        f"{found['training_cpu_seconds'] / 60:.1f} minutes of processor time."
    )


TABLES: dict[str, Callable[[Records], str]] = {
    "stemseg-machine": machine,
    "stemseg-stages": stages,
    "stemseg-clustering": clustering,
    "stemseg-video": video,
    "stemseg-gpu": gpu,
    "stemseg-memory": memory,
    "stemseg-parity": parity,
    "stemseg-overfit": overfit,
}
