import numpy as np
import pytest
import torch
from PIL import Image

from stcn.data.mixture import STATIC_FOLDERS, StageData
from stcn.data.samples import SampleKey
from stcn.data.static_dataset import StaticTrainingSet, list_static_images
from vidseg_common.errors import DatasetError


def write_pair(folder, name, size=(72, 56)):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(len(name)).randint(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(folder / f"{name}.jpg")
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    mask[10:45, 15:60] = 255
    Image.fromarray(mask).save(folder / f"{name}.png")


@pytest.fixture
def dataset(tmp_path):
    write_pair(tmp_path, "one")
    write_pair(tmp_path, "three")
    return StaticTrainingSet(list_static_images(tmp_path, per_class=False), crop_size=48)


def test_form_of_a_sample(dataset):
    sample = dataset[SampleKey(1, 3, 5)]
    assert sample["rgb"].shape == (3, 3, 48, 48) and sample["rgb"].dtype == torch.float32
    assert sample["gt"].shape == sample["sec_gt"].shape == (3, 1, 48, 48)
    assert sample["gt"].min() >= 0 and sample["gt"].max() <= 1
    assert sample["selector"].tolist() == [1, 0]
    assert sample["cls_gt"].dtype == torch.int64
    assert torch.equal(sample["cls_gt"], (sample["gt"][:, 0] > 0.5).long())
    assert sample["info"] == {"name": "three", "frames": ["three.jpg"] * 3}


def test_key_decides_everything(dataset):
    torch.manual_seed(1)
    first = dataset[SampleKey(0, 11, 5)]
    torch.manual_seed(2)
    again = dataset[SampleKey(0, 11, 25)]
    other = dataset[SampleKey(0, 12, 5)]
    assert torch.equal(first["rgb"], again["rgb"])
    assert not torch.equal(first["rgb"], other["rgb"])


def test_copies_of_a_sample_differ(dataset):
    sample = dataset[SampleKey(0, 0, 5)]
    assert not torch.equal(sample["rgb"][0], sample["rgb"][1])
    assert not torch.equal(sample["gt"][0], sample["gt"][1])


def test_masks_are_soft(dataset):
    """The second affine distortion interpolates masks too; that is how the original trained."""
    samples = [dataset[SampleKey(0, seed, 5)]["gt"] for seed in range(5)]
    values = torch.cat([gt.flatten() for gt in samples])
    assert ((values > 0) & (values < 1)).any()


def test_folder_per_class(tmp_path):
    write_pair(tmp_path / "cup", "1")
    write_pair(tmp_path / "ant", "2")
    pairs = list_static_images(tmp_path, per_class=True)
    assert [pair.image.parent.name for pair in pairs] == ["ant", "cup"]
    with pytest.raises(DatasetError, match=r"no \.jpg image"):
        list_static_images(tmp_path, per_class=False)


def test_missing_mask_is_named(tmp_path):
    write_pair(tmp_path, "one")
    (tmp_path / "one.png").unlink()
    with pytest.raises(DatasetError, match=r"one\.jpg: has no mask one\.png"):
        list_static_images(tmp_path, per_class=False)


def test_unreadable_image_is_named(dataset):
    dataset.pairs[0].image.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"one\.jpg"):
        dataset[SampleKey(0, 0, 5)]


def test_mask_of_another_size_is_named(dataset):
    Image.new("L", (10, 10)).save(dataset.pairs[0].mask)
    with pytest.raises(DatasetError, match=r"one\.png"):
        dataset[SampleKey(0, 0, 5)]


def test_stage_zero_repeats_the_small_sets(tmp_path):
    for folder, per_class, _ in STATIC_FOLDERS:
        write_pair(tmp_path / folder / "class" if per_class else tmp_path / folder, "a")
    dataset = StageData(static_root=tmp_path, crop_size=32).dataset(0)
    assert len(dataset) == 4 + 5 + 5
    assert len(dataset.parts) == 6
    assert dataset[SampleKey(13, 0, 5)]["rgb"].shape == (3, 3, 32, 32)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="fss"):
        StageData(static_root=tmp_path).dataset(0)
