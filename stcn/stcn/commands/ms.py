"""Multi-scale and flip testing on YouTube-VOS (spec section 4.8)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stcn.commands.common import metrics_folder, say
from stcn.commands.eval_youtube import youtube_parser, youtube_records, youtube_settings
from stcn.commands.shards import run_plan
from stcn.evaluate import EvalPlan
from stcn.inference.predictor import Prediction
from stcn.multiscale import merge_volumes, quantise
from stcn.options import build_predictor
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.files import OutputLock, atomic_path, check_writable
from vidseg_common.masks import write_mask
from vidseg_common.metrics.parallel import positive_int, run_jobs

KERNEL_SIGMA = 7.0


class VolumeWriter:
    """Collects the probabilities of a video and stores them as OPTION/VIDEO.npz.

    Args:
        folder: of the option.
        flip: the network saw mirrored frames; what is stored is mirrored back.
    """

    def __init__(self, folder: Path, *, flip: bool) -> None:
        self.folder, self.flip = folder, flip
        self._frames: list[np.ndarray] = []
        self._names: list[str] = []
        self._frame_ids: list[tuple[int, ...]] = []

    def add(self, record: VideoRecord, frame_idx: int, result: Prediction) -> None:
        """Takes one computed frame; frames that are not wanted are passed over."""
        if record.required is not None and frame_idx not in record.required:
            return
        volume = quantise(result.prob.float().cpu().numpy())
        self._frames.append(volume[:, :, ::-1] if self.flip else volume)
        self._names.append(record.frame_paths[frame_idx].name)
        self._frame_ids.append(result.object_ids)

    def finish(self, record: VideoRecord) -> None:
        """Writes the video and starts afresh."""
        ids = sorted({i for frame_ids in self._frame_ids for i in frame_ids})
        # Before an object enters it has probability 0.
        full = [_spread(*pair, ids) for pair in zip(self._frames, self._frame_ids, strict=True)]
        if full:
            path = self.folder / f"{record.name}.npz"
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(
                    file,
                    volume=np.stack(full),
                    object_ids=np.array(ids),
                    names=np.array(self._names),
                )
        self._frames, self._names, self._frame_ids = [], [], []


def _spread(volume: np.ndarray, ids: Sequence[int], all_ids: list[int]) -> np.ndarray:
    out = np.zeros((len(all_ids) + 1, *volume.shape[1:]), dtype=volume.dtype)
    out[[0, *(1 + all_ids.index(i) for i in ids)]] = volume
    return out


def main_eval(argv: Sequence[str] | None = None) -> int:
    """`python -m ms.eval_youtube`: one option of {480, 600} x {plain, flipped}."""
    parser = youtube_parser("ms.eval_youtube", "One option of multi-scale testing.")
    parser.add_argument("--use_km", action="store_true", help="kernelised read, sigma 7")
    parser.add_argument("--flip", action="store_true", help="mirror the frames")
    parser.add_argument("--amp_off", action="store_true", help="full precision")
    args = parser.parse_args(argv)
    records = youtube_records(args)
    settings = youtube_settings(args, amp=not args.amp_off, flip=args.flip, use_km=args.use_km)
    plan = EvalPlan(
        records,
        args.output / "Annotations",
        metrics_folder(args.output) / "run.json",
        settings,
        overwrite=args.overwrite,
        rgb_masks=args.rgb_masks,
    )
    run_plan(
        args,
        plan,
        lambda: build_predictor(
            args,
            size=args.size,
            amp=not args.amp_off,
            kernel_sigma=KERNEL_SIGMA if args.use_km else None,
        ),
        data=f"youtube {args.split}",
        hooks=lambda output: _hooks(output, flip=args.flip),
        extra="{}.npz",
    )
    return 0


def _hooks(output: Path, *, flip: bool) -> dict[str, Any]:
    volumes = VolumeWriter(output, flip=flip)
    return {
        "hook": volumes.add,
        "finished": volumes.finish,
        "transform": _mirror if flip else None,
    }


def _mirror(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def main_merge(argv: Sequence[str] | None = None) -> int:
    """`python -m ms.merge_ensemble`: sums the options and writes label maps."""
    parser = ArgumentParser("ms.merge_ensemble", description="Merges multi-scale options.")
    parser.add_argument(
        "--list", type=Path, nargs="+", required=True, metavar="DIR", help="outputs of the options"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the label maps")
    parser.add_argument("--num_proc", type=positive_int, default=4, help="processes")
    parser.add_argument("--yv", type=Path, help="accepted for old scripts; the palette is built in")
    args = parser.parse_args(argv)
    found: dict[str, list[Path]] = {}
    for folder in args.list:
        for path in sorted(folder.glob("*.npz")):
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise DatasetError(list_problems("no VIDEO.npz in any of", map(str, args.list)))
    for count in range(1, len(args.list) + 1):
        videos = sum(len(paths) == count for paths in found.values())
        say(f"{videos} videos found in {count} of {len(args.list)} options")
    check_writable(args.output)
    jobs = [MergeJob(name, tuple(paths), args.output) for name, paths in found.items()]
    with OutputLock(args.output):
        run_jobs(merge_video, jobs, [1] * len(jobs), workers=args.num_proc, unit="video")
    return 0


@dataclass(frozen=True)
class MergeJob:
    """One video: the volumes of its options, and the folder that gets the label maps."""

    name: str
    volumes: tuple[Path, ...]
    output: Path


def merge_video(job: MergeJob) -> None:
    """Writes the label maps of one video.

    Raises:
        DatasetError: a file of volumes is unusable or differs from the others.
    """
    options = [_read_volume(path) for path in job.volumes]
    first = options[0]
    for path, option in zip(job.volumes[1:], options[1:], strict=True):
        for key in ("names", "object_ids"):
            if not np.array_equal(option[key], first[key]):
                raise DatasetError(
                    f"{path}: its {key} differ from {job.volumes[0]}; run all options with the "
                    "same --output_all"
                )
        if option["volume"].shape != first["volume"].shape:
            raise DatasetError(f"{path}: its frames are of another size than {job.volumes[0]}")
    labels = merge_volumes([o["volume"] for o in options], first["object_ids"].tolist())
    for frame, mask in zip(first["names"], labels, strict=True):
        stem = Path(str(frame)).stem
        write_mask(job.output / "Annotations" / job.name / f"{stem}.png", mask)


def _read_volume(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in ("volume", "object_ids", "names")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path}: is damaged or no file of ms.eval_youtube ({error}); remove it and run the "
            "option again"
        ) from error
