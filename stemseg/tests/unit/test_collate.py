import torch

from stemseg.data.collate import collate
from stemseg.data.pixels import resize_masks
from stemseg.data.samples import ClipSample


def clip(instances, height, width, name):
    return ClipSample(
        images=torch.rand(2, 3, height, width),
        masks=torch.ones(instances, 2, height, width, dtype=torch.uint8),
        ignore_masks=torch.ones(2, height, width, dtype=torch.uint8),
        category_ids=torch.arange(1, instances + 1),
        name=name,
    )


def test_clips_are_padded_to_the_largest():
    clips = [clip(2, 30, 70, "a"), clip(0, 40, 33, "b")]
    batch = collate(clips)
    assert batch.images.shape == (2, 2, 3, 64, 96)
    assert (batch.sizes, batch.names, len(batch)) == (((30, 70), (40, 33)), ("a", "b"), 2)
    assert torch.equal(batch.images[1, ..., :40, :33], clips[1].images)
    assert batch.images[0, ..., 30:, :].abs().sum() == 0
    first, second = batch.targets
    assert first.masks.shape == (2, 2, 64, 96)
    assert int(first.masks.sum()) == 2 * 2 * 30 * 70
    assert int(second.ignore_masks.sum()) == 2 * 40 * 33
    assert second.masks.shape == (0, 2, 64, 96)


def test_multiples_of_32_are_not_padded():
    assert collate([clip(1, 64, 32, "a")]).images.shape[-2:] == (64, 32)


def test_batches_move_to_a_device():
    batch = collate([clip(1, 32, 32, "a")]).to("meta")
    assert batch.images.device.type == batch.targets[0].masks.device.type == "meta"
    assert batch.names == ("a",)


def test_many_masks_are_resized_alike():
    masks = (torch.rand(130, 9, 11) > 0.5).byte()
    resized = resize_masks(masks, (18, 22))
    assert torch.equal(resized[129], resize_masks(masks[129:], (18, 22))[0])
    assert resize_masks(masks[:0], (4, 5)).shape == (0, 4, 5)
