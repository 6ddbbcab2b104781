"""Tables of VATrack's documents, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable

from records import Records
from table_text import NOT_MEASURED, parity_table, sentence, table

STAGES = ("prepare", "backbone", "proposals", "boxes", "embeddings", "tracker", "masks", "paste")


def machine(records: Records) -> str:
    """What the speed was measured on."""
    bench = records.vatrack
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    size = next((row["size"] for row in bench.get("frames", [])), NOT_MEASURED)
    return sentence(
        f"Machine: {bench['machine']}; PyTorch {bench['torch']}; frames {size}; weights: the "
        "published structures with the parity kit's deterministic values."
    )


def frames(records: Records) -> str:
    """Whole frames, plain and ours."""
    rows = [
        (
            f"`{row['variant']}`",
            row["engine"] if row["engine"] == "plain" else f"ours {row['engine']}",
            f"{row['seconds']:.2f}",
            f"{1 / row['seconds']:.2f}",
            f"{row['ratio']:.2f} x",
            f"{row['cpu_seconds']:.2f}",
            f"{row['cpu_ratio']:.2f} x",
            f"{100 * row['same_boxes']:.1f} %",
            f"{100 * row['same_ids']:.1f} %",
            f"{row['largest_box_shift']:.4f}",
            f"{row['mask_iou']:.4f}",
        )
        for row in records.vatrack.get("frames", [])
    ]
    head = ("model", "engine", "s/frame", "frames/s", "faster", "CPU s/frame", "less")
    head = (*head, "same boxes and classes", "same ids", "largest shift of a box, pixels")
    return table((*head, "IoU of all masks"), rows or [[None] * 11])


def stages(records: Records) -> str:
    """Time of each part of a frame."""
    rows = [
        (
            f"`{row['variant']}`",
            row["engine"] if row["engine"] == "plain" else f"ours {row['engine']}",
            *(f"{1000 * row['stages'].get(name, 0):.0f}" for name in STAGES),
        )
        for row in records.vatrack.get("frames", [])
    ]
    return table(("model", "engine", *STAGES), rows or [[None] * (2 + len(STAGES))])


def parts(records: Records) -> str:
    """Pasting and the tracker alone."""
    bench = records.vatrack
    rows = [
        (
            f"amodal and visible masks of 100 objects at {bench['frames'][0]['size']}",
            f"{1000 * row['plain']:.0f}",
            f"{1000 * row['ours']:.1f}",
            f"{row['ratio']:.1f} x",
        )
        for row in bench.get("paste", [])
    ]
    rows += [
        (f"tracker, {row['what']}", "", f"{1000 * row['median']:.2f}", "")
        for row in bench.get("tracker", [])
    ]
    return table(("what", "plain", "ours", "faster"), rows or [[None] * 4])


def memory(records: Records) -> str:
    """Resident memory of a long video."""
    rows = [
        (
            row["frames"],
            f"{row['tracks_per_frame']:.1f}",
            row["numbers_given"],
            f"{row['rss_warm_mb']:.0f}",
            f"{row['rss_end_mb']:.0f}",
            f"{row['slope_mb_per_100_frames']:.2f}",
        )
        for row in records.vatrack.get("memory", [])
    ]
    head = ("frames", "objects a frame", "ids given", "RSS when warm, MB", "RSS at end, MB")
    return table((*head, "slope, MB per 100 frames"), rows or [[None] * 6])


def precision(records: Records) -> str:
    """Scores of a trained small network by number format."""
    names = ("amodal_vAP", "amodal_vAP50", "visible_vAP", "visible_vAP50")
    rows = [
        (row["format"], *(f"{100 * row[name]:.1f}" for name in names))
        for row in records.vatrack.get("precision", [])
    ]
    head = ("format", "amodal vAP", "amodal vAP50", "visible vAP", "visible vAP50")
    return table(head, rows or [[None] * 5])


def parity(records: Records) -> str:
    """Worst error of every parity case."""
    return parity_table(records.vatrack_parity)


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    record = records.vatrack_overfit
    if not record:
        return sentence(f"Score and time: {NOT_MEASURED}.")
    scores = ", ".join(
        f"{masks} vAP50 {record[f'{masks}_vAP50']:.3f} (vAP {record[f'{masks}_vAP']:.3f})"
        for masks in ("amodal", "visible")
    )
    clips = " and ".join(
        f"{clip['objects']} objects in {clip['frames']} frames" for clip in record["clips"]
    )
    return sentence(
        f"{scores} after {record['iterations']} iterations on clips with {clips}; training took "
        f"{record['training_cpu_seconds'] / 60:.1f} minutes of processor time."
    )


TABLES: dict[str, Callable[[Records], str]] = {
    "vatrack-machine": machine,
    "vatrack-frames": frames,
    "vatrack-stages": stages,
    "vatrack-parts": parts,
    "vatrack-memory": memory,
    "vatrack-precision": precision,
    "vatrack-parity": parity,
    "vatrack-overfit": overfit,
}
