import numpy as np
import pytest
import torch
from PIL import Image

from stcn.data.mixture import DAVIS_SUBSET, Mixture, StageData
from stcn.data.samples import SampleKey
from stcn.data.synthetic_dataset import SyntheticOptions, SyntheticTrainingSet
from stcn.data.video_dataset import ObjectFilter, VideoSetOptions, VideoTrainingSet
from vidseg_common.datasets.records import VideoRecord, read_name_list
from vidseg_common.errors import ConfigError, DatasetError
from vidseg_common.synthetic import generate_video
from vidseg_common.synthetic_writers import write_davis

SIZE = (64, 48)


def write_video(folder, labels, num_frames=6):
    """A video whose every frame has the given labels as vertical stripes."""
    folder.mkdir(parents=True, exist_ok=True)
    stripes = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    width = SIZE[0] // max(len(labels), 1)
    for place, label in enumerate(labels):
        stripes[:, place * width : (place + 1) * width] = label
    frames, masks = [], {}
    for i in range(num_frames):
        frames.append(folder / f"{i:05d}.jpg")
        Image.new("RGB", SIZE, (40 * i, 90, 120)).save(frames[-1])
        masks[i] = folder / f"{i:05d}.png"
        mask = Image.fromarray(stripes)
        mask.putpalette(list(range(256)) * 3)
        mask.save(masks[i])
    return VideoRecord(folder.name, tuple(frames), masks)


def small_set(*records, **options):
    return VideoTrainingSet(records, VideoSetOptions(crop_size=32, **options))


def test_form_of_a_sample(tmp_path):
    sample = small_set(write_video(tmp_path / "clip", [5, 9]))[SampleKey(0, 1, 5)]
    assert sample["rgb"].shape == (3, 3, 32, 32) and sample["rgb"].dtype == torch.float32
    assert sample["gt"].shape == sample["sec_gt"].shape == (3, 1, 32, 32)
    assert sample["selector"].dtype == torch.float32
    assert sample["cls_gt"].shape == (3, 32, 32) and sample["cls_gt"].dtype == torch.int64
    assert torch.equal(sample["gt"][:, 0] > 0.5, sample["cls_gt"] == 1)
    assert torch.equal(sample["sec_gt"][:, 0] > 0.5, sample["cls_gt"] == 2)
    assert sample["info"]["name"] == "clip" and len(sample["info"]["frames"]) == 3


def test_one_object_has_no_second(tmp_path):
    sample = small_set(write_video(tmp_path / "clip", [7]))[SampleKey(0, 1, 5)]
    assert sample["selector"].tolist() == [1, 0]
    assert sample["sec_gt"].sum() == 0 and sample["gt"].sum() > 0
    assert set(sample["cls_gt"].unique().tolist()) <= {0, 1}


def test_each_object_becomes_the_target(tmp_path):
    dataset = small_set(write_video(tmp_path / "clip", [5, 9]))
    centres = set()
    for seed in range(20):
        sample = dataset[SampleKey(0, seed, 5)]
        if sample["selector"][1]:
            columns = torch.nonzero(sample["gt"][0, 0])[:, 1].float().mean()
            others = torch.nonzero(sample["sec_gt"][0, 0])[:, 1].float().mean()
            centres.add(bool(columns < others))
    assert centres == {True, False}


def test_nothing_to_see_gives_background(tmp_path):
    sample = small_set(write_video(tmp_path / "clip", []))[SampleKey(0, 1, 5)]
    assert sample["gt"].sum() == sample["sec_gt"].sum() == sample["cls_gt"].sum() == 0
    assert sample["selector"].tolist() == [1, 0]


def test_key_decides_everything(tmp_path):
    dataset = small_set(write_video(tmp_path / "clip", [5, 9], num_frames=20))
    first, again = (dataset[SampleKey(0, 4, 5)] for _ in range(2))
    assert torch.equal(first["rgb"], again["rgb"])
    assert first["info"] == again["info"]
    assert not torch.equal(first["rgb"], dataset[SampleKey(0, 5, 5)]["rgb"])


def test_sparse_annotation_divides_the_jump(tmp_path):
    record = write_video(tmp_path / "clip", [5], num_frames=40)
    dense, sparse = small_set(record), small_set(record, frame_step=5)

    def widest(dataset):
        samples = (dataset[SampleKey(0, seed, 25)] for seed in range(20))
        frames = [[int(name) for name in sample["info"]["frames"]] for sample in samples]
        return max(max(abs(a - b), abs(b - c)) for a, b, c in frames)

    assert widest(sparse) <= 6 < widest(dense)


def test_short_videos_are_left_out(tmp_path):
    long, short = write_video(tmp_path / "a", [1]), write_video(tmp_path / "b", [1], num_frames=2)
    assert len(small_set(short, long)) == 1
    with pytest.raises(DatasetError, match="none of the 1 videos"):
        small_set(short)


def test_unusable_files_are_named(tmp_path):
    record = write_video(tmp_path / "clip", [1], num_frames=3)
    for mask in record.mask_paths.values():
        Image.new("P", (8, 8), 1).save(mask)
    with pytest.raises(DatasetError, match=r"\.png: the mask is 8 x 8"):
        small_set(record)[SampleKey(0, 0, 5)]
    for frame in record.frame_paths:
        frame.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"\.jpg: cannot be read"):
        small_set(record)[SampleKey(0, 0, 5)]
    for mask in record.mask_paths.values():
        Image.new("RGB", SIZE).save(mask)
    with pytest.raises(DatasetError, match="palette"):
        small_set(record)[SampleKey(0, 0, 5)]


@pytest.mark.parametrize(
    ("areas", "kept"),
    [((901, 0, 0), True), ((900, 500, 0), False), ((101, 399, 100), True), ((100, 50, 50), False)],
)
def test_object_filter_of_rendered_videos(areas, kept):
    masks = np.zeros((3, 384, 384), dtype=np.uint8)
    for mask, area in zip(masks, areas, strict=True):
        mask.reshape(-1)[:area] = 4
    got = ObjectFilter().keep(np.asarray([4], dtype=np.uint8), masks)
    assert got.tolist() == ([4] if kept else [])


def test_two_synthetic_clips_in_davis_layout(tmp_path):
    videos = [generate_video(seed, 6, 64, 96, 2) for seed in (1, 2)]
    names = write_davis(videos, tmp_path / "2017" / "trainval", split="train")
    subset = tmp_path / "subset.txt"
    subset.write_text("\n".join([*names, "not-there"]))
    data = StageData(davis_root=tmp_path, yv_root=None, davis_subset=subset, crop_size=48)
    with pytest.warns(UserWarning, match="1 of the 3"):
        dataset = data.dataset(3)
    assert len(dataset) == 2 * 5
    drawn = {dataset[SampleKey(item, item, 5)]["info"]["name"] for item in range(10)}
    assert drawn == set(names)
    sample = dataset[SampleKey(9, 1, 5)]
    assert sample["rgb"].shape == (3, 3, 48, 48)
    assert torch.isfinite(sample["rgb"]).all()


def test_official_list_matches_nothing_here(tmp_path):
    write_davis([generate_video(1, 3, 48, 64, 1)], tmp_path / "2017" / "trainval")
    with pytest.raises(DatasetError, match="none of the 60 videos"):
        StageData(davis_root=tmp_path, yv_root=None).dataset(2)


def test_official_training_list():
    names = read_name_list(DAVIS_SUBSET)
    assert len(names) == len(set(names)) == 60
    assert names == sorted(names) and "bear" in names and "blackswan" not in names


def test_unknown_stage_and_empty_mixture():
    with pytest.raises(ConfigError, match="no stage 4"):
        StageData().dataset(4)
    with pytest.raises(ConfigError, match="needs data sets"):
        Mixture([])


def test_synthetic_samples_have_the_same_form():
    dataset = SyntheticTrainingSet(7, SyntheticOptions(crop_size=64, num_frames=12))
    assert len(dataset) == 7
    first, again = (dataset[SampleKey(0, 3, 5)] for _ in range(2))
    assert first["rgb"].shape == (3, 3, 64, 64) and first["cls_gt"].shape == (3, 64, 64)
    assert torch.equal(first["rgb"], again["rgb"])
    assert first["gt"][0].sum() > 0
    assert not torch.equal(first["rgb"], dataset[SampleKey(0, 4, 5)]["rgb"])
