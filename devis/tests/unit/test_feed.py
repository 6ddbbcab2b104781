import pytest
import torch

from devis.data.clip_target import ClipTarget
from devis.data.items import ClipItem, ImageItem, ImageTarget
from devis.feed import Shares, collate, epoch_length
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import KeySampler


def keys(shares, start, stop, num_items=11):
    length = epoch_length(num_items, shares) * shares.batch_size
    sampler = KeySampler(num_items, shares, 0, start, stop, length)
    return [key for part in sampler for key in part]


def image(number, height, width, count):
    masks = torch.ones(count, height, width, dtype=torch.bool)
    boxes, labels = torch.rand(count, 4), torch.arange(count)
    target = ImageTarget(boxes, labels, masks, (height, width))
    return ImageItem(torch.ones(3, height, width), target, number, (height, width))


def test_images_are_padded_to_the_largest():
    batch = collate([image(7, 4, 6, 2), image(9, 5, 3, 0)])
    assert batch.images.shape == (2, 3, 5, 6)
    assert batch.padding is not None
    assert (~batch.padding).sum((1, 2)).tolist() == [24, 15]
    assert batch.names == ("image 7", "image 9")
    assert batch.num_entries == 2
    moved = batch.to("meta")
    assert moved.targets[0].masks.device.type == "meta" and moved.targets[0].valid is None


def test_a_clip_is_a_batch():
    entries = {name: torch.zeros(4) for name in ("area", "centroids")}
    target = ClipTarget(
        masks=torch.zeros(4, 5, 6, dtype=torch.bool),
        boxes=torch.rand(4, 4),
        labels=torch.zeros(4, dtype=torch.long),
        valid=torch.tensor([1, 0, 1, 1]),
        size=(5, 6),
        **entries,
    )
    batch = collate([ClipItem(torch.ones(2, 3, 5, 6), target, 3, 8)])
    assert batch.images.shape == (2, 3, 5, 6) and batch.padding is None
    assert batch.targets[0].is_valid().tolist() == [True, False, True, True]
    assert batch.names == ("video 3, 8",)


def test_processes_and_passes_share_the_samples_of_a_step():
    alone = keys(Shares(1, interval=4), 0, 2)
    parts = [keys(Shares(1, 2, rank, 2), 0, 2) for rank in (0, 1)]
    assert [key for pair in zip(*parts, strict=True) for key in pair] == alone
    assert len({key.item for key in alone}) == 8


def test_rest_of_an_epoch_is_left_out():
    assert epoch_length(11, Shares(2, 1, 0, 2)) == 2
    with pytest.raises(ConfigError, match="a step takes 12 samples"):
        epoch_length(11, Shares(2, 3, 0, 2))
