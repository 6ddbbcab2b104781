"""`tools/test.py`, `vatrack eval` and `vatrack download` on a small data set."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vatrack import evaluate
from vatrack.checkpoint import make_meta, write_checkpoint
from vatrack.commands import download, predict
from vatrack.commands import test as command
from vatrack.config import dataset_settings, load_config, model_settings
from vatrack.evaluate import share
from vatrack.evaluation_set import open_evaluation_set
from vatrack.inference.results import FrameResult
from vatrack.model import build
from vatrack.outputs.store import from_plain, to_plain
from vidseg_common import rle
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import Video
from vidseg_common.datasets.safe_pickle import load_pickle
from vidseg_common.datasets.sailvos_per_video import box_of, write_per_video
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout
from vidseg_common.video import list_images, read_image

SIZE = (64, 96)
JOINT = "joint/valid(bbox=amdl_bbox).json"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    cfg = load_config("overfit")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    write_checkpoint(path, build(model_settings(cfg)), make_meta(epoch=1, iteration=1))
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two videos, of 4 and 3 frames, with two objects each."""
    videos = [next(iter(generate_videos(5 + n, 1, n, *SIZE, 2))) for n in (4, 3)]
    write_layout("sailvos", videos, tmp_path / "data", split="valid")
    monkeypatch.setenv("VATRACK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def annotations(data, kind=JOINT):
    return data / "sailvos_cut_json" / kind


def words(data, weights, *more, config="overfit"):
    out = data.parent / "out" / "r.pkl"
    base = ["--config", config, "--checkpoint", weights, "--out", out, "--device", "cpu"]
    return [str(word) for word in (*base, "--workers", 1, "--num-workers", 0, *more)]


class PerfectPredictor:
    """Finds what the annotations say, frame by frame in the order of the data set.

    Args:
        truth: the data set.
        kind: which masks it makes.
    """

    def __init__(self, truth, kind="joint"):
        self.kind = kind
        self.frames = [
            self._frame(clip, t) for clip in truth.clips() for t in range(clip.video.num_frames)
        ]
        self.position = 0

    def reset(self):
        pass

    def step(self, image):
        self.position += 1
        return self.frames[self.position - 1]

    def _frame(self, clip, t):
        tracks = [track for track in clip.tracks if track.amodal[t] is not None]
        empty = rle.encode(np.zeros((clip.video.height, clip.video.width), bool))
        boxes = np.array([[*corners(box_of(k, t, "amodal")), 0.9] for k in tracks], np.float32)
        labels = np.array([k.category_id - 1 for k in tracks], np.int64)
        return FrameResult(
            size=(clip.video.height, clip.video.width),
            ids=np.array([track.id for track in tracks], np.int64),
            labels=labels,
            boxes=boxes.reshape(-1, 5),
            visible_boxes=None,
            visible_masks=[k.segmentations[t] or empty for k in tracks],
            amodal_masks=[k.amodal[t] for k in tracks],
            det_boxes=boxes.reshape(-1, 5),
            det_labels=labels,
        )


def corners(box):
    x, y, w, h = box
    return [x, y, x + w, y + h]


@pytest.fixture
def perfect(data, monkeypatch):
    """The command finds what the annotations say."""
    truth = sailvos.read(annotations(data))
    monkeypatch.setattr(command, "make_predictor", lambda *_, **__: PerfectPredictor(truth))


def test_perfect_results_score_one(data, weights, perfect, capsys):
    assert command.main(words(data, weights)) == 0
    said = capsys.readouterr().out
    titles = [line for line in said.splitlines() if " level, " in line]
    assert titles == [
        *("Image level, amodal masks", "Image level, visible masks"),
        *("Video level, amodal masks", "Video level, visible masks", "Image level, amodal boxes"),
    ]
    heads = [line.split() for line in said.splitlines() if "AP50^P" in line]
    columns = ["AP", "AP50", "AP50^P", "AP50^H", "AP50^L", "AP50^M", "AP50^S"]
    assert heads[:2] == [columns] * 2 and heads[2] == [f"v{name}" for name in columns]
    scores = json.loads((data.parent / "out" / "r_metrics.json").read_text())["numbers"]
    for part in ("image_amodal_segm", "image_visible_segm", "video_amodal_segm"):
        assert scores[f"{part}_AP"] == pytest.approx(1), part
    assert scores["amodal_mot_num_switches"] == scores["visible_mots_num_switches"] == 0
    assert scores["amodal_mots_num_misses"] == 0
    assert (data.parent / "out" / "r_metrics.txt").read_text().strip() in said


def test_both_files_score_alike_without_the_network(data, weights, perfect, capsys):
    command.main(words(data, weights, "--eval", "segm", "--show-dir", str(data.parent / "show")))
    first = json.loads((data.parent / "out" / "r_metrics.json").read_text())["numbers"]
    for name in ("r.pkl", "r.json"):
        out = ["--out", str(data.parent / "out" / name)]
        more = ["--eval", "segm", "--eval-only", *out]
        assert command.main(words(data, "missing.pth", *more)) == 0
        again = json.loads((data.parent / "out" / "r_metrics.json").read_text())["numbers"]
        assert again == first
    show = data.parent / "show"
    pictures = sorted(path.relative_to(show) for path in show.glob("*/*/*/*"))
    assert len(pictures) == 14
    assert {p.parts[0] for p in pictures} == {"amodal", "visible"}
    assert read_image(show / pictures[0]).shape == (*SIZE, 3)


def test_ground_truth_of_tracks_from_files(data, weights, perfect):
    command.main(words(data, weights, "--eval", "segm"))
    numbers = data.parent / "out" / "r_metrics.json"
    first = json.loads(numbers.read_text())["numbers"]
    files = []
    for masks in ("visible", "amodal"):
        path = data.parent / f"{masks}.json"
        write_per_video(sailvos.read(annotations(data)), path, masks=masks)
        files += [f"--per-video-{masks}", str(path)]
    command.main(words(data, weights, "--eval", "segm", "--eval-only", *files))
    assert json.loads(numbers.read_text())["numbers"] == first


def test_the_network_runs_and_its_pickle_is_like_upstreams(data, weights, capsys):
    options = ["--eval-options", "classwise=True", "upstream_rows=True", "--detections"]
    assert command.main(words(data, weights, *options)) == 0
    said = capsys.readouterr().out
    assert "rows as the original sums them" in said and "by class" in said
    assert "detections before tracking" in said
    path = data.parent / "out" / "r.pkl"
    content = load_pickle(path)
    assert pickle.loads(path.read_bytes()).keys() == content.keys()
    assert list(content) == [
        *("bbox_result", "segm_result", "track_result", "segm_result_a", "segm_result_v"),
        *("track_result_a", "track_result_v"),
    ]
    assert {len(frames) for frames in content.values()} == {7}
    amodal, visible = content["track_result"][0]
    assert amodal.keys() == visible.keys()
    assert all(type(number) is np.int64 for number in amodal)
    for entry in (*amodal.values(), *visible.values()):
        assert entry["bbox"].shape == (5,) and entry["bbox"].dtype == np.float32
        assert type(entry["label"]) is int and type(entry["segm"]["counts"]) is bytes
        assert entry["segm"]["size"] == list(SIZE)
    boxes = content["bbox_result"][0]
    assert len(boxes) == 24 and all(array.shape[1:] == (5,) for array in boxes)
    # Readers of older NumPy do not know the newer name of its inner package.
    assert b"numpy._core" not in path.read_bytes()


def test_detections_of_a_file_score_as_those_of_the_run(data, weights):
    numbers = data.parent / "out" / "r_metrics.json"
    more = ["--eval", "bbox", "--detections"]
    command.main(words(data, weights, *more))
    first = json.loads(numbers.read_text())["detections"]
    assert first["numbers"].keys() >= {"image_amodal_bbox_AP50"}
    command.main(words(data, weights, *more, "--eval-only"))
    assert json.loads(numbers.read_text())["detections"] == first


def test_a_data_set_without_annotations_is_run_and_not_scored(data, weights, capsys):
    path = annotations(data)
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    assert command.main(words(data, weights)) == 0
    assert "not scored" in capsys.readouterr().out
    assert (data.parent / "out" / "r.json").is_file()


def test_frames_survive_the_store():
    frame = FrameResult(
        size=(4, 5),
        ids=np.array([3], np.int64),
        labels=np.array([1], np.int64),
        boxes=np.ones((1, 5), np.float32),
        visible_boxes=None,
        visible_masks=[rle.encode(np.eye(4, 5, dtype=bool))],
        amodal_masks=None,
        det_boxes=np.zeros((0, 5), np.float32),
        det_labels=np.zeros(0, np.int64),
        det_masks=[],
    )
    again = from_plain(to_plain(frame))
    assert again.visible_masks == frame.visible_masks and again.amodal_masks is None
    assert again.det_masks == [] and again.visible_boxes is None
    assert np.array_equal(again.boxes, frame.boxes) and again.det_boxes.shape == (0, 5)


def test_processes_share_whole_videos():
    videos = [Video(n, str(n), 4, 4, ("x",) * length) for n, length in enumerate((9, 1, 5, 3, 2))]
    for world in (1, 2, 3, 8):
        parts = [list(share(videos, rank, world)) for rank in range(world)]
        assert [i for part in parts for i in part] == list(range(5))
    assert [len(share(videos, rank, 2)) for rank in range(2)] == [2, 3]
    assert list(share([], 0, 1)) == []


def test_missing_frames_are_listed_before_anything_runs(data, weights):
    for name in ("000001.png", "000002.png"):
        next((data / "sailvos_cut_png").rglob(name)).unlink()
    with pytest.raises(DatasetError, match=r"2 frame\(s\) are not there:(.|\n)*000001\.png"):
        command.main(words(data, weights))


@pytest.mark.parametrize("kind", ["visible", "amodal"])
def test_a_joint_model_needs_joint_annotations(data, weights, kind):
    more = ["--ann-file", str(annotations(data, f"{kind}/valid.json"))]
    with pytest.raises(DatasetError, match=rf"holds {kind} annotations, the network needs joint"):
        command.main(words(data, weights, *more))


def test_category_ids_outside_are_told(data, weights):
    path = annotations(data)
    content = json.loads(path.read_text())
    content["categories"][-1]["id"] = 25
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"id 25 \(stick\) outside 1\.\.24"):
        command.main(words(data, weights))


def test_pickles_of_foreign_origin_run_nothing(data, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "foreign.pkl"
    path.write_bytes(pickle.dumps({"track_result": [Bomb()]}))
    with pytest.raises(DatasetError, match="not a pickle of plain values and arrays"):
        command.main(words(data, "x.pth", "--eval-only", "--out", str(path)))
    assert not (tmp_path / "ran").exists()


def test_results_of_another_model_are_told(data, weights, perfect):
    command.main(words(data, weights, "--format-only"))
    with pytest.raises(ConfigError, match="has joint masks, but QDTrack_SAILVOScut"):
        command.main(words(data, "x.pth", "--eval-only", config="QDTrack_SAILVOScut"))


def test_damaged_json_results_are_told(data, weights, perfect):
    command.main(words(data, weights, "--format-only"))
    path = data.parent / "out" / "r.json"
    content = json.loads(path.read_text())
    track = content["videos"][0]["tracks"][0]
    track["frames"][0], track["category_ids"][0] = 99, 77
    track["amodal_masks"][0]["size"] = [1, 1]
    del content["videos"][1]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as error:
        command.main(words(data, "x.pth", "--eval-only", "--out", str(path)))
    for text in ("99 is outside 0..3", "77 is not in the data set", "no video 2"):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "x.json"], r"ends in .pkl or .pickle"),
        (["--eval-only", "--format-only"], "expected one of them"),
        (["--eval", "bobx"], "invalid choice"),
        (["--eval-options", "claswise=True"], "did you mean classwise"),
        (["--eval-options", "classwise=3"], "expected True or False"),
        (["--eval-only", "--show"], "needs the network"),
    ],
)
def test_contradicting_flags_are_one_line(data, more, message, capsys):
    with pytest.raises(SystemExit):
        command.main(words(data, "x.pth", *more))
    assert re.search(message, capsys.readouterr().err)


def test_a_missing_checkpoint_is_told(data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="--checkpoint is missing"):
        command.main(["--config", "overfit", "--device", "cpu"])


def test_frames_of_another_size_are_told(data):
    settings = dataset_settings(load_config("overfit"), "test")[0]
    chosen = open_evaluation_set(settings)
    video = replace(chosen.data.videos[0], width=50)
    with pytest.raises(DatasetError, match=r"width and height: 50x64, but 000000 is 96x64"):
        next(chosen.frames_of(video))


def test_predict_writes_masks_overlay_and_record(data, weights, tmp_path, monkeypatch, capsys):
    truth = sailvos.read(annotations(data))
    monkeypatch.setattr(predict, "make_predictor", lambda *_, **__: PerfectPredictor(truth))
    first = truth.videos[0]
    folder = data / "sailvos_cut_png" / first.name / "images"
    flags = ["--checkpoint", str(weights), "--config", "overfit", "--num-workers", "0"]
    assert predict.main([str(folder), "-o", str(tmp_path / "p"), *flags]) == 0
    assert "4 frames" in capsys.readouterr().out
    record = json.loads((tmp_path / "p" / "result.json").read_text())
    assert [track["id"] for track in record["tracks"]] == [1, 2][: len(record["tracks"])]
    assert record["num_frames"] == 4 and (tmp_path / "p" / "overlay.mp4").is_file()
    clip = truth.load(0)
    for kind in ("visible", "amodal"):
        files = list_images(tmp_path / "p" / "masks" / kind)
        assert [path.stem for path in files] == [Path(n).stem for n in first.file_names]
    entry = next(t for t in record["tracks"] if t["category_id"] == clip.tracks[0].category_id)
    assert entry["amodal_masks"][0]["size"] == list(SIZE)


def test_the_network_of_predict_runs(data, weights, tmp_path):
    folder = next((data / "sailvos_cut_png").iterdir()) / "images"
    flags = ["--checkpoint", str(weights), "--config", "overfit", "--max-frames", "2"]
    more = ["--visible-within-amodal", "--no-overlay", "--device", "cpu", "--score-threshold", "0"]
    assert predict.main([str(folder), "-o", str(tmp_path / "p"), *flags, *more]) == 0
    record = json.loads((tmp_path / "p" / "result.json").read_text())
    assert record["num_frames"] == 2 and not (tmp_path / "p" / "overlay.mp4").exists()
    for track in record["tracks"]:
        for seen, whole in zip(track["visible_masks"], track["amodal_masks"], strict=True):
            assert not (rle.decode(seen) & ~rle.decode(whole)).any()


def test_download_refuses_other_weights(weights, tmp_path):
    flags = ["--from-file", str(weights), "-o", str(tmp_path / "w")]
    with pytest.raises(CheckpointError, match=r"do not fit|does not fit|differ"):
        download.main(["QDbasedVATrack", *flags])
    assert not (tmp_path / "w" / "QDbasedVATrack.pth").exists()


def test_videos_are_run_in_order(data):
    chosen = open_evaluation_set(dataset_settings(load_config("overfit"), "test")[0])
    run = evaluate.Run(chosen, "joint", ("a",), evaluate.DistInfo(device=torch.device("cpu")))
    store = evaluate.run_set(run, PerfectPredictor(chosen.data))
    found, wanted = store.annotations(), chosen.data
    for position, video in enumerate(wanted.videos):
        ours = {track.id: track.amodal for track in found.load(position).tracks}
        assert ours == {track.id: track.amodal for track in wanted.load(position).tracks}
        assert video == found.videos[position]
