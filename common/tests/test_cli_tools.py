"""`vidseg`: show, split, pack and synth."""

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_data import FRAMES, HEIGHT, WIDTH, make_set, run
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.clip_pictures import draw_frame, frame_qualities, matching_colors
from vidseg_common.dataset_split import split_videos
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.records import read_name_list
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.formats import FORMATS
from vidseg_common.video import open_source
from vidseg_common.video_images import read_image
from vidseg_common.visualize import color_for_id


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A YouTube-VIS data set of ten videos with images, as a folder."""
    folder = tmp_path / "source"
    FORMATS["ytvis2019"].write(make_set(folder / "JPEGImages", 10), folder / "instances.json")
    return folder


class TestShow:
    def test_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text('{"videos": [], "categories": [], "annotations": []}')
        with pytest.raises(UserError, match="has no video to draw"):
            run("show", tmp_path / "x.json", "-o", tmp_path / "out")

    def test_a_video(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "v1.mp4"
        assert run("show", source, "-o", out, "--videos", "v1", "--fps", "5") == 0
        with open_source(out) as frames:
            assert len(list(frames)) == FRAMES

    def test_a_sheet_beside_the_ground_truth(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        masks = tmp_path / "masks"
        run("convert", source, "--to", "davis-results", "-o", masks)
        (masks / "extra").mkdir()
        out = tmp_path / "sheet.png"
        line = ("--gt", source, "--videos", "v2", "--frames", "2", "--labels")
        assert run("show", masks, "-o", out, *line) == 0
        assert read_image(out).shape[1] > 4 * WIDTH
        capsys.readouterr()
        assert (
            run(
                "convert",
                masks,
                "--gt",
                source,
                "--to",
                "ytvis-results",
                "-o",
                out.with_suffix(".json"),
            )
            == 0
        )
        assert (
            "1 video(s) that are not in the ground truth, left out: extra"
            in capsys.readouterr().err
        )

    def test_every_frame_in_a_folder(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "frames"
        run("show", source, "-o", out, "--as", "png", "--alpha", "1", "--videos", "v1", "v3")
        image = read_image(out / "v3" / "00002.png")
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert tuple(image[7, 6]) == color_for_id(1)
        assert sorted(path.name for path in out.iterdir()) == ["v1", "v3"]

    def test_many_videos_do_not_fit_into_one_file(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="choose one with --videos"):
            run("show", source, "-o", tmp_path / "all.mp4")
        assert not (tmp_path / "all.mp4").exists()

    def test_without_images_masks_are_on_grey(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.rmtree(source / "JPEGImages")
        run("show", source, "-o", tmp_path / "out", "--as", "png", "--videos", "v1")
        assert "drawn over grey" in capsys.readouterr().err
        assert tuple(read_image(tmp_path / "out" / "v1" / "00000.png")[-1, -1]) == (96, 96, 96)


class TestPictures:
    @pytest.fixture
    def data(self, tmp_path: Path) -> AnnotationSet:
        return make_set(tmp_path / "images", 1)

    def test_boxes_without_masks_are_drawn(self, data: AnnotationSet) -> None:
        clip = data.load(0)
        track = clip.tracks[0]
        track.segmentations = [None] * FRAMES
        track.bboxes = [[2.0, 3.0, 10.0, 8.0]] * FRAMES
        picture = draw_frame(data, clip, 0)
        assert tuple(picture[3, 5]) == color_for_id(1)

    def test_predictions_take_the_colours_of_what_they_cover(self, data: AnnotationSet) -> None:
        truth, found = data.load(0), make_again(data)
        found.tracks.reverse()
        for track, score in zip(found.tracks, (0.9, 0.1), strict=True):
            track.score = score
        assert matching_colors(truth, found, 0.0) == {2: 2, 1: 1}
        assert matching_colors(truth, found, 0.5) == {2: 2, 1: 3}
        # The second object is alone kept, and is not there in the first frame.
        assert frame_qualities(truth, found, 0.5) == [0.0, 0.5, 0.5, 0.5]
        assert frame_qualities(truth, found, 0.0) == [1.0] * FRAMES


def make_again(data: AnnotationSet):  # type: ignore[no-untyped-def]
    import copy

    return copy.deepcopy(data.load(0))


class TestSplit:
    def test_both_parts_are_written(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "parts"
        assert run("split", source, "-o", out, "--share", "0.3", "--seed", "4") == 0
        parts = {part: read_name_list(out / f"{part}.txt") for part in ("train", "val")}
        assert len(parts["val"]) == 3 and len({*parts["train"], *parts["val"]}) == 10
        for part, names in parts.items():
            data = FORMATS["ytvis2019"].read(out / f"{part}.json")
            assert [video.name for video in data.videos] == names
        record = json.loads((out / "split.json").read_text())
        assert record["videos"] == parts and record["seed"] == 4
        assert record["tracks"]["car"] == {"train": 7, "val": 3}

    def test_the_seed_decides(self, source: Path, tmp_path: Path) -> None:
        names = []
        for number, seed in enumerate((1, 1, 2)):
            out = tmp_path / str(number)
            run("split", source, "-o", out, "--num-val", "4", "--seed", str(seed))
            names.append(read_name_list(out / "val.txt"))
        assert names[0] == names[1] != names[2]

    @pytest.mark.parametrize("name", ["youtube-vos", "kitti-mots-txt", "davis2017"])
    def test_folders_get_lists_and_meta(self, source: Path, tmp_path: Path, name: str) -> None:
        data, out = tmp_path / "data", tmp_path / "parts"
        run("convert", source, "--to", name, "-o", data)
        run("split", data, "-o", out)
        files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        common = {"train.txt", "val.txt", "split.json"}
        assert (
            files - common
            == {
                "youtube-vos": {"train/meta.json", "val/meta.json"},
                "kitti-mots-txt": {"train.seqmap", "val.seqmap"},
                "davis2017": set(),
            }[name]
        )

    @pytest.mark.parametrize("kind", ["visible", "joint(bbox=both_bbox)"])
    def test_files_keep_their_kind(self, source: Path, tmp_path: Path, kind: str) -> None:
        run("convert", source, "--to", "sailvos", "--kind", kind, "-o", tmp_path / "x.json")
        run("split", tmp_path / "x.json", "-o", tmp_path / "parts")
        for part, number in (("train", 8), ("val", 2)):
            data = FORMATS["sailvos"].read(tmp_path / "parts" / f"{part}.json")
            assert len(data.videos) == number and data.info["sailvos_kind"] == kind

    @pytest.mark.parametrize("share", ["0", "1", "2", "x"])
    def test_a_share_is_part_of_the_whole(
        self, source: Path, tmp_path: Path, share: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            run("split", source, "-o", tmp_path / "x", "--share", share)
        assert "--share" in capsys.readouterr().err

    def test_too_few_videos(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="leave one part empty"):
            run("split", source, "-o", tmp_path / "x", "--num-val", "10")

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.dictionaries(st.integers(1, 4), st.integers(1, 3)), min_size=2, max_size=20),
        st.data(),
    )
    def test_parts_are_a_partition(self, categories: list[dict[int, int]], data) -> None:  # type: ignore[no-untyped-def]
        number = data.draw(st.integers(1, len(categories) - 1))
        train, val = split_videos(categories, number, data.draw(st.integers(0, 9)))
        assert sorted(train + val) == list(range(len(categories)))
        assert len(val) == number

    def test_parts_have_alike_categories(self) -> None:
        rng = np.random.default_rng(0)
        categories = [{int(c): 1} for c in rng.choice(4, 200, p=[0.6, 0.2, 0.15, 0.05])]
        total = Counter(c for tracks in categories for c in tracks)
        _, val = split_videos(categories, 50)
        found = Counter(c for i in val for c in categories[i])
        assert all(abs(found[c] - total[c] / 4) <= 1 for c in total)


class TestPack:
    @pytest.mark.parametrize(
        ("server", "results", "truth", "names"),
        [
            ("davis", "davis-results", "davis2017", {"v1/00000.png", "v10/00003.png"}),
            ("davis-unsupervised", "davis-results", "davis2019", {"v1/00000.png"}),
            ("youtube-vos", "youtube-vos-results", "youtube-vos", {"Annotations/v2/00003.png"}),
            ("ytvis", "ytvis-results", "ytvis2019", {"results.json"}),
            ("ovis", "ovis-results", "ovis", {"results.json"}),
            ("kitti-mots", "kitti-mots-results", "kitti-mots-txt", {"v1.txt", "v10.txt"}),
            ("mots-challenge", "kitti-mots-results", "mots-challenge", {"v3.txt"}),
            ("coco", "coco-results", "coco", {"detections_val2017_mine_results.json"}),
        ],
    )
    def test_what_the_server_expects(
        self,
        source: Path,
        tmp_path: Path,
        server: str,
        results: str,
        truth: str,
        names: set[str],
    ) -> None:
        real, found, out = tmp_path / "truth", tmp_path / "found", tmp_path / "x.zip"
        # The semi-supervised task knows no objects that enter after the first frame.
        kept = ("--categories", "car") if server == "davis" else ()
        run("convert", source, "--to", truth, "-o", real, *kept)
        found = found.with_suffix(".json") if FORMATS[results].file_name else found
        run("convert", real, "--from", truth, "--to", results, "-o", found)
        line = ("--split", "val2017", "--name", "mine") if server == "coco" else ()
        assert run("pack", found, "--for", server, "--gt", real, "-o", out, *line) == 0
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
            assert names <= set(archive.namelist())
            if len(names) == 1 and server in ("ytvis", "ovis", "coco"):
                assert set(archive.namelist()) == names
            else:
                assert not any(name.startswith("/") for name in archive.namelist())

    def test_problems_are_listed_and_nothing_is_written(
        self, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, out = tmp_path / "found.json", tmp_path / "x.zip"
        run("convert", source, "--to", "ytvis-results", "-o", found)
        content = json.loads(found.read_text())
        content[0]["video_id"] = 99
        del content[1]["score"]
        found.write_text(json.dumps(content))
        assert run("pack", found, "--for", "ytvis", "--gt", source, "-o", out) == 2
        text = capsys.readouterr().out
        assert "video_id" in text and "score" in text and "2 problems, not packed" in text
        assert not out.exists()

    def test_the_test_set_of_kitti_is_known(self, source: Path, tmp_path: Path) -> None:
        found, out = tmp_path / "found", tmp_path / "x.zip"
        found.mkdir()
        for number in range(28):
            (found / f"{number:04d}.txt").write_text("")
        with pytest.raises(DatasetError, match=r"1 required result\(s\) missing(?s:.*)0028\.txt"):
            run("pack", found, "--for", "kitti-mots", "-o", out)
        (found / "0028.txt").write_text("")
        assert run("pack", found, "--for", "kitti-mots", "-o", out) == 0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("-o", "x.tar"), "must end in .zip"),
            (("-o", "x.zip"), "--gt is needed"),
        ],
    )
    def test_faults(
        self,
        source: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        words: tuple[str, ...],
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=message):
            run("pack", source, "--for", "ovis", *words)

    def test_an_old_file_is_kept_unless_told(self, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "x.zip"
        out.write_text("old")
        with pytest.raises(UserError, match="--overwrite"):
            run("pack", source, "--for", "ytvis", "--gt", source, "-o", out)


class TestSynth:
    @pytest.mark.parametrize(
        ("layout", "named", "found"),
        [
            ("davis", ".", "davis2017"),
            ("davis2016", ".", "davis2016"),
            ("youtube-vos", ".", "youtube-vos"),
            ("ytvis", ".", "ytvis2019"),
            ("ovis", ".", "ovis"),
            ("kitti-mots", ".", "kitti-mots-txt"),
            ("sailvos", "sailvos_cut_json/amodal", "sailvos"),
            ("coco", ".", "coco"),
            ("stemseg", "annotations/davis_train.json", "stemseg-video"),
            ("stemseg", "annotations/coco.json", "stemseg-image"),
        ],
    )
    def test_what_is_written_is_found_and_valid(
        self,
        tmp_path: Path,
        layout: str,
        named: str,
        found: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        line = ("--videos", "1", "--frames", "3", "--size", "48x64", "--quiet")
        assert run("synth", tmp_path / "x", "--layout", layout, *line) == 0
        capsys.readouterr()
        assert run("validate", tmp_path / "x" / named) == 0
        assert f": {found}, no problems" in capsys.readouterr().out
        assert run("info", tmp_path / "x" / named) == 0
        assert "images        all there" in capsys.readouterr().out
