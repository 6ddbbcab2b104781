"""`vidseg evaluate`: every metric on perfect and on worse results, and what is written."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_data import make_set, run, square

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.evaluation_report import csv_text
from vidseg_common.formats import FORMATS
from vidseg_common.masks import read_indices, write_mask
from vidseg_common.metric_registry import METRICS

#: Ground truth of each metric, and the number that is 1 for perfect results.
PERFECT = {
    "davis": "J&F-Mean",
    "davis-unsupervised": "J&F-Mean",
    "davis2016": "J&F-Mean",
    "folder": "J&F-Mean",
    "youtube-vos": "overall",
    "ytvis": "AP",
    "ovis": "AP",
    "coco-bbox": "AP",
    "coco-segm": "AP",
    "mots": "sMOTSA",
    "hota": "HOTA",
    "mot": "mota",
    "sailvos-image": "image_visible_segm_AP",
    "sailvos-video": "video_visible_segm_AP",
    "sailvos-mot": "mota",
}
WITHOUT_LATE_OBJECTS = ("davis",)


@pytest.fixture
def data(tmp_path: Path) -> AnnotationSet:
    return make_set(tmp_path / "far" / "away" / "pictures", 3)


def worse(data: AnnotationSet) -> AnnotationSet:
    """Results in which an object of the second video stands still."""

    def load(position: int):  # type: ignore[no-untyped-def]
        clip = data.load(position)
        if position == 1:
            masks = [square(3, 1, 5) for _ in clip.tracks[0].segmentations]
            clip = dataclasses.replace(
                clip, tracks=[dataclasses.replace(clip.tracks[0], segmentations=masks)]
            )
        return clip

    return dataclasses.replace(data, load=load)


def prepare(data: AnnotationSet, metric: str, root: Path, results: AnnotationSet) -> list[str]:
    """Writes ground truth and results; returns the flags that name them."""
    from vidseg_common.conversion import frames_as_videos, select_categories, with_scores

    chosen = METRICS[metric]
    truth, found = FORMATS[chosen.truth], FORMATS[chosen.results]
    if metric in WITHOUT_LATE_OBJECTS:
        data, _ = select_categories(data, ["car"])
        results, _ = select_categories(results, ["car"])
    if found.is_still:
        data, results = frames_as_videos(data), frames_as_videos(results)
    suffix = {True: ".json", False: ""}[bool(truth.file_name or truth.suffix)]
    gt = root / f"gt{suffix}"
    pred = root / f"pred{Path(found.file_name).suffix}"
    truth.write(data, gt, split=truth.split or None)
    found.write(with_scores(results, 0.9), pred)
    return ["--metric", metric, "--gt", str(gt), "--pred", str(pred), "--workers", "1"]


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_results(
    data: AnnotationSet, tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, metric, tmp_path, data)
    out = tmp_path / "out"
    assert (
        run("evaluate", *flags, "-o", out, "--images", tmp_path / "far" / "away" / "pictures") == 0
    )
    text = capsys.readouterr().out
    assert (out / "table.txt").read_text().strip() in text
    for name in ("result.json", "table.txt", "report.html"):
        assert str(out / name) in text and (out / name).is_file()
    page = (out / "report.html").read_text()
    assert f"<dt>{PERFECT[metric].replace('&', '&amp;')}</dt><dd>1.000</dd>" in page
    assert "data:image/jpeg" in page and "no pictures" not in page
    json.loads((out / "result.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("metric", sorted({*METRICS} - {"sailvos-image", "sailvos-video"}))
def test_the_worst_video_comes_first(data: AnnotationSet, tmp_path: Path, metric: str) -> None:
    flags = prepare(data, metric, tmp_path, worse(data))
    out = tmp_path / "out"
    assert run("evaluate", *flags, "-o", out, "--worst", "1", "--frames", "2") == 0
    with (out / "per_video.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["video"].startswith("v2")
    assert float(rows[0][METRICS[metric].video_score]) < 1
    page = (out / "report.html").read_text()
    frames = 1 if metric.startswith("coco") else 2
    assert page.count("data:image/jpeg") == 2 * frames
    assert "masks are on grey" in page or METRICS[metric].on_folders


def test_videos_and_formats_are_chosen(
    data: AnnotationSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, "ytvis", tmp_path, worse(data))
    assert run("evaluate", *flags, "--videos", "v1", "v3") == 0
    assert "= 1.000" in capsys.readouterr().out
    FORMATS["stemseg-video"].write(data, tmp_path / "other.json")
    flags[3] = str(tmp_path / "other.json")
    assert run("evaluate", *flags, "--gt-format", "stemseg-video") == 0


def test_categories_are_pooled(
    data: AnnotationSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, "coco-segm", tmp_path, data)
    assert run("evaluate", *flags, "--class-agnostic") == 0
    with pytest.raises(UserError, match="the metric mots takes no --class-agnostic"):
        run("evaluate", *prepare(data, "mots", tmp_path, data), "--class-agnostic")


@pytest.mark.parametrize(("iou_type", "mota"), [("box", 1), ("mask", 1 - 8 / 21)])
def test_boxes_or_masks(data: AnnotationSet, tmp_path: Path, iou_type: str, mota: float) -> None:
    """Hollow masks have the boxes of the whole ones, and an IoU of 24 / 49 with them."""

    def load(position: int):  # type: ignore[no-untyped-def]
        clip = data.load(position)
        if position == 1:
            hollow = [rle.decode(mask) for mask in clip.tracks[0].segmentations]
            for t, mask in enumerate(hollow):
                mask[4:9, t + 2 : t + 7] = False
            first = dataclasses.replace(clip.tracks[0], segmentations=list(map(rle.encode, hollow)))
            clip = dataclasses.replace(clip, tracks=[first, clip.tracks[1]])
        return clip

    flags = prepare(data, "mot", tmp_path, dataclasses.replace(data, load=load))
    assert run("evaluate", *flags, "--iou-type", iou_type, "-o", tmp_path / "out") == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["overall"]["mota"] == pytest.approx(mota)


def with_amodal(data: AnnotationSet) -> AnnotationSet:
    """The same with whole masks, larger than the visible ones."""

    def load(position: int):  # type: ignore[no-untyped-def]
        clip = data.load(position)
        for track in clip.tracks:
            track.amodal = [mask and square(1, 1, 12) for mask in track.segmentations]
        return clip

    return dataclasses.replace(data, load=load)


def test_amodal_and_visible_tracks(
    data: AnnotationSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results with one kind of masks hold what the user says they hold."""
    flags = prepare(data, "sailvos-mot", tmp_path, data)
    FORMATS["sailvos"].write(with_amodal(data), tmp_path / "gt.json")
    chosen = {"visible": 1, "visible --iou-type box": 1, "amodal": -1}
    for words, mota in chosen.items():
        flags[flags.index("--workers") + 2 :] = ["--masks", *words.split(), "--worst", "0"]
        assert run("evaluate", *flags, "-o", tmp_path / "out") == 0
        rows = json.loads((tmp_path / "out" / "result.json").read_text())["rows"]
        assert [row["mota"] for row in rows[:2]] == [mota, mota], words
    assert "one kind" not in capsys.readouterr().err
    assert run("evaluate", *flags[: flags.index("--masks")]) == 0
    assert "one kind of masks, taken as visible ones" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["sailvos-image", "sailvos-video"])
def test_one_kind_of_masks(data: AnnotationSet, tmp_path: Path, metric: str) -> None:
    level = metric.removeprefix("sailvos-")
    flags = prepare(data, metric, tmp_path, with_amodal(data))
    FORMATS["sailvos"].write(with_amodal(data), tmp_path / "gt.json")
    for masks in ("visible", "amodal"):
        assert run("evaluate", *flags, "--masks", masks, "-o", tmp_path / masks) == 0
        numbers = json.loads((tmp_path / masks / "result.json").read_text())["numbers"]
        assert {name.split("_")[1] for name in numbers} == {masks}
        assert numbers[f"{level}_{masks}_segm_AP"] == pytest.approx(1)


@pytest.mark.parametrize("metric", ["sailvos-image", "sailvos-video", "sailvos-mot"])
def test_masks_that_are_not_there_are_told(data: AnnotationSet, metric: str) -> None:
    with pytest.raises(DatasetError, match="visible masks only, there are no amodal ones"):
        METRICS[metric].evaluate(data, data, masks="amodal")


@pytest.mark.parametrize("metric", ["davis", "davis2016", "folder", "youtube-vos", "mots", "hota"])
def test_results_of_other_videos_are_told(
    data: AnnotationSet, tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, metric, tmp_path, data)
    pred = tmp_path / "pred"
    root = pred / "Annotations" if (pred / "Annotations").is_dir() else pred
    first = sorted(root.glob("v1*"))[0]
    if first.is_dir():
        shutil.copytree(first, root / "extra")
    else:
        shutil.copy(first, root / f"extra{first.suffix}")
    assert run("evaluate", *flags, "-o", tmp_path / "out", "--worst", "0") == 0
    note = "1 video(s) that are not in the ground truth, left out: extra"
    assert note in capsys.readouterr().err
    assert note in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("metric", ["davis", "mots", "coco-bbox", "ytvis", "sailvos-video"])
def test_options_of_other_metrics_are_refused(
    data: AnnotationSet, tmp_path: Path, metric: str
) -> None:
    flags = prepare(data, metric, tmp_path, data)
    with pytest.raises(UserError, match=f"the metric {metric} takes no --iou-type"):
        run("evaluate", *flags, "--iou-type", "mask")


def test_the_report_does_not_go_into_an_input(data: AnnotationSet, tmp_path: Path) -> None:
    flags = prepare(data, "davis", tmp_path, data)
    before = sorted((tmp_path / "pred").rglob("*"))
    with pytest.raises(UserError, match="is an input"):
        run("evaluate", *flags, "-o", tmp_path / "pred")
    assert sorted((tmp_path / "pred").rglob("*")) == before


def test_masks_in_the_layout_of_davis_are_a_folder(data: AnnotationSet, tmp_path: Path) -> None:
    flags = prepare(data, "davis", tmp_path, data)
    flags[1] = "folder"
    assert run("evaluate", *flags, "-o", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["global"]["J&F-Mean"] == 1


def test_seen_categories(
    data: AnnotationSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, "youtube-vos", tmp_path, data)
    meta = tmp_path / "meta.json"
    objects = {"1": {"category": "car", "frames": ["00000"]}}
    meta.write_text(json.dumps({"videos": {"x": {"objects": objects}}}))
    assert run("evaluate", *flags, "--seen", meta, "--videos", "v1") == 0
    assert capsys.readouterr().out.split()[-5:] == ["100.0"] * 5
    with pytest.raises(DatasetError, match="v9"):
        run("evaluate", *flags, "--videos", "v9")


def test_the_whole_of_a_folder(data: AnnotationSet, tmp_path: Path) -> None:
    flags = prepare(data, "folder", tmp_path, data)
    out = tmp_path / "out"
    run("evaluate", *flags, "--all-frames", "--videos", "v1", "--void", "255", "-o", out)
    result = json.loads((out / "result.json").read_text())
    assert {row["sequence"] for row in result["objects"]} == {"v1"}


def test_ids_that_never_agree_are_told(
    data: AnnotationSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(data, "folder", tmp_path, data)
    for path in (tmp_path / "pred").rglob("*.png"):
        mask = read_indices(path)
        write_mask(path, np.where(mask > 0, mask + 10, 0).astype(np.uint8))
    assert run("evaluate", *flags) == 0
    assert "no object has a pixel in common" in capsys.readouterr().err


def test_masks_alone_are_enough_for_davis(data: AnnotationSet, tmp_path: Path) -> None:
    flags = prepare(data, "davis", tmp_path, data)
    flags[3] = str(tmp_path / "gt" / "Annotations" / "480p")
    assert run("evaluate", *flags) == 0
    # Masks without a list of sequences cannot be read as DAVIS, so there are no pictures.
    assert run("evaluate", *flags, "-o", tmp_path / "out") == 0


def test_a_hidden_split_cannot_be_scored(data: AnnotationSet, tmp_path: Path) -> None:
    flags = prepare(data, "ytvis", tmp_path, data)
    content = json.loads((tmp_path / "gt.json").read_text())
    (tmp_path / "gt.json").write_text(json.dumps({**content, "annotations": None}))
    with pytest.raises(UserError, match="hidden split"):
        run("evaluate", *flags)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing at"):
        run("evaluate", "--metric", "mots", "--gt", tmp_path / "x", "--pred", tmp_path / "y")


def test_csv_has_every_column() -> None:
    rows = [{"video": "a,b", "J": 0.1}, {"video": "c", "J": float("nan"), "F": None}]
    assert csv_text(rows) == 'video,J,F\n"a,b",0.1,\nc,,\n'


def test_davis_without_lists_has_all_sequences(data: AnnotationSet, tmp_path: Path) -> None:
    for metric in ("davis", "davis2016", "davis-unsupervised"):
        flags = prepare(data, metric, tmp_path / metric, data)
        shutil.rmtree(tmp_path / metric / "gt" / "ImageSets")
        out = tmp_path / metric / "out"
        assert run("evaluate", *flags, "-o", out) == 0
        assert {row["sequence"] for row in json.loads((out / "result.json").read_text())["objects"]}
        with (out / "per_video.csv").open() as file:
            assert sorted(row["video"] for row in csv.DictReader(file)) == ["v1", "v2", "v3"]
        with pytest.raises(DatasetError, match=r"annotations not found: .*1080p"):
            run("evaluate", *flags, "--resolution", "1080p")
