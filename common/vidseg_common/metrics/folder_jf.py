"""J&F of any data set of folders of masks, with any object ids.

    python -m vidseg_common.metrics.folder_jf -g GROUND_TRUTH -m PREDICTIONS

Source: spec common section 4.6.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets.records import list_folders
from vidseg_common.errors import DatasetError, run_cli
from vidseg_common.files import check_writable, write_json, write_text
from vidseg_common.metrics.object_frames import (
    FrameResult,
    FrameTask,
    raise_all,
    score_videos,
)
from vidseg_common.metrics.parallel import available_cpus, positive_int


@dataclass(frozen=True)
class FolderRow:
    """Mean J and F of one object over the frames it counts in.

    Attributes:
        sequence: name of the video.
        object_id: id of the object.
        j: mean J.
        f: mean F.
        frames: names of the frames that count.
        j_frames: J of each of them.
        f_frames: F of each of them.
    """

    sequence: str
    object_id: int
    j: float
    f: float
    frames: tuple[str, ...] = ()
    j_frames: tuple[float, ...] = ()
    f_frames: tuple[float, ...] = ()

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class FolderResult:
    """The score of a folder.

    Attributes:
        rows: one per object, in order of video and id.
        skipped: videos of the ground truth without results, which were left out.
    """

    rows: tuple[FolderRow, ...]
    skipped: tuple[str, ...] = ()

    @property
    def j_mean(self) -> float:
        """Mean J over the objects of all videos."""
        return float(np.mean([row.j for row in self.rows]))

    @property
    def f_mean(self) -> float:
        """Mean F over the objects of all videos."""
        return float(np.mean([row.f for row in self.rows]))

    @property
    def global_mean(self) -> float:
        """Mean of J and F over the objects of all videos."""
        return (self.j_mean + self.f_mean) / 2

    @property
    def numbers(self) -> dict[str, float]:
        """The headline, in order."""
        return {"J&F-Mean": self.global_mean, "J-Mean": self.j_mean, "F-Mean": self.f_mean}

    def per_object(self) -> list[dict[str, Any]]:
        """One row per object: video, id and numbers."""
        return [
            {
                "video": row.sequence,
                "object_id": row.object_id,
                "J&F-Mean": row.jf,
                "J-Mean": row.j,
                "F-Mean": row.f,
            }
            for row in self.rows
        ]

    def per_video(self) -> list[dict[str, Any]]:
        """One row per video: its name and the means over its objects."""
        names = dict.fromkeys(row.sequence for row in self.rows)
        parts = {n: FolderResult(tuple(r for r in self.rows if r.sequence == n)) for n in names}
        return [{"video": name, **part.numbers} for name, part in parts.items()]

    def table(self) -> str:
        """The same as `csv`, which is what the reference command shows."""
        return self.csv()

    def csv(self) -> str:
        """The table with values times 100 and one decimal, the global score first."""
        lines = ["sequence,obj, J&F, J, F"]
        lines.append(_csv_line("Global score", "", self.global_mean, self.j_mean, self.f_mean))
        lines += [
            _csv_line(row.sequence, f"{row.object_id:03d}", row.jf, row.j, row.f)
            for row in self.rows
        ]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision, ready for JSON."""
        objects = [
            {
                "sequence": row.sequence,
                "object_id": row.object_id,
                "J": row.j,
                "F": row.f,
                "frames": list(row.frames),
                "j_frames": list(row.j_frames),
                "f_frames": list(row.f_frames),
            }
            for row in self.rows
        ]
        return {
            "metric": "folder_jf",
            "global": self.numbers,
            "objects": objects,
            "skipped": list(self.skipped),
        }


def _csv_line(sequence: str, name: str, jf: float, j: float, f: float) -> str:
    return f"{sequence},{name},{100 * jf:.1f},{100 * j:.1f},{100 * f:.1f}"


def evaluate_folders(
    gt_root: str | Path,
    results_root: str | Path,
    *,
    void: int | None = None,
    skip_first_and_last: bool = True,
    strict: bool = False,
    frames: Mapping[str, Collection[str]] | None = None,
    workers: int = 1,
    progress: bool = True,
) -> FolderResult:
    """Scores a folder of results against a folder of annotations, one sub-folder per video.

    Every value but 0 is an object, from the first evaluated frame on in which the annotation or
    the prediction shows it. Ids that no evaluated annotation shows are not reported. Frames are
    those of the ground truth.

    Args:
        gt_root: annotations, `VIDEO/*.png`.
        results_root: predictions of the same names.
        void: value of the annotations that means "no label", such as 255.
        skip_first_and_last: leave out both frames of every video.
        strict: both folders must have the same videos.
        frames: names of the frames that count per video, without suffix, such as those from the
            first given mask on; other videos are left out. By default all of the ground truth.
        workers: number of processes.
        progress: shows a progress bar on stderr.

    Raises:
        DatasetError: missing or unusable files; one error lists all problems.
    """
    gt_root, results_root = Path(gt_root), Path(results_root)
    names, skipped = _videos(gt_root, results_root, strict)
    videos: dict[str, list[FrameTask]] = {}
    for name in names:
        if frames is not None and name not in frames:
            continue
        paths = sorted((gt_root / name).glob("*.png"))
        paths = [path for path in paths if frames is None or path.stem in frames[name]]
        paths = paths[1:-1] if skip_first_and_last else paths
        videos[name] = [FrameTask(p, results_root / name / p.name, void=void) for p in paths]
    empty = [name for name, tasks in videos.items() if not tasks]
    raise_all([f"{name}: no frame to evaluate in {gt_root / name}" for name in empty])
    scores = score_videos(videos, workers=workers, progress=progress)
    rows = [row for name, tasks in videos.items() for row in _rows(name, tasks, scores[name])]
    if not rows:
        raise DatasetError(f"no object in the evaluated annotations of {gt_root}")
    return FolderResult(tuple(rows), skipped)


def _videos(gt_root: Path, results_root: Path, strict: bool) -> tuple[list[str], tuple[str, ...]]:
    """Videos to score, and those of the ground truth that have no results."""
    wanted, present = list_folders(gt_root), set(list_folders(results_root))
    different = sorted(set(wanted) ^ present) if strict else []
    raise_all([f"{name}: only one of the two folders has this video" for name in different])
    names = [name for name in wanted if name in present]
    if not names:
        raise DatasetError(f"{gt_root} and {results_root} have no video in common")
    return names, tuple(name for name in wanted if name not in present)


def _rows(name: str, tasks: Sequence[FrameTask], frames: Sequence[FrameResult]) -> list[FolderRow]:
    """Means per object; a frame that does not show a known object scores 1."""
    real = sorted(set().union(*(frame.gt_ids for frame in frames)))
    rows: list[FolderRow] = []
    for object_id in real:
        first = next(t for t, frame in enumerate(frames) if object_id in frame.scores)
        values = np.array([frame.scores.get(object_id, (1.0, 1.0)) for frame in frames[first:]])
        j, f = values.mean(axis=0)
        names = tuple(task.gt.stem for task in tasks[first:])
        j_frames, f_frames = (tuple(column.tolist()) for column in values.T)
        rows.append(FolderRow(name, object_id, float(j), float(f), names, j_frames, f_frames))
    return rows


def build_parser() -> ArgumentParser:
    """Flags of the reference command and ours."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.metrics.folder_jf",
        description="J&F of folders of masks; exit status 0 = scored, 2 = bad input.",
    )
    add = parser.add_argument
    add("-g", "--gt", type=Path, required=True, help="annotations, VIDEO/*.png")
    add("-m", "--mask", type=Path, required=True, help="predictions, VIDEO/*.png")
    add("-n", "--workers", type=positive_int, default=available_cpus(), help="processes")
    add("-s", "--strict", action="store_true", help="both folders must have the same videos")
    add("-d", "--do_not_skip", action="store_true", help="score the first and last frame too")
    add("--void", type=int, help="value of the annotations that means no label")
    add("--json", type=Path, metavar="OUT", help="also write everything at full precision")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a folder of results, prints the table and writes `results.csv` beside the results.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input, all problems in one message.
        OSError: a result file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    result = evaluate_folders(
        options.gt,
        options.mask,
        void=options.void,
        skip_first_and_last=not options.do_not_skip,
        strict=options.strict,
        workers=options.workers,
        progress=not options.quiet,
    )
    write_text(check_writable(options.mask) / "results.csv", result.csv())
    if options.json:
        write_json(options.json, result.to_json())
    if result.skipped:
        names = ", ".join(result.skipped)
        sys.stderr.write(f"warning: no results for, and not scored: {names}\n")
    sys.stdout.write(result.csv())
    return 0


if __name__ == "__main__":
    run_cli(main)
