"""Modules of the network at small sizes: shapes, orders, sizes that do not divide, gradients."""

import pytest
import torch

from stmask.model import boxes as box_math
from stmask.model.head import flatten_anchors, stack_centerness
from stmask.model.masks import assemble, mask_iou
from stmask.model.network import STMask
from stmask.model.priors import prior_boxes
from stmask.model.settings import NetworkSettings
from stmask.model.temporal import roi_features

SMALL = {
    "blocks": (1, 1, 1, 1),
    "stem_width": 4,
    "fpn_channels": 8,
    "embed_dim": 6,
    "num_classes": 5,
    "num_prototypes": 4,
    "temporal_channels": (8, 8, 16),
}
VARIANTS = {
    "fca": {},
    "ali": {"fcb": "ali", "calibrate_class": True},
    "ada, all branches": {
        **{"fcb": "ada", "calibrate_class": True, "calibrate_track": True, "calibrate_mask": True}
    },
    "first revision": {
        **{"scales_per_anchor": 2, "dcn_interval": 3, "direct_calibration": True},
        **{"fcb": "ada", "calibrate_class": True},
        **{f"{name}_depth": 1 for name in ("conf", "bbox", "mask", "track")},
    },
    "own heads, no deformation": {"share_head": False, "dcn_interval": 0},
    "darknet": {"backbone": "darknet53", "blocks": (1, 1, 1, 1, 1), "stem_width": 8},
    "plain pyramid": {"conv_downsample": False, "relu_pred": False},
    "for losses": {"semantic": True, "maskiou_channels": (4, 8)},
    "no fusion": {"temporal_fusion": False},
}


def network(**changes):
    torch.manual_seed(0)
    return STMask(NetworkSettings(**{**SMALL, **changes})).eval()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [(64, 96), (40, 72), (20, 7)])
def test_every_variant_on_every_size(name, size):
    net = network(**VARIANTS[name])
    out = net(torch.randn(2, 3, *size))
    expected = [(-(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    assert out.levels == expected
    num = sum(h * w for h, w in expected) * net.settings.num_anchors
    assert out.loc.shape == (2, num, 4) and out.priors.shape == (num, 4)
    assert out.conf_logits.shape == (2, num, 5) and out.mask_coeff.shape == (2, num, 4)
    assert out.centerness.shape == (2, num) and out.centerness.abs().max() <= 1
    assert torch.allclose(out.track.norm(dim=-1), torch.ones(2, num), atol=1e-5)
    assert out.proto.shape == (2, 2 * expected[0][0], 2 * expected[0][1], 4)
    assert out.fpn_feat.shape == out.t2s_feat.shape == (2, 8, *expected[1])
    if net.settings.temporal_fusion:
        features = net.temporal_features(
            *[x[:1] for x in (out.fpn_feat,) * 2 + (out.t2s_feat,) * 2]
        )
        boxes = torch.tensor([[0.1, 0.1, 0.6, 0.9], [1.2, 0.3, 1.5, 0.6], [0.3, 0.3, 0.3, 0.3]])
        loc, change = net.TemporalNet(roi_features(features, boxes))
        assert loc.shape == (3, 4) and change.shape == (3, 4) and loc.isfinite().all()


def test_features_of_boxes_outside_are_zero_however_far():
    features = torch.rand(1, 3, 8, 8) + 1
    places = [[-1e7, -1e7, -9e6, -9e6], [1.2, 0.3, 1.5, 0.6], [0.1, 9e6, 0.4, 1e7]]
    found = roi_features(features, torch.tensor([*places, [-1e7, 0.2, 1e7, 0.6]]))
    assert (found[:3] == 0).all()
    inside = roi_features(features, torch.tensor([[0.0, 0.2, 1.0, 0.6]]))
    assert torch.equal(found[3:], inside)


def test_every_parameter_gets_a_gradient():
    net = network(semantic=True, fcb="ada", calibrate_class=True).train()
    out = net(torch.randn(2, 3, 64, 96))
    features = net.temporal_features(
        out.fpn_feat[:1], out.fpn_feat[1:], out.t2s_feat[:1], out.t2s_feat[1:]
    )
    shift = net.TemporalNet(roi_features(features, torch.tensor([[0.1, 0.1, 0.6, 0.9]])))
    parts = (out.loc, out.conf_logits, out.mask_coeff, out.track, out.centerness, out.proto)
    sum(x.square().sum() for x in (*parts, out.semantic, *shift)).backward()
    # Squared embeddings of length one do not move; everything else does.
    still = {n for n, p in net.named_parameters() if p.grad is None}
    assert not still


def test_predictions_are_in_the_order_of_priors():
    maps = [
        torch.full((1, 4, 2, 3), float(k)) + torch.arange(6).view(1, 1, 2, 3) * 10 for k in range(3)
    ]
    rows = flatten_anchors(maps, 1)[0, :, 0]
    assert rows[:7].tolist() == [0, 1, 2, 10, 11, 12, 20]


def test_centerness_is_read_in_the_order_of_the_released_models():
    maps = [torch.full((1, 1, 2, 3), k / 10) + torch.arange(6).view(1, 1, 2, 3) for k in range(3)]
    values = stack_centerness(maps)[0].atanh()
    # Prior i reads kernel i // 6 at pixel i % 6, not kernel i % 3 at pixel i // 3.
    assert torch.allclose(values[:3], torch.tensor([0.0, 1.0, 2.0]), atol=1e-3)
    assert values[6] == pytest.approx(0.1, abs=1e-3)


def test_priors_are_windows_of_their_kernels_and_made_once():
    settings = NetworkSettings(scales_per_anchor=2)
    first = prior_boxes([(4, 8)], settings, torch.device("cpu"))
    assert first is prior_boxes([(4, 8)], settings, torch.device("cpu"))
    widths, heights = first[:6, 2] * 8, first[:6, 3] * 4
    root = 2**0.5
    assert torch.allclose(widths, torch.tensor([3, 3 * root, 5, 5 * root, 3, 3 * root]))
    assert torch.allclose(heights, torch.tensor([3, 3 * root, 3, 3 * root, 5, 5 * root]))
    assert first[6, 0] * 8 == 1.5  # the next column


def test_priors_made_in_inference_can_be_trained_with():
    with torch.inference_mode():
        priors = prior_boxes([(3, 11)], NetworkSettings(), torch.device("cpu"))
    loc = torch.zeros(len(priors), 4, requires_grad=True)
    box_math.decode(loc, priors).sum().backward()
    assert loc.grad is not None


def test_boxes_without_area():
    empty = torch.tensor([[0.2, 0.2, 0.2, 0.2]])
    assert box_math.jaccard(empty, empty).isnan().all()
    assert (mask_iou(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2)) == 0).all()


def test_sanitize_orders_and_clamps():
    box = torch.tensor([[1.2, 0.5, -0.1, 0.25]])
    assert box_math.sanitize(box, (20, 40), 1).tolist() == [[0, 4, 40, 11]]


def test_masks_of_nothing():
    masks = assemble(torch.rand(6, 8, 4), torch.zeros(0, 4), torch.zeros(0, 4))
    assert masks.shape == (0, 6, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 10}, "correlation_patch_size"),
        ({"correlation_level": 7}, "correlation_selected_layer"),
        ({"calibrate_mask": True}, "ali or ada"),
    ],
)
def test_settings_that_fit_no_network(changes, message):
    with pytest.raises(ValueError, match=message):
        NetworkSettings(**changes)


def test_images_of_a_wrong_shape():
    with pytest.raises(ValueError, match="images"):
        network()(torch.zeros(1, 1, 32, 32))
