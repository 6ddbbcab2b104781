"""`vidseg evaluate` where a side is empty, videos are unknown or missing, or frames come twice."""

import contextlib
import dataclasses
import json
import math
from pathlib import Path

import pytest
from cli_data import make_set, run
from test_cli_evaluate import PERFECT, prepare

from vidseg_common.conversion import select_positions
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.formats import FORMATS
from vidseg_common.metric_registry import METRICS

FOLDERS = [name for name, metric in METRICS.items() if metric.on_folders]
TRACKING = ["mots", "hota", "mot"]
AP = [name for name, metric in METRICS.items() if metric.no_truth is not None]
LEFT_OUT = r"not in the ground truth, left out: v3"


@pytest.fixture
def data(tmp_path: Path) -> AnnotationSet:
    return make_set(tmp_path / "images", 3)


def without_tracks(data: AnnotationSet) -> AnnotationSet:
    return dataclasses.replace(data, load=lambda i: dataclasses.replace(data.load(i), tracks=[]))


def doubled(data: AnnotationSet) -> AnnotationSet:
    """Every frame twice, under another name."""

    def names(name: str, number: int) -> tuple[str, ...]:
        return tuple(f"{name}/{t:05d}.jpg" for t in range(2 * number))

    videos = [dataclasses.replace(v, file_names=names(v.name, v.num_frames)) for v in data.videos]

    def load(i: int):  # type: ignore[no-untyped-def]
        clip = data.load(i)
        tracks = [
            dataclasses.replace(t, segmentations=[m for m in t.segmentations for _ in (0, 1)])
            for t in clip.tracks
        ]
        return dataclasses.replace(clip, video=videos[i], tracks=tracks)

    return dataclasses.replace(data, videos=videos, load=load)


def numbers_of(flags: list[str], root: Path, metric: str) -> dict[str, float]:
    """Scores results with a report; returns the numbers as the metric itself has them."""
    assert run("evaluate", *flags, "-o", root / "out") == 0
    assert (root / "out" / "report.html").is_file()
    json.loads((root / "out" / "result.json").read_text(), parse_constant=pytest.fail)
    chosen = METRICS[metric]
    gt, pred = Path(flags[3]), Path(flags[5])
    if chosen.on_folders:
        return dict(chosen.evaluate_folders(gt, pred).numbers)
    truth = FORMATS[chosen.truth].read(gt)
    return dict(chosen.evaluate(truth, FORMATS[chosen.results].read(pred, truth=truth)).numbers)


@pytest.mark.parametrize("metric", METRICS)
def test_no_predictions_score_0(data: AnnotationSet, tmp_path: Path, metric: str) -> None:
    flags = prepare(data, metric, tmp_path, without_tracks(data))
    assert numbers_of(flags, tmp_path, metric)[PERFECT[metric]] == 0


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_no_ground_truth(data: AnnotationSet, tmp_path: Path, metric: str, both: bool) -> None:
    """AP, MOTA and their relatives are not defined; J&F refuses, or compares empty masks."""
    nothing = without_tracks(data)
    flags = prepare(nothing, metric, tmp_path, nothing if both else data)
    if metric in FOLDERS and metric != "davis2016":
        with pytest.raises(DatasetError, match="no object"):
            run("evaluate", *flags)
        return
    number = numbers_of(flags, tmp_path, metric)[PERFECT[metric]]
    if metric in AP:
        assert number == -1
        page = (tmp_path / "out" / "report.html").read_text()
        assert "AP not defined</h1>" in page and "-1.000" not in page
    elif metric == "davis2016":
        assert number == (1 if both else 0)
    elif metric == "sailvos-mot":
        assert number == 0
    else:
        assert math.isnan(number) or number in (0, -math.inf)


@pytest.mark.parametrize("metric", METRICS)
def test_no_videos(data: AnnotationSet, tmp_path: Path, metric: str) -> None:
    none = select_positions(data, [])
    with contextlib.suppress(DatasetError):  # Most formats cannot be written without a video.
        flags = prepare(none, metric, tmp_path, none)
        if metric in AP:
            assert numbers_of(flags, tmp_path, metric)[PERFECT[metric]] == -1
            return
        with pytest.raises(UserError, match="no video"):
            run("evaluate", *flags)
        return
    assert metric not in AP
    chosen = METRICS[metric]
    if chosen.on_folders:
        for side in ("a", "b"):
            (tmp_path / side).mkdir()
        with pytest.raises(UserError, match=r"no sequence|no video|no meta"):
            chosen.evaluate_folders(tmp_path / "a", tmp_path / "b")
    else:
        with pytest.raises(DatasetError, match="no video to score"):
            chosen.evaluate(none, none)


@pytest.mark.parametrize("metric", METRICS)
def test_unknown_videos(
    data: AnnotationSet, tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders and sequences are left out with a warning, entries of files are errors."""
    flags = prepare(select_positions(data, [0, 1]), metric, tmp_path, data)
    if metric in FOLDERS + TRACKING:
        assert numbers_of(flags, tmp_path, metric)[PERFECT[metric]] == 1
        assert LEFT_OUT in capsys.readouterr().err
        return
    messages = {
        "coco": "the ground truth has no such image",
        "sail": "12 frames, the data set has 8",
    }
    expected = messages.get(metric[:4], "video_id: 3 is not among the videos")
    with pytest.raises(DatasetError, match=expected):
        run("evaluate", *flags)


@pytest.mark.parametrize("metric", METRICS)
def test_missing_videos(
    data: AnnotationSet, tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files need no entry for a video, whose objects are missed; folders need every video."""
    flags = prepare(data, metric, tmp_path, select_positions(data, [0, 1]))
    if metric in ("ytvis", "ovis", "coco-bbox", "coco-segm"):
        assert 0.6 < numbers_of(flags, tmp_path, metric)[PERFECT[metric]] < 0.7
    elif metric == "folder":
        assert numbers_of(flags, tmp_path, metric)[PERFECT[metric]] == 1
        assert "no results for, and not scored: v3" in capsys.readouterr().err
    else:
        with pytest.raises(DatasetError, match=r"v3|8 frames, the data set has 12"):
            run("evaluate", *flags)


@pytest.mark.parametrize("metric", METRICS)
def test_frames_that_come_twice(data: AnnotationSet, tmp_path: Path, metric: str) -> None:
    """A still moment is like any other."""
    twice = doubled(data)
    flags = prepare(twice, metric, tmp_path, twice)
    assert numbers_of(flags, tmp_path, metric)[PERFECT[metric]] == pytest.approx(1)


def test_videos_of_unknown_size_are_not_drawn(data: AnnotationSet, tmp_path: Path) -> None:
    gt = tmp_path / "far" / "gt"
    FORMATS["kitti-mots-txt"].write(without_tracks(data), gt)
    with pytest.raises(UserError, match="video v1 cannot be drawn: it has neither masks nor"):
        run("show", gt, "--format", "kitti-mots-txt", "-o", tmp_path / "out")
