"""What evaluation servers expect in a zip file. Source: spec common section 1."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Video
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.files import atomic_path

_STORED = (".png", ".jpg")


@dataclass(frozen=True)
class Server:
    """The submission form of one benchmark.

    Attributes:
        title: name of the benchmark.
        results: format of the results.
        truth: format of the data set that lists the videos.
        needs_truth: whether the videos must be known.
        videos: names of the videos of the test set, for benchmarks whose list is fixed.
        lengths: their numbers of frames, where they are known; frames count from 1.
    """

    title: str
    results: str
    truth: str
    needs_truth: bool = True
    videos: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()

    def test_set(self) -> AnnotationSet | None:
        """The videos of the test set without sizes, None where their lengths are not known."""
        if not self.lengths:
            return None
        pairs = enumerate(zip(self.videos, self.lengths, strict=True), start=1)
        videos = [
            Video(i, name, 0, 0, _numbered(name, length), {"first_frame": 1})
            for i, (name, length) in pairs
        ]
        return AnnotationSet(
            videos, (), lambda i: Clip(videos[i], [], labelled=frozenset()), has_annotations=False
        )


def _numbered(name: str, length: int) -> tuple[str, ...]:
    return tuple(f"{name}/{t:06d}.jpg" for t in range(1, length + 1))


SERVERS: Mapping[str, Server] = {
    "davis": Server("DAVIS 2017", "davis-results", "davis2017"),
    "davis-unsupervised": Server("DAVIS 2019 unsupervised", "davis-results", "davis2019"),
    "youtube-vos": Server("YouTube-VOS", "youtube-vos-results", "youtube-vos"),
    "ytvis": Server("YouTube-VIS", "ytvis-results", "ytvis2019"),
    "ovis": Server("OVIS", "ovis-results", "ovis"),
    "kitti-mots": Server(
        "KITTI MOTS",
        "kitti-mots-results",
        "kitti-mots-txt",
        needs_truth=False,
        videos=tuple(f"{number:04d}" for number in range(29)),
    ),
    "mots-challenge": Server(
        "MOTSChallenge",
        "kitti-mots-results",
        "mots-challenge",
        needs_truth=False,
        videos=("0001", "0006", "0007", "0012"),
        lengths=(450, 1194, 500, 900),
    ),
    "coco": Server("COCO", "coco-results", "coco"),
}
"""The benchmarks by the name that is typed."""


def files_of(
    server: Server,
    results: str | Path,
    truth: AnnotationSet | None,
    *,
    split: str | None = None,
    method: str = "vidseg",
) -> dict[str, Path]:
    """Every file of a submission: its name in the zip file to where it is.

    Args:
        server: the benchmark.
        results: valid results.
        truth: the data set that lists the videos; None takes the benchmark's test set.
        split: name of the split, for benchmarks that want it in a file name.
        method: name of the method, likewise.

    Raises:
        DatasetError: files are missing; all of them are listed.
    """
    results = Path(results)
    if results.suffix == ".zip":
        raise DatasetError(f"{results} is packed already; name the JSON file")
    if server.results in ("ytvis-results", "ovis-results"):
        return {"results.json": results}
    if server.results == "coco-results":
        return {f"detections_{split or 'test-dev2017'}_{method}_results.json": results}
    names = _names(server, results, truth)
    folder = results
    if server.results == "youtube-vos-results":
        folder = results / "Annotations" if (results / "Annotations").is_dir() else results
    missing = [str(folder / name) for name in names if not (folder / name).is_file()]
    if missing:
        header = f"{len(missing)} required result(s) missing in {folder}:"
        raise DatasetError(list_problems(header, missing))
    prefix = "Annotations/" if server.results == "youtube-vos-results" else ""
    return {f"{prefix}{name}": folder / name for name in names}


def _names(server: Server, results: Path, truth: AnnotationSet | None) -> list[str]:
    """Names of the required files below the results folder."""
    if server.results == "kitti-mots-results":
        videos = server.videos if truth is None else [video.name for video in truth.videos]
        return [f"{name}.txt" for name in videos]
    assert truth is not None, "these benchmarks need the list of videos"
    return [f"{video.name}/{stem}.png" for video in truth.videos for stem in _required(video)]


def _required(video: Video) -> list[str]:
    """Names of the frames to submit: those that meta.json of YouTube-VOS lists, else all."""
    stems = [PurePosixPath(name).stem for name in video.file_names]
    wanted = video.extra.get("required")
    return stems if wanted is None else [stem for stem in stems if stem in set(wanted)]


def write_zip(path: str | Path, files: Mapping[str, Path], *, progress: bool = False) -> None:
    """Writes a zip file; it appears only when complete.

    Args:
        path: its name.
        files: name in the zip file to where the file is.
        progress: shows a bar on stderr.

    Raises:
        OSError: a file cannot be read or written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, source in tqdm(files.items(), unit="file", disable=not progress, leave=False):
            # Pictures are compressed already.
            is_packed = source.suffix.lower() in _STORED
            kind = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            archive.write(source, name, compress_type=kind)
