import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import nms, roi_align

from vatrack.model.nms import batched_nms, multiclass_nms
from vatrack.ops.fused import FusedConv, FusedLinear
from vatrack.ops.mosaic import Mosaic
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


@pytest.mark.parametrize(("count", "side"), [(1, 7), (7, 7), (9, 14), (12, 14)])
def test_regions_on_a_mosaic_do_not_see_each_other(count, side):
    torch.manual_seed(0)
    regions = torch.randn(count, side * side, 8)
    mosaic = Mosaic(regions)
    wanted = regions.transpose(1, 2).unflatten(2, (side, side)).double()
    for relu in (True, False):
        weight, bias = torch.randn(8, 8, 3, 3) / 8, torch.randn(8)
        wanted = F.conv2d(wanted, weight.double(), bias.double(), padding=1)
        wanted = wanted.relu() if relu else wanted
        mosaic.convolve(WinogradConv(weight, bias), relu=relu)
    got = mosaic.get().transpose(1, 2).unflatten(2, (side, side))
    assert (got - wanted).abs().max() < 2e-4 * wanted.std()
    mosaic.put(regions)
    assert torch.equal(mosaic.get(), regions)


@pytest.mark.parametrize("can_fuse", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 1, 1), (1, 2, 1), (3, 2, 4)])
def test_fused_convolutions(kernel, stride, groups, can_fuse):
    torch.manual_seed(0)
    weight, bias = torch.randn(12, 8 // groups, kernel, kernel), torch.randn(12)
    conv = FusedConv(weight, bias, stride, groups, num_sizes=1)
    conv.can_fuse = conv.can_fuse and can_fuse
    for size in (9, 5, 9):
        x = torch.randn(2, 8, size, size).contiguous(memory_format=torch.channels_last)
        wanted = F.conv2d(x, weight, bias, stride, kernel // 2, groups=groups)
        add = torch.randn_like(wanted)
        torch.testing.assert_close(conv(x), wanted, atol=1e-4, rtol=1e-4)
        got = conv(x, add=add, relu=True)
        torch.testing.assert_close(got, (wanted + add).relu(), atol=1e-4, rtol=1e-4)


def test_fused_linear_layers():
    torch.manual_seed(0)
    weight, bias = torch.randn(12, 8), torch.randn(12)
    layer = FusedLinear(weight, bias)
    for count in (5, 0, 3):
        x = torch.randn(count, 8)
        wanted = F.linear(x, weight, bias)
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer(x, relu=True), wanted.relu(), atol=1e-5, rtol=1e-5)


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
