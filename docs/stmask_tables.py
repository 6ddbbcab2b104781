"""Tables of STMask's documents, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable

from records import Records
from table_text import NOT_MEASURED, parity_table, sentence, table


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


def published(records: Records) -> str:
    """Results of the paper, its speed, and the speed measured here."""
    measured = {row["model"]: row["fps"] for row in records.stmask.get("models", [])}
    rows = [
        (
            name,
            "-" if score is None else score,
            star,
            fps,
            f"{measured[file]:.2f}" if file in measured else None,
            f"`make eval-stmask MODEL=weights/{file}.pth`",
        )
        for name, fps, score, star, file in PUBLISHED
    ]
    head = ("model", "mAP", "mAP*", "frames/s, published", "frames/s here, CPU", "command")
    return table(head, rows)


def machine(records: Records) -> str:
    """What the speed was measured on."""
    bench = records.stmask
    if not bench:
        return sentence(f"Machine: {NOT_MEASURED}.")
    return sentence(f"Machine: {bench['machine']}; PyTorch {bench['torch']}.")


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    found = records.stmask_overfit
    if not found:
        return sentence(f"Score and time: {NOT_MEASURED}.")
    return sentence(str(found))


TABLES: dict[str, Callable[[Records], str]] = {
    "stmask-published": published,
    "stmask-machine": machine,
    "stmask-parity": parity,
    "stmask-overfit": overfit,
}
