"""Tables of the speed of metrics."""

from __future__ import annotations

from collections.abc import Callable

from records import Records
from table_text import NOT_MEASURED, sentence, table


def video_ap(records: Records) -> str:
    """Video AP from files to the summary, against the straightforward procedure."""
    rows = [
        (
            load["load"],
            row["form"],
            f"{row['wall_s']:.3f}",
            f"{row['cpu_s']:.3f}",
            f"{row['wall_ratio']:.1f} x",
            f"{row['cpu_ratio']:.1f} x",
            f"{row['max_error']:.0e}",
        )
        for load in records.video_ap.get("loads", [])
        for row in load["rows"]
    ]
    head = ("load", "form", "s", "CPU s", "faster", "less CPU", "largest difference")
    return table(head, rows or [[None] * 7])


def video_ap_notes(records: Records) -> str:
    """What reading alone takes, and the memory of a large set."""
    record = records.video_ap
    if not record.get("memory"):
        return sentence(f"Memory: {NOT_MEASURED}.")
    parsing = ", ".join(f"{load['json_loads_s']:.3f}" for load in record["loads"])
    memory = record["memory"]
    return sentence(
        f"Of this, `json.loads` of both files alone takes {parsing} s. A set of {memory['load']} "
        f"({memory['pred_mb'] / 1000:.1f} GB of results) took {memory['wall_s']:.0f} s and at most "
        f"{memory['peak_gb']:.2f} GB with {memory['workers']} processes."
    )


def mots(records: Records) -> str:
    """The MOTS evaluation against the straightforward procedure."""
    rows = [
        (
            row["group"],
            row["form"],
            row["frames"],
            f"{row['wall_s']:.3f}",
            f"{row['cpu_s']:.3f}",
            f"{row['wall_ratio']:.1f} x",
            f"{row['cpu_ratio']:.1f} x",
            f"{row['max_error']:.0e}",
        )
        for row in records.mots.get("rows", [])
    ]
    head = ("what", "form", "frames", "s", "CPU s", "faster", "less CPU", "largest difference")
    return table(head, rows or [[None] * 8])


TABLES: dict[str, Callable[[Records], str]] = {
    "video-ap": video_ap,
    "video-ap-notes": video_ap_notes,
    "mots": mots,
}
