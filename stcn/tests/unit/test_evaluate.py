"""Evaluation over a list of videos: what is written, kept, redone, refused and reported."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from stcn import Predictor
from stcn.evaluate import EvalPlan, EvalStats, evaluate, expected_files
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import DatasetError, MaskError, OutputBusyError, UserError, VideoError
from vidseg_common.files import OutputLock
from vidseg_common.masks import read_indices, read_mask_and_palette, write_mask
from vidseg_common.video import write_image

IDS = (3, 200)


@pytest.fixture
def records(tmp_path, make_video):
    """Two videos of five frames with a mask in frame 0, in files."""
    made = []
    for k, name in enumerate(("first", "second")):
        frames, masks = make_video(5, 32, 40, IDS, seed=k)
        folder = tmp_path / "data" / name
        for t, frame in enumerate(frames):
            write_image(folder / f"{t:05d}.png", frame)
        write_mask(folder / "mask.png", masks[0])
        paths = tuple(folder / f"{t:05d}.png" for t in range(5))
        made.append(VideoRecord(name, paths, {0: folder / "mask.png"}))
    return made


@pytest.fixture
def plan(tmp_path, records):
    root = tmp_path / "out"
    return EvalPlan(records, root, tmp_path / "out_metrics" / "run.json", {"top": 20})


@pytest.fixture(scope="module")
def predictor(network):
    return Predictor(network)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def direct(network, record):
    """Label maps of a video through the predictor alone."""
    predictor, mask = Predictor(network), read_indices(record.mask_paths[0])
    frames = [np.array(Image.open(path)) for path in record.frame_paths]
    return [predictor.step(f, mask if t == 0 else None).mask for t, f in enumerate(frames)]


def stop_at(name, frame):
    def hook(record, i, _):
        if (record.name, i) == (name, frame):
            raise KeyboardInterrupt

    return hook


def test_writes_the_predictors_masks(plan, predictor, network):
    stats = evaluate(plan, predictor)
    assert (stats.done, stats.kept, stats.skipped) == (["first", "second"], [], {})
    assert stats.frames == 10
    assert stats.seconds > 0
    wanted = {f"{r.name}/{t:05d}.png" for r in plan.records for t in range(5)}
    assert set(contents(plan.root)) == wanted
    for record in plan.records:
        for path, mask in zip(
            expected_files(plan, record, 0), direct(network, record), strict=True
        ):
            assert np.array_equal(read_indices(path), mask)


def test_closing_lines():
    stats = EvalStats(2.0, 10, ["a"], ["b"], {"c": "no annotated frame with an object"})
    text = "\n".join(stats.lines())
    assert "skipped c: no annotated frame with an object" in text
    assert "1 videos were finished before" in text
    assert "Total processing time: 2.000\nTotal processed frames: 10\nFPS: 5.000" in text
    assert "FPS: 0.000" in list(EvalStats().lines())[-1]


def test_finished_videos_are_not_redone(plan, predictor):
    evaluate(plan, predictor)
    before = {path: path.stat().st_mtime_ns for path in plan.root.rglob("*.png")}
    timing = json.loads(plan.run_file.read_text())["timing"]
    stats = evaluate(plan, predictor)
    assert (stats.done, stats.kept, stats.frames) == ([], ["first", "second"], 0)
    assert {path: path.stat().st_mtime_ns for path in plan.root.rglob("*.png")} == before
    assert json.loads(plan.run_file.read_text())["timing"] == timing
    assert timing["frames"] == 10


@pytest.mark.parametrize("frame", [0, 3])
def test_interrupted_run_continues(plan, predictor, frame):
    whole = replace(plan, root=plan.root.with_name("whole"), run_file=plan.root.with_name("w.json"))
    evaluate(whole, predictor)
    with pytest.raises(KeyboardInterrupt):
        evaluate(plan, predictor, hook=stop_at("second", frame))
    # What was computed before is written; each file is complete and nothing else is left.
    assert len(contents(plan.root)) == 5 + frame
    stats = evaluate(plan, predictor)
    assert (stats.kept, stats.done) == (["first"], ["second"])
    assert contents(plan.root) == contents(whole.root)


def test_video_with_a_missing_file_is_redone(plan, predictor):
    evaluate(plan, predictor)
    (plan.root / "first" / "00002.png").unlink()
    assert evaluate(plan, predictor).done == ["first"]
    assert (plan.root / "first" / "00002.png").exists()


def test_files_of_unknown_origin_are_redone(plan, predictor):
    evaluate(plan, predictor)
    plan.run_file.unlink()
    assert evaluate(plan, predictor).done == ["first", "second"]


def test_other_settings_are_refused(plan, predictor):
    evaluate(plan, predictor)
    before = contents(plan.root), plan.run_file.read_text()
    other = replace(plan, settings={"top": 5, "amp": True})
    with pytest.raises(UserError, match=r"top was 20, now 5; amp was not given, .*--overwrite"):
        evaluate(other, predictor)
    assert (contents(plan.root), plan.run_file.read_text()) == before
    with pytest.raises(UserError, match="top was 20, now not given"):
        evaluate(replace(plan, settings={}), predictor)


def test_overwrite_redoes_and_takes_other_settings(plan, predictor):
    evaluate(plan, predictor)
    other = replace(plan, settings={"top": 5}, overwrite=True)
    assert evaluate(other, predictor).done == ["first", "second"]
    assert json.loads(plan.run_file.read_text())["settings"] == {"top": 5}
    assert evaluate(replace(other, overwrite=False), predictor).kept == ["first", "second"]


def test_interrupted_overwrite_does_not_pass_old_results_off_as_new(plan, predictor):
    evaluate(plan, predictor)
    other = replace(plan, settings={"top": 5}, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(other, predictor, hook=stop_at("first", 3))
    stats = evaluate(replace(other, overwrite=False), predictor)
    assert (stats.kept, stats.done) == ([], ["first", "second"])


def test_overwrite_of_some_videos_keeps_the_others(plan, predictor):
    evaluate(plan, predictor)
    some = replace(plan, records=plan.records[:1], overwrite=True)
    assert evaluate(some, predictor).done == ["first"]
    assert evaluate(plan, predictor).kept == ["first", "second"]


def test_parts_of_a_data_set_add_up(plan, predictor):
    for record in plan.records:
        evaluate(replace(plan, records=[record]), predictor)
    assert evaluate(plan, predictor).kept == ["first", "second"]


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_foreign_run_file(plan, predictor, text):
    plan.run_file.parent.mkdir()
    plan.run_file.write_text(text)
    with pytest.raises(UserError, match=r"run\.json: is not the record of a run"):
        evaluate(plan, predictor)
    assert evaluate(replace(plan, overwrite=True), predictor).done == ["first", "second"]


def test_video_without_objects_is_reported_and_the_others_done(plan, predictor, records):
    write_mask(records[0].mask_paths[0], np.zeros((32, 40), np.uint8))
    bare = replace(records[1], name="bare", mask_paths={}, required=frozenset())
    stats = evaluate(replace(plan, records=[*records, bare]), predictor)
    assert stats.done == ["second"]
    assert stats.skipped == dict.fromkeys(("first", "bare"), "no annotated frame with an object")
    assert not (plan.root / "first").exists()


def test_nothing_to_segment_at_all(plan, predictor, records):
    write_mask(records[0].mask_paths[0], np.zeros((32, 40), np.uint8))
    with pytest.raises(DatasetError, match=r"no video to segment\n  - first: no annotated frame"):
        evaluate(replace(plan, records=records[:1]), predictor)
    with pytest.raises(DatasetError, match="no video to segment"):
        evaluate(replace(plan, records=[]), predictor)


def test_empty_first_mask_does_not_confuse_what_is_finished(plan, predictor, records):
    folder = records[0].frame_paths[0].parent
    (folder / "mask.png").rename(folder / "later.png")
    write_mask(folder / "mask.png", np.zeros((32, 40), np.uint8))
    late = replace(records[0], mask_paths={0: folder / "mask.png", 2: folder / "later.png"})
    plan = replace(plan, records=[late])
    assert evaluate(plan, predictor).done == ["first"]
    assert sorted(contents(plan.root)) == [f"first/{t:05d}.png" for t in (2, 3, 4)]
    assert evaluate(plan, predictor).kept == ["first"]


def test_only_required_frames_are_written(plan, predictor, records):
    wanted = replace(records[0], required=frozenset({2, 4}))
    plan = replace(plan, records=[wanted])
    evaluate(plan, predictor)
    assert sorted(contents(plan.root)) == ["first/00002.png", "first/00004.png"]
    assert evaluate(plan, predictor).kept == ["first"]


def test_finished_hook_fails_video_is_redone(plan, predictor):
    def fail(record):
        if record.name == "second":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(plan, predictor, finished=fail)
    seen = []
    evaluate(plan, predictor, finished=lambda record: seen.append(record.name))
    assert seen == ["second"]


def test_flip(plan, predictor, network):
    def mirror(image):
        return np.ascontiguousarray(image[:, ::-1])

    seen = []
    evaluate(plan, predictor, transform=mirror, hook=lambda _, i, result: seen.append(result.mask))
    record = plan.records[0]
    flipped, mask = Predictor(network), read_indices(record.mask_paths[0])
    for t, path in enumerate(record.frame_paths):
        result = flipped.step(mirror(np.array(Image.open(path))), mirror(mask) if t == 0 else None)
        assert np.array_equal(seen[t], result.mask)
        written = read_indices(plan.root / "first" / f"{t:05d}.png")
        assert np.array_equal(written, mirror(result.mask))


def test_binary_masks(plan, predictor, records):
    evaluate(replace(plan, records=records[:1], binary=True), predictor)
    with Image.open(plan.root / "first" / "00000.png") as image:
        assert image.mode == "L"
        values = np.array(image)
    assert np.array_equal(values, np.where(read_indices(records[0].mask_paths[0]) > 0, 255, 0))


def test_palette_of_the_annotation_is_kept(plan, predictor, records):
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    mask = read_indices(records[0].mask_paths[0])
    write_mask(records[0].mask_paths[0], mask, palette)
    evaluate(replace(plan, records=records[:1]), predictor)
    written, own = read_mask_and_palette(plan.root / "first" / "00000.png")
    assert np.array_equal(written, mask)
    assert np.array_equal(own, palette)


def paint(path, squares):
    image = np.zeros((32, 40, 3), np.uint8)
    for color, (top, left) in squares:
        image[top : top + 10, left : left + 10] = color
    Image.fromarray(image).save(path)


def test_colours_mean_the_same_object_in_all_masks_of_a_video(plan, predictor, records):
    red, blue = (250, 10, 20), (10, 20, 250)
    folder = records[0].frame_paths[0].parent
    paint(folder / "a.png", [(red, (2, 2))])
    paint(folder / "b.png", [(blue, (20, 20)), (red, (4, 4))])
    record = replace(records[0], mask_paths={0: folder / "a.png", 2: folder / "b.png"})
    evaluate(replace(plan, records=[record], rgb_masks="snap"), predictor)
    early = read_indices(plan.root / "first" / "00000.png")
    late = read_indices(plan.root / "first" / "00002.png")
    assert early[5, 5] == late[6, 6] != 0
    assert late[25, 25] not in (0, late[6, 6])


class TestErrors:
    def test_folder_in_use(self, plan, predictor):
        with OutputLock(plan.root), pytest.raises(OutputBusyError, match="in use"):
            evaluate(plan, predictor)
        assert not plan.run_file.exists()

    def test_folder_that_cannot_be_written(self, plan, predictor, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="cannot write into the output folder"):
            evaluate(replace(plan, root=tmp_path / "file" / "out"), predictor)

    def test_mask_of_another_size_names_the_file(self, plan, predictor, records):
        write_mask(records[1].mask_paths[0], np.ones((30, 40), np.uint8))
        with pytest.raises(
            MaskError, match=r"second/mask\.png: mask is 40x30, .* second are 40x32"
        ):
            evaluate(plan, predictor)
        assert not (plan.root / "second").exists()
        assert (plan.root / "first").exists()

    def test_colour_mask(self, plan, predictor, records):
        paint(records[0].mask_paths[0], [((9, 9, 9), (2, 2))])
        with pytest.raises(MaskError, match=r"first/mask\.png is a colour picture"):
            evaluate(plan, predictor)

    @pytest.mark.parametrize("damage", ["remove", "cut", "other size"])
    def test_bad_frame_is_named(self, plan, predictor, records, damage):
        path = records[0].frame_paths[3]
        if damage == "remove":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:100])
        else:
            write_image(path, np.zeros((32, 44, 3), np.uint8))
        with pytest.raises(VideoError, match=r"first/00003\.png"):
            evaluate(plan, predictor)
        # The run continues at this video once the frame is repaired.
        write_image(path, np.zeros((32, 40, 3), np.uint8))
        assert evaluate(plan, predictor).done == ["first", "second"]

    def test_full_disk(self, plan, predictor, monkeypatch):
        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            evaluate(plan, predictor)
        monkeypatch.undo()
        assert contents(plan.root) == {}
        assert evaluate(plan, predictor).done == ["first", "second"]
