import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import nms, roi_align

from vatrack.model.nms import batched_nms, multiclass_nms
from vatrack.ops.roi_gather import gather_regions
from vatrack.ops.winograd import WinogradConv


@pytest.mark.parametrize("shape", [(1, 16, 13, 9), (5, 8, 14, 14), (2, 8, 1, 3), (1, 4, 130, 70)])
def test_winograd_is_the_convolution(shape):
    torch.manual_seed(0)
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(6, shape[1], 3, 3), torch.randn(6)
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    got = WinogradConv(weight, bias)(x)
    assert (got - wanted).abs().max() < 2e-4 * wanted.std()
    shown = WinogradConv(weight, None)(x, relu=True)
    wanted = F.conv2d(x.double(), weight.double(), padding=1).relu()
    assert (shown - wanted).abs().max() < 2e-4 * wanted.std()


@pytest.mark.parametrize("size", [7, 14])
def test_gathered_regions_are_those_of_torchvision(size):
    torch.manual_seed(0)
    feature = torch.randn(1, 5, 20, 30).contiguous(memory_format=torch.channels_last)
    low = torch.rand(60, 2) * torch.tensor([140.0, 100]) - 20
    boxes = torch.cat([low, low + torch.rand(60, 2).pow(3) * 200], 1)
    boxes[0, 2:] = boxes[0, :2]  # no extent
    boxes[1] = torch.tensor([0.0, 0, 120, 80])
    boxes[2] = torch.tensor([500.0, 500, 520, 530])  # outside
    rois = torch.cat([torch.zeros(60, 1), boxes], 1)
    wanted = roi_align(feature, rois, size, 0.25, 0, aligned=True)
    got = torch.full((60, size * size, 5), 7.0)
    gather_regions(feature[0], boxes, size, 0.25, got)
    got = got.transpose(1, 2).unflatten(2, (size, size))
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)


def test_groups_one_by_one_are_groups_moved_apart():
    torch.manual_seed(0)
    low = torch.rand(300, 2) * 50
    boxes = torch.cat([low, low + torch.rand(300, 2) * 40], 1)
    scores, groups = torch.rand(300).mul(20).round() / 20, torch.randint(0, 6, (300,))
    shifted = boxes + (groups * (boxes.max() + 1))[:, None]
    dets, keep = batched_nms(boxes, scores, groups, 0.5)
    assert torch.equal(keep, nms(shifted, scores, 0.5))
    assert torch.equal(dets, torch.cat([boxes[keep], scores[keep, None]], 1))


def test_nothing_is_suppressed_to_nothing():
    none = torch.zeros(0, 4)
    dets, keep = batched_nms(none, none[:, 0], torch.zeros(0, dtype=torch.long), 0.5)
    assert dets.shape == (0, 5) and keep.shape == (0,)
    dets, labels = multiclass_nms(torch.zeros(0, 12), torch.zeros(0, 4), 0.01, 0.5, 10)
    assert dets.shape == (0, 5) and labels.shape == (0,)
