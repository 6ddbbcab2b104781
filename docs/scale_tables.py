"""Tables of docs/scale.md: measured stages, and what follows from them for many GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from records import Records, Row
from table_text import NOT_MEASURED, sentence, table

METHODS = {
    "stcn": "STCN, stage 3",
    "stemseg": "STEm-Seg, davis_1",
    "stmask": "STMask, base",
    "devis": "DeVIS, YT-21 R50",
    "vatrack": "VATrack, R50",
}
#: Loader processes per GPU, one core each, of the columns.
CORES = (2, 4, 8, 16)
#: Samples per second and GPU: an input, see the text.
GPU_SPEEDS = (1, 4, 16)
#: Megabytes of a read frame: JPEG of 854x480, the mean of 372 DAVIS frames; others by their pixels;
#: bitmaps and PNG of 1280x800 as they come.
JPEG_480P = 0.067
JPEG_720P = JPEG_480P * (1280 * 720) / (854 * 480)
JPEG_1080P = JPEG_480P * (1920 * 1080) / (854 * 480)
JPEG_9MP = JPEG_480P * 9e6 / (854 * 480)
PNG_SAILVOS = 1280 * 800 * 3 / 1e6
FRAME_MB = {
    "stcn": JPEG_480P,
    "stemseg": JPEG_480P,
    "stmask": JPEG_720P,
    "devis": JPEG_720P,
    "vatrack": PNG_SAILVOS,
}


class Schedule(NamedTuple):
    """A published training.

    Attributes:
        name: of it.
        steps: of the optimiser.
        batch: samples of a step, over all processes.
    """

    name: str
    steps: int
    batch: int


SCHEDULES = (
    Schedule("STCN, stage 0", 300_000, 16),
    Schedule("STCN, stage 1", 500_000, 8),
    Schedule("STCN, stage 2", 300_000, 8),
    Schedule("STCN, stage 3", 150_000, 8),
    Schedule("STEm-Seg, davis_1", 50_000, 2),
    Schedule("STEm-Seg, davis_2", 10_000, 2),
    Schedule("STEm-Seg, youtube_vis", 160_000, 2),
    Schedule("STEm-Seg, kitti_mots_1", 80_000, 2),
    Schedule("STMask, base", 125_000, 8),
    # 12 passes over at most 113,490 - 26,873 frames of the cut training set.
    Schedule("VATrack, R50, SAIL-VOS cut", 12 * 86_617 // 8, 8),
)


class DataSet(NamedTuple):
    """What a training reads.

    Attributes:
        name: of it.
        count: sequences, and frames in each, as the table shows them.
        frames: in all.
        frame_mb: megabytes of one; None where the size is published.
        total_gb: published size.
        source: of the numbers.
    """

    name: str
    count: str
    frames: int
    frame_mb: float | None
    total_gb: float | None
    source: str


DATA = (
    DataSet("DAVIS 2017, train and val, 480p", "90 x 70", 90 * 70, JPEG_480P, None, "frames: mean"),
    DataSet("YouTube-VOS, train", "3471 x 27", 3471 * 27, JPEG_720P, None, "frames: assumed"),
    DataSet("the same, train_480p", "3471 x 27", 3471 * 27, JPEG_480P, None, "frames: assumed"),
    DataSet("YouTube-VIS 2019, train", "2238 x 27", 2238 * 27, JPEG_720P, None, "frames: assumed"),
    DataSet("YouTube-VIS 2021, train", "2985 x 30", 2985 * 30, JPEG_720P, None, "frames: assumed"),
    DataSet("OVIS, train", "607 x 70", 607 * 70, JPEG_1080P, None, "frames: assumed"),
    DataSet(
        "KITTI-MOTS: tracking, left colour", "50 sequences", 19_103, None, 15, "size: its authors"
    ),
    DataSet("COCO 2017, train and val", "123,287 images", 123_287, None, 19, "size: its authors"),
    DataSet("Pascal VOC 2012", "17,125 images", 17_125, None, 2, "size: its authors"),
    DataSet("Mapillary Vistas, train", "18,000 images", 18_000, JPEG_9MP, None, "pixels: assumed"),
    DataSet("BL30K", "30,000 x 160", 30_000 * 160, None, 700, "size: its authors"),
    DataSet("SAIL-VOS cut", "113,490 frames", 113_490, PNG_SAILVOS, None, "bitmaps; PNG is less"),
)


def by_method(records: Records) -> list[tuple[str, str, Row]]:
    """Key, name and measured row of every method that has one."""
    found = [(key, name, records.scale.get(key)) for key, name in METHODS.items()]
    return [(key, name, rows[0]) for key, name, rows in found if rows]


def machine(records: Records) -> str:
    """What the stages were measured on."""
    if not records.scale:
        return sentence(f"Machine: {NOT_MEASURED}.")
    bench = records.scale
    return sentence(f"Machine: {bench['machine']}; PyTorch {bench['torch']}; float32, no GPU.")


def stages(records: Records) -> str:
    """Seconds of every stage."""
    rows = [
        (
            name,
            f"{row['frames']} x {row['size']}",
            *(f"{row[f'{stage}_s']:.3f}" for stage in ("loader", "forward", "backward")),
            f"{row['optimiser_s']:.3f}",
            f"{row['write_s']:.2f}",
            f"{row['checkpoint_mb']:.0f}",
        )
        for _, name, row in by_method(records)
    ]
    head = ("training", "frames of a sample", "loader, s", "forward, s", "backward, s")
    head = (*head, "optimiser, s per step", "checkpoint, s", "MB")
    return table(head, rows or [[None] * 8])


def loader(records: Records) -> str:
    """Up to which speed of a GPU so many cores feed it."""
    rows = [
        (
            name,
            f"{1 / row['loader_s']:.1f}",
            *(f"{cores / row['loader_s']:.0f}" for cores in CORES[1:]),
            f"{row['frames'] * FRAME_MB[key]:.1f}",
            f"{8 * row['frames'] * FRAME_MB[key] * 4:.0f}",
        )
        for key, name, row in by_method(records)
    ]
    head = ("training", "samples/s of one core", *(f"of {cores}" for cores in CORES[1:]))
    head = (*head, "MB read per sample", "MB/s of 8 GPUs, 4 samples/s each")
    return table(head, rows or [[None] * 7])


def network(records: Records) -> str:
    """What a step exchanges between GPUs."""
    rows = []
    for _, name, row in by_method(records):
        size = row["gradient_mb"]
        traffic = [2 * size * (gpus - 1) / gpus for gpus in (8, 512)]
        # A tenth of a step of a quarter of a second.
        cells = [f"{mb:.0f}" for mb in traffic]
        rows.append((name, f"{size:.0f}", *cells, f"{traffic[1] / 0.025 / 1000:.1f}"))
    head = ("training", "gradients, MB", "per GPU and step, 8 GPUs, MB", "512 GPUs, MB")
    return table((*head, "GB/s for a tenth of a step of 0.25 s"), rows or [[None] * 5])


def storage(records: Records) -> str:
    """Size of the data sets; without measured stages there is nothing to plan."""
    rows: list[Sequence[object]] = []
    for data in DATA if records.scale else ():
        size = data.total_gb or data.frames * (data.frame_mb or 0) / 1000
        per_frame = data.frame_mb or size * 1000 / data.frames
        rows.append((data.name, data.count, f"{1000 * per_frame:.0f}", f"{size:.1f}", data.source))
    head = ("data set", "frames", "kB per frame", "GB", "source")
    return table(head, rows or [[None] * 5])


def cost(records: Records) -> str:
    """GPU hours of the published schedules; without measured stages there is nothing to plan."""
    rows: list[Sequence[object]] = []
    for schedule in SCHEDULES if records.scale else ():
        samples = schedule.steps * schedule.batch
        hours = [f"{samples / speed / 3600:,.0f}" for speed in GPU_SPEEDS]
        fastest = [f"{samples / speed / 3600 / schedule.batch:,.0f}" for speed in GPU_SPEEDS]
        rows.append((schedule.name, f"{samples:,}", *hours, schedule.batch, " / ".join(fastest)))
    speeds = [f"GPU hours at {speed}/s" for speed in GPU_SPEEDS]
    head = ("training", "samples", *speeds, "most GPUs", "hours on them at 1, 4, 16/s")
    return table(head, rows or [[None] * 7])


TABLES: dict[str, Callable[[Records], str]] = {
    "scale-machine": machine,
    "scale-stages": stages,
    "scale-loader": loader,
    "scale-network": network,
    "scale-storage": storage,
    "scale-cost": cost,
}
