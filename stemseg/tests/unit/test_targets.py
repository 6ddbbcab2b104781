import torch

from stemseg.targets import class_map, make_targets, rescale_masks


def test_small_pixel_needs_all_four_contributors():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., 1:3, 1:3] = 1
    mask[..., 4:7, 4:6] = 1  # lacks column 6
    small = rescale_masks(mask)
    assert small.dtype == torch.uint8
    assert small[0, 0].tolist() == [[1, 0], [0, 0]]


def test_no_instances_keep_their_shape():
    assert rescale_masks(torch.zeros(0, 3, 8, 16, dtype=torch.uint8)).shape == (0, 3, 2, 4)
    assert class_map(torch.zeros(0, 3, 2, 4), torch.zeros(0)).shape == (3, 2, 4)


def test_higher_class_wins_where_instances_overlap():
    masks = torch.tensor([[[[1, 1, 0]]], [[[0, 1, 0]]]], dtype=torch.uint8)
    for ids in ([5, 2], [2, 5]):
        got = class_map(masks, torch.tensor(ids))
        assert got.tolist() == [[[ids[0], 5, 0]]]


def test_targets_of_a_batch():
    masks = [torch.ones(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, 1, 8, 8, dtype=torch.uint8)]
    ignore = [torch.ones(1, 8, 8, dtype=torch.uint8)] * 2
    ids = [torch.tensor([1, 40]), torch.tensor([], dtype=torch.int64)]
    small = make_targets(masks, ignore, ids)
    assert [tuple(t.masks.shape) for t in small] == [(2, 1, 2, 2), (0, 1, 2, 2)]
    assert small[0].classes.unique().tolist() == [40]
    assert small[0].ignore.all()
    full = make_targets(masks, ignore, ids, full_resolution=True)
    assert full[0].classes.shape == (1, 8, 8)
