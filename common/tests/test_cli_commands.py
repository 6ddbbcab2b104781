"""`vidseg`: convert, validate, info and the overview."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_data import FRAMES, clip_of, frames_of, make_set, run, unions_of
from PIL import Image

from vidseg_common.cli import COMMANDS
from vidseg_common.conversion import apply_category_map, frame_names
from vidseg_common.datasets.annotations import AnnotationSet, Category, Video, annotations_of
from vidseg_common.datasets.category_maps import CategoryMap
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.formats import FORMATS
from vidseg_common.staging import staged_output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A YouTube-VIS data set with images, as a folder."""
    folder = tmp_path / "source"
    FORMATS["ytvis2019"].write(make_set(folder / "JPEGImages"), folder / "instances.json")
    return folder


def read(path: Path, name: str) -> AnnotationSet:
    return FORMATS[name].read(path)


def edit(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean validate"):
        run("validat")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(name, "--help")
    assert stop.value.code == 0
    assert f"usage: vidseg {name}" in capsys.readouterr().out


class TestConvert:
    def test_says_what_was_lost(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("convert", source, "--to", "davis2017", "-o", tmp_path / "out") == 0
        out, err = capsys.readouterr()
        assert out == f"2 videos from ytvis2019 to davis2017 in {tmp_path / 'out'}\n"
        assert "warning: 2 x names of categories" in err

    def test_a_file_is_named_by_its_suffix(self, source: Path, tmp_path: Path) -> None:
        run("convert", source, "--to", "stemseg-video", "-o", tmp_path / "mine.json")
        assert frames_of(read(tmp_path / "mine.json", "stemseg-video")) == frames_of(
            read(source, "ytvis2019")
        )

    def test_a_place_that_cannot_be_written_is_named(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"cannot write into the output folder .*file"):
            run("convert", source, "--to", "davis2017", "-o", tmp_path / "file" / "out")

    @pytest.mark.parametrize("how", ["link", "copy"])
    def test_images_come_along(self, source: Path, tmp_path: Path, how: str) -> None:
        out = tmp_path / "out"
        run("convert", source, "--to", "mots-challenge", "-o", out, "--images", how)
        image = out / "MOTS-train" / "v1" / "img1" / "000001.jpg"
        assert image.is_symlink() == (how == "link")
        assert image.read_bytes() == (source / "JPEGImages" / "v1" / "00000.jpg").read_bytes()

    def test_missing_images_leave_nothing_behind(self, source: Path, tmp_path: Path) -> None:
        (source / "JPEGImages" / "v2" / "00003.jpg").unlink()
        out = tmp_path / "out"
        with pytest.raises(DatasetError, match=r"1 image\(s\) missing"):
            run("convert", source, "--to", "davis2017", "-o", out, "--images", "copy")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]

    def test_images_need_a_folder(self, source: Path, tmp_path: Path) -> None:
        words = ("--to", "ytvis2021", "-o", tmp_path / "x.json", "--images", "link")
        with pytest.raises(UserError, match="needs a folder as output"):
            run("convert", source, *words)
        shutil.rmtree(source / "JPEGImages")
        with pytest.raises(UserError, match="--image-root"):
            run("convert", source, "--to", "coco", "-o", tmp_path / "x", "--images", "link")

    def test_a_full_output_is_kept_unless_told(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "old.txt").write_text("old")
        with pytest.raises(UserError, match="is not empty"):
            run("convert", source, "--to", "davis2017", "-o", out)
        assert (out / "old.txt").is_file()
        run("convert", source, "--to", "davis2017", "-o", out, "--overwrite")
        assert sorted(path.name for path in out.iterdir()) == ["Annotations", "ImageSets"]

    def test_the_input_is_never_replaced(self, source: Path) -> None:
        with pytest.raises(UserError, match="would replace the input"):
            run("convert", source, "--to", "davis2017", "-o", source, "--overwrite")
        assert (source / "instances.json").is_file()

    def test_categories_are_renamed_and_left_out(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "map.yaml").write_text("car: truck\nperson: null\n")
        out = tmp_path / "x.json"
        run("convert", source, "--to", "ytvis2021", "-o", out, "--map", tmp_path / "map.yaml")
        data = read(out, "ytvis2021")
        assert {track.category_id for track in data.load(0).tracks} == {37}
        assert data.category_names()[37] == "truck"
        assert "categories left out with their tracks: person" in capsys.readouterr().err

    def test_own_categories_are_numbered_anew(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "map.yaml").write_text("2: robot\n")
        out = tmp_path / "x.json"
        run("convert", source, "--to", "ytvis2019", "-o", out, "--map", tmp_path / "map.yaml")
        assert read(out, "ytvis2019").category_names() == {1: "car", 2: "robot"}

    def test_a_choice_of_categories_and_videos(self, source: Path, tmp_path: Path) -> None:
        words = ("--categories", "Person", "--videos", "v2")
        run("convert", source, "--to", "coco", "-o", tmp_path / "x.json", *words)
        data = read(tmp_path / "x.json", "coco")
        assert data.category_names() == {1: "person"}
        assert len(data.videos) == FRAMES
        assert sum(len(clip.tracks) for clip in data.clips()) == FRAMES - 1

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--categories", "cra"), "did you mean car"),
            (("--videos", "v3"), "there is no video 'v3'"),
            (("--map", "coco:youtube-viz"), "did you mean coco:youtube-vis"),
            (("--kind", "joint"), "the format ytvis2019 has no kind"),
        ],
    )
    def test_faults_are_named(
        self, source: Path, tmp_path: Path, words: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            run("convert", source, "--to", "coco", "-o", tmp_path / "out", *words)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("text", ["- a\n", "car: 3\n", "car: [\n"])
    def test_a_bad_map_is_refused(self, source: Path, tmp_path: Path, text: str) -> None:
        path = tmp_path / "map.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=r"map\.yaml"):
            run("convert", source, "--to", "coco", "-o", tmp_path / "out", "--map", path)

    def test_unknown_names_in_a_map_are_all_listed(self, source: Path, tmp_path: Path) -> None:
        path = tmp_path / "map.yaml"
        path.write_text("dog: cat\ncow: horse\n")
        with pytest.raises(UserError, match=r"(?s)'dog'.*'cow'"):
            run("convert", source, "--to", "coco", "-o", tmp_path / "out", "--map", path)

    def test_a_kind_is_that_of_the_target(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run("convert", source, "--to", "sailvos", "-o", out, "--kind", "amodal")
        assert [path.name for path in out.iterdir()] == ["amodal"]

    def test_results_become_ground_truth_and_back(self, source: Path, tmp_path: Path) -> None:
        masks, found = tmp_path / "masks", tmp_path / "results.json"
        run("convert", source, "--to", "davis-results", "-o", masks)
        line = ("--from", "davis-results", "--to", "ytvis-results", "--gt", source)
        run("convert", masks, *line, "-o", found)
        truth = read(source, "ytvis2019")
        assert unions_of(FORMATS["ytvis-results"].read(found, truth=truth)) == unions_of(truth)


class TestValidate:
    def test_nothing_wrong(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("validate", source) == 0
        assert capsys.readouterr().out == f"{source}: ytvis2019, no problems\n"

    def test_all_problems_are_listed(
        self, source: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def spoil(content) -> None:  # type: ignore[no-untyped-def]
            content["annotations"][0]["category_id"] = 9
            content["annotations"][2]["segmentations"] = [None]

        edit(source / "instances.json", spoil)
        (source / "JPEGImages" / "v1" / "00001.jpg").unlink()
        assert run("validate", source, "--format", "ytvis2019") == 2
        lines = capsys.readouterr().out.splitlines()
        assert any("annotation 1" in line and "category_id" in line for line in lines)
        assert any("annotation 3" in line and "segmentations" in line for line in lines)
        assert any("00001.jpg" in line for line in lines)
        assert lines[-1].endswith("3 problems")
        assert all(line.startswith(str(source / "instances.json")) for line in lines[:-1])

    def test_json(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (source / "JPEGImages" / "v1" / "00001.jpg").unlink()
        assert run("validate", source, "--json") == 2
        report = json.loads(capsys.readouterr().out)
        assert report["format"] == "ytvis2019"
        assert set(report["problems"][0]) == {"file", "where", "field", "message"}

    def test_results_beside_their_ground_truth(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        masks = tmp_path / "masks"
        run("convert", source, "--to", "davis-results", "-o", masks)
        assert run("validate", masks, "--gt", source) == 0
        (masks / "v2" / "00002.png").unlink()
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(masks / "v1" / "00001.png")
        assert run("validate", masks, "--gt", source) == 2
        text = capsys.readouterr().out
        assert "00002.png" in text and "00001.png" in text

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="nothing at"):
            run("validate", tmp_path / "none", "--format", "coco")


class TestOfficialLayouts:
    """Where the data sets keep their files, not only where `vidseg convert` puts them."""

    def place(self, data: AnnotationSet, name: str, file: Path, images: Path) -> None:
        FORMATS[name].write(data, file)
        images.parent.mkdir(parents=True, exist_ok=True)
        assert data.image_root is not None
        shutil.copytree(data.image_root, images)

    @pytest.mark.parametrize(
        ("name", "file", "images", "named"),
        [
            ("ytvis2019", "train/train.json", "train/JPEGImages", "."),
            ("ytvis2019", "train/train.json", "train/JPEGImages", "train"),
            ("ovis", "annotations_train.json", "train", "."),
            ("coco", "annotations/instances_train2017.json", "train2017", "."),
            ("sailvos", "json/joint/valid.json", "sailvos_cut_png", "json"),
        ],
    )
    def test_file_and_images_are_found(
        self, tmp_path: Path, name: str, file: str, images: str, named: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        data, root = make_set(tmp_path / "apart" / "from" / "it"), tmp_path / "root" / "of" / "all"
        self.place(data, name, root / file, root / images)
        assert run("info", root / named, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["missing_images"] == [] and report["frames"] == 2 * FRAMES

    def test_a_split_chooses_one_of_several_files(self, tmp_path: Path) -> None:
        data = make_set(tmp_path / "images")
        for part in ("train", "valid"):
            FORMATS["ytvis2019"].write(data, tmp_path / f"{part}.json")
        with pytest.raises(UserError, match=r"several JSON files \(train.json, valid.json\)"):
            run("info", tmp_path)
        with pytest.raises(UserError, match=r"found train.json, valid.json; name the file"):
            run("info", tmp_path, "--format", "ytvis2019")
        assert run("info", tmp_path, "--format", "ytvis2019", "--split", "valid") == 0


class TestInfo:
    def test_text(self, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("info", source) == 0
        text = capsys.readouterr().out
        assert "ytvis2019" in text and "all there" in text
        assert "tracks        4 (2 to 2, median 2 per video)" in text
        assert "masks         14 (3 to 4, median 3.5 per track)" in text
        assert "person       2  ####" in text

    def test_json_names_missing_images(
        self, source: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (source / "JPEGImages" / "v1" / "00001.jpg").unlink()
        assert run("info", source, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["missing_images"] == ["v1/00001.jpg"]
        assert report["sizes"] == {"24x32": 2}
        assert report["categories"] == {"car": 2, "person": 2}
        assert report["track_lengths"] == {"min": 3, "median": 3.5, "mean": 3.5, "max": 4}

    def test_a_set_without_annotations(
        self, source: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(source / "instances.json", lambda content: content.update(annotations=None))
        assert run("info", source) == 0
        assert "tracks        0" in capsys.readouterr().out


def test_ignored_classes_join_the_ignore_region() -> None:
    data = annotations_of([clip_of(1)], [Category(1, "car"), Category(2, "person")])
    mapping = CategoryMap({1: 5}, frozenset({2}))
    made, notes = apply_category_map(data, mapping, [Category(5, "vehicle")])
    clip = made.load(0)
    assert [track.category_id for track in clip.tracks] == [5]
    assert clip.ignore is not None and clip.ignore[0] is None
    assert clip.ignore[1] == clip_of(1).tracks[1].segmentations[1]
    assert notes == ["categories left out with their tracks: person"]


def test_frames_of_one_name_are_refused() -> None:
    video = Video(1, "v", 2, 2, ("a/0.jpg", "b/0.jpg"))
    with pytest.raises(DatasetError, match="several frames are called 0"):
        frame_names(video, None)
    assert frame_names(video, (3, 1), "in/") == ("v/in/001.jpg", "v/in/002.jpg")


def test_an_error_keeps_the_old_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(RuntimeError), staged_output(out, overwrite=True) as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (out / "old").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
