"""Probability volumes: stored, spread over all objects, merged."""

import numpy as np
import pytest
import torch

from stcn.commands.ms import MergeJob, VolumeWriter, main_merge, merge_video
from stcn.inference.predictor import Prediction
from stcn.multiscale import merge_volumes, quantise
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import DatasetError, OutputBusyError
from vidseg_common.files import OutputLock
from vidseg_common.masks import read_indices


def test_quantise_takes_the_floor():
    prob = np.array([0, 0.5, 254.9 / 255, 1, np.nextafter(np.float32(1), np.float32(2))])
    assert quantise(prob.astype(np.float32)).tolist() == [0, 127, 254, 255, 255]


def test_merge_by_hand():
    first = np.array([[[[100, 90, 0]], [[80, 90, 255]], [[75, 75, 0]]]], np.uint8)
    second = np.array([[[[100, 90, 200]], [[140, 80, 0]], [[15, 85, 55]]]], np.uint8)
    # Sums: 200 220 90 | 180 170 160 | 200 255 55; a tie goes to the lowest channel.
    assert merge_volumes([first, second], [4, 200]).tolist() == [[[4, 0, 4]]]
    tie = np.full((1, 3, 1, 1), 9, np.uint8)
    assert merge_volumes([tie, tie], [4, 200]).tolist() == [[[0]]]
    assert merge_volumes([first], [4, 200]).dtype == np.uint8


def test_sums_do_not_wrap_around():
    volume = np.full((1, 2, 1, 1), 200, np.uint8)
    volume[:, 1] = 210
    assert merge_volumes([volume] * 50, [1]).tolist() == [[[1]]]


def test_volumes_of_different_shape():
    with pytest.raises(ValueError, match="differ in shape"):
        merge_volumes([np.zeros((1, 2, 3, 3)), np.zeros((1, 2, 3, 4))], [1])


def record(tmp_path, required=None):
    return VideoRecord("v", tuple(tmp_path / f"{t:05d}.jpg" for t in range(4)), {}, required)


def prediction(ids, value):
    prob = torch.full((len(ids) + 1, 2, 3), 0.0)
    prob[-1] = value
    prob[0] = 1 - value
    prob[:, 0, 0] = torch.eye(len(ids) + 1)[0]
    return Prediction(prob, ids, (2, 3))


@pytest.mark.parametrize("flip", [False, True])
def test_writer_stores_wanted_frames_with_all_objects(tmp_path, flip):
    writer = VolumeWriter(tmp_path / "option", flip=flip)
    video = record(tmp_path, frozenset({1, 3}))
    for t, ids in ((1, (5,)), (2, (2, 5)), (3, (2, 5))):
        writer.add(video, t, prediction(ids, 0.75))
    writer.finish(video)
    with np.load(tmp_path / "option" / "v.npz") as stored:
        assert stored["names"].tolist() == ["00001.jpg", "00003.jpg"]
        assert stored["object_ids"].tolist() == [2, 5]
        volume = stored["volume"]
    assert volume.shape == (2, 3, 2, 3)
    assert volume[:, 2, 1, 1].tolist() == [191, 191]
    assert not volume[0, 1].any()
    assert volume[0, :, 0, -1 if flip else 0].tolist() == [255, 0, 0]


def test_writer_starts_afresh_after_each_video(tmp_path):
    writer = VolumeWriter(tmp_path, flip=False)
    writer.add(record(tmp_path), 0, prediction((1,), 0.5))
    writer.finish(record(tmp_path))
    other = VideoRecord("w", (tmp_path / "x.jpg",), {})
    writer.add(other, 0, prediction((9,), 0.5))
    writer.finish(other)
    with np.load(tmp_path / "w.npz") as stored:
        assert stored["object_ids"].tolist() == [9]
        assert stored["names"].tolist() == ["x.jpg"]


def test_writer_of_a_video_without_wanted_frames(tmp_path):
    writer = VolumeWriter(tmp_path / "o", flip=False)
    writer.finish(record(tmp_path))
    assert not (tmp_path / "o").exists()


def store(path, volume, ids=(3,), names=("00000.jpg", "00005.jpg")):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, volume=volume, object_ids=np.array(ids), names=np.array(names))


@pytest.fixture
def options(tmp_path):
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 256, (3, 2, 2, 4, 5), dtype=np.uint8)
    for k, volume in enumerate(volumes):
        store(tmp_path / f"option{k}" / "a.npz", volume)
    store(tmp_path / "option1" / "b.npz", volumes[0], ids=(7,))
    return [tmp_path / f"option{k}" for k in range(3)], volumes


def merge(folders, output, *more):
    return main_merge(["--list", *map(str, folders), "--output", str(output), *more])


@pytest.mark.parametrize("num_proc", ["1", "2"])
def test_merge_tool(options, tmp_path, capsys, num_proc):
    folders, volumes = options
    assert merge(folders, tmp_path / "out", "--num_proc", num_proc, "--yv", "ignored") == 0
    out = capsys.readouterr().out
    assert "1 videos found in 1 of 3 options" in out
    assert "0 videos found in 2 of 3 options" in out
    assert "1 videos found in 3 of 3 options" in out
    total = volumes.astype(int).sum(0)
    for t, stem in enumerate(("00000", "00005")):
        wanted = np.where(total[t, 1] > total[t, 0], 3, 0)
        assert np.array_equal(read_indices(tmp_path / f"out/Annotations/a/{stem}.png"), wanted)
    alone = np.where(volumes[0, 0, 1] > volumes[0, 0, 0], 7, 0)
    assert np.array_equal(read_indices(tmp_path / "out/Annotations/b/00000.png"), alone)
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ("00000.jpg", "00001.jpg")}, "names differ"),
        ({"names": ("00000.jpg",)}, "names differ"),
        ({"ids": (4,)}, "object_ids differ"),
        ({"volume": np.zeros((2, 2, 4, 6), np.uint8)}, "another size"),
    ],
)
def test_options_that_do_not_belong_together(options, tmp_path, change, says):
    folders, volumes = options
    store(folders[2] / "a.npz", **{"volume": volumes[2], **change})
    with pytest.raises(DatasetError, match=rf"option2/a\.npz: its .*{says.split()[-1]}"):
        merge(folders, tmp_path / "out")
    assert not (tmp_path / "out" / "Annotations" / "a").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"text"])
def test_damaged_volume_is_named(options, tmp_path, content):
    folders, _ = options
    path = folders[0] / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"option0/a\.npz: is damaged"):
        merge_video(MergeJob("a", (path,), tmp_path))


def test_truncated_volume_is_named(options, tmp_path):
    path = options[0][0] / "a.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DatasetError, match=r"option0/a\.npz: is damaged"):
        merge_video(MergeJob("a", (path,), tmp_path))


def test_nothing_to_merge(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no VIDEO\.npz in any of(.|\n)*empty"):
        merge([tmp_path / "empty", tmp_path / "gone"], tmp_path / "out")


def test_output_of_another_merge(options, tmp_path):
    with OutputLock(tmp_path / "out"), pytest.raises(OutputBusyError):
        merge(options[0], tmp_path / "out")
