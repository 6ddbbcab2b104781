"""Every format of the registry: written, checked, read again, and every pair converted."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from cli_data import frames_of, make_set, run, tracks_of, unions_of

from vidseg_common.conversion import frames_as_videos, map_categories
from vidseg_common.conversion_run import Conversion, convert
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import UserError
from vidseg_common.format_guess import guess_format
from vidseg_common.formats import FORMATS, Format, find_format
from vidseg_common.metric_registry import METRICS, find_metric

DATA = [name for name, entry in FORMATS.items() if not entry.is_results]
RESULTS = [name for name, entry in FORMATS.items() if entry.is_results]
SOURCE = Format("memory", "a data set in memory", "memory")
WITHOUT_CLASSES = ("davis2016", "davis2017", "davis2019", "mask-folder", "davis-results")
#: Formats that others look exactly like.
GUESSED_AS = {"ytvis2021": "ytvis2019", "ovis": "ytvis2019"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The data set in every format, with its images."""
    root = tmp_path_factory.mktemp("formats")
    data = make_set(root / "images")
    paths = {}
    for name in DATA:
        paths[name] = root / name
        convert(data, SOURCE, FORMATS[name], paths[name], Conversion(images="copy"))
    return paths


def read(written: dict[str, Path], name: str) -> AnnotationSet:
    path = written[name]
    return FORMATS[name].read(path, images=FORMATS[name].image_root(path))


def as_held(data: AnnotationSet, name: str) -> AnnotationSet:
    """The data set as a format can hold it at best."""
    if name in WITHOUT_CLASSES:
        data, _ = map_categories(data, dict.fromkeys(data.category_names().values(), "object"))
    if name.startswith(("kitti", "mots")):
        data, _ = map_categories(data, {"person": "pedestrian"})
    return frames_as_videos(data) if FORMATS[name].is_still else data


def lower(frames: list[list[tuple[str, str]]]) -> list[list[tuple[str, str]]]:
    return [sorted((name.lower(), mask) for name, mask in frame) for frame in frames]


@pytest.mark.parametrize("name", FORMATS)
def test_modules_have_their_functions(name: str) -> None:
    assert all(FORMATS[name].can(role) for role in ("read", "write", "validate"))


@pytest.mark.parametrize("name", METRICS)
def test_metrics_have_their_formats(name: str) -> None:
    metric = find_metric(name)
    assert not find_format(metric.truth).is_results
    assert find_format(metric.results).is_results
    assert callable(metric.function())


@pytest.mark.parametrize("name", DATA)
def test_what_was_written_is_valid(written: dict[str, Path], name: str) -> None:
    images = FORMATS[name].image_root(written[name])
    assert [str(p) for p in FORMATS[name].validate(written[name], images=images)] == []


@pytest.mark.parametrize("name", DATA)
def test_what_was_written_reads_the_same(
    written: dict[str, Path], name: str, tmp_path: Path
) -> None:
    found = read(written, name)
    wanted = as_held(make_set(tmp_path), name)
    assert unions_of(found) == unions_of(wanted)
    if name != "davis2016":
        assert lower(frames_of(found)) == lower(frames_of(wanted))
        assert tracks_of(found) == tracks_of(wanted)


@pytest.mark.parametrize("name", DATA)
def test_images_are_found_in_the_layout(written: dict[str, Path], name: str) -> None:
    data = read(written, name)
    paths = [data.image_path(video, t) for video in data.videos for t in range(video.num_frames)]
    assert len(paths) == 8 and all(path is not None and path.is_file() for path in paths)


@pytest.mark.parametrize("name", DATA)
def test_the_format_is_found_out(written: dict[str, Path], name: str) -> None:
    assert guess_format(written[name]) == GUESSED_AS.get(name, name)


@pytest.mark.parametrize("target", DATA)
@pytest.mark.parametrize("source", DATA)
def test_every_pair_converts(
    written: dict[str, Path], source: str, target: str, tmp_path: Path
) -> None:
    data = read(written, source)
    # Targets with a fixed list of classes do not know those of every source.
    mapping = {"object": "car"} if source in WITHOUT_CLASSES else None
    if source.startswith(("kitti", "mots")) and target in ("pascal-voc", "mapillary"):
        mapping = {"pedestrian": "person"}
    out = tmp_path / "out"
    convert(data, FORMATS[source], FORMATS[target], out, Conversion(mapping=mapping))
    assert FORMATS[target].validate(out) == []
    assert unions_of(FORMATS[target].read(out)) == unions_of(data)


@pytest.mark.parametrize("name", DATA)
def test_commands_read_every_format(
    written: dict[str, Path], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("info", written[name], "--format", name) == 0
    assert run("validate", written[name], "--format", name) == 0
    text = capsys.readouterr().out
    # Two objects in two videos of four frames, or in eight images; one enters a frame later.
    assert "images        all there" in text and "no problems" in text
    masks = 8 if name == "davis2016" else 14
    assert f"masks         {masks} " in text
    line = ("--from", name, "--to", "coco", "-o", tmp_path / "coco.json")
    assert run("convert", written[name], *line) == 0
    assert run("info", tmp_path / "coco.json") == 0
    assert f"masks         {masks} " in capsys.readouterr().out


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_valid_and_read_the_same(name: str, tmp_path: Path) -> None:
    truth = make_set(tmp_path / "images")
    out = tmp_path / ("results.pkl" if name.startswith("sail") else "results")
    if FORMATS[name].is_still:
        truth = frames_as_videos(truth)
    convert(truth, SOURCE, FORMATS[name], out, Conversion())
    assert FORMATS[name].validate(out, truth=truth) == []
    found = FORMATS[name].read(out, truth=truth)
    assert unions_of(found) == unions_of(truth)
    assert tracks_of(found) == tracks_of(truth) or name.startswith("sail")


def test_unknown_names_tell_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean ytvis2019"):
        find_format("ytvis2109")
    with pytest.raises(UserError, match="did you mean davis2016"):
        find_metric("davis2106")
    with pytest.raises(UserError, match="did you mean kitti-mots-txt"):
        run("convert", "x", "--to", "kitti_mots_txt", "-o", "y")


def test_options_that_a_format_lacks_are_refused(written: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="the format coco has no kind"):
        FORMATS["coco"].read(written["coco"], kind="amodal")


def test_nothing_is_guessed_of_what_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "broken.json").write_text('{"videos": [')
    with pytest.raises(UserError, match="looks like no known format"):
        guess_format(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="not valid JSON"):
        guess_format(tmp_path / "broken.json")
    with pytest.raises(UserError, match="nothing at"):
        guess_format(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"videos": [], "annotations": [], "categories": []}', "ytvis2019"),
        ('{"annotations": [], "categories": [], "videos": []}', "ytvis2019"),
        ('[{"image_id": 1, "score": NaN', "coco-results"),
        ('[{"video_id": 1, "score": 0.5, "segm', "ytvis-results"),
        ('{"videos": [{"id": 1, "file_names": ["a/0.jpg"], "wid', "ytvis2019"),
    ],
)
def test_empty_and_faulty_files_are_known_by_what_can_be_read(
    text: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_text(text)
    assert guess_format(tmp_path / "x.json") == name


@pytest.mark.parametrize("name", ["davis2016", "davis2017", "davis2019"])
def test_davis_without_lists_is_known(name: str, written: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(written[name], tmp_path / "x", ignore=shutil.ignore_patterns("ImageSets"))
    assert guess_format(tmp_path / "x") == name


def test_the_only_split_of_a_kind_is_taken(tmp_path: Path) -> None:
    data = make_set(tmp_path / "images", 1)
    for kind in ("visible", "amodal"):
        FORMATS["sailvos"].write(data, tmp_path / "set", split="train", kind=kind)
    assert len(FORMATS["sailvos"].read(tmp_path / "set", kind="visible").videos) == 1
    with pytest.raises(UserError, match="has the kinds amodal, visible: name one with --kind"):
        FORMATS["sailvos"].read(tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "amodal")
    assert len(FORMATS["sailvos"].read(tmp_path / "set").videos) == 1


def test_the_folder_around_the_kinds_of_sailvos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "set" / "png", 1)
    root = tmp_path / "set" / "json"
    for kind in ("visible", "amodal", "joint", "joint(bbox=both_bbox)"):
        FORMATS["sailvos"].write(data, root, split="train", kind=kind)
    assert guess_format(tmp_path / "set") == guess_format(root) == "sailvos"
    for kind in ("visible", "joint", "joint(bbox=both_bbox)"):
        for path in (tmp_path / "set", root):
            assert run("validate", path, "--kind", kind) == 0
            capsys.readouterr()
            assert run("info", path, "--kind", kind, "--split", "train", "--json") == 0
            assert json.loads(capsys.readouterr().out)["missing_images"] == []
    for split in ("train", "val"):
        FORMATS["sailvos"].write(data, root, split=split, kind="joint(bbox=visb_bbox)")
    shutil.copy(root / "visible" / "train.json", root / "visible" / "test.json")
    with pytest.raises(UserError, match=r"has the files test\.json, train\.json; name one"):
        FORMATS["sailvos"].read(root, kind="visible")
    with pytest.raises(UserError, match="has no folder of annotations called"):
        FORMATS["sailvos"].read(tmp_path / "set" / "png", kind="visible")


@pytest.mark.parametrize("name", ["ytvis2019", "ytvis2021", "ovis"])
def test_official_categories_tell_the_benchmark(name: str, tmp_path: Path) -> None:
    data = make_set(tmp_path / "images", 1)
    categories = FORMATS[name].categories()
    data = dataclasses.replace(data, categories=categories)
    FORMATS[name].write(data, tmp_path / "x.json")
    assert guess_format(tmp_path / "x.json") == name


def test_the_list_of_formats_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("formats") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*FORMATS, *METRICS))
