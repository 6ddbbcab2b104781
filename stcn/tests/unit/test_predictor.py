"""The streaming interface: ids, corrections, sizes, precision, skipping, errors."""

import numpy as np
import pytest
import torch

import stcn
from stcn import MemoryPolicy, Predictor
from vidseg_common.errors import MaskError, VideoError


@pytest.fixture
def video(make_video):
    return make_video(9, 37, 53, (3, 200))


def segment(predictor, frames, masks):
    """Results of `step` for every frame."""
    return [predictor.step(frame, masks.get(t)) for t, frame in enumerate(frames)]


def streamed(predictor, frames, masks, **more):
    return dict(predictor.stream(iter(frames), masks, **more))


def assert_equal(got, wanted, atol=1e-5):
    assert got.object_ids == wanted.object_ids
    torch.testing.assert_close(got.prob, wanted.prob, rtol=0, atol=atol)
    assert np.mean(got.mask != wanted.mask) <= 0.002


def test_result_of_a_step(network, video):
    frames, masks = video
    first = Predictor(network).step(frames[0], masks[0])
    assert first.object_ids == (3, 200)
    assert first.prob.shape == (3, 37, 53)
    torch.testing.assert_close(first.prob.sum(0), torch.ones(37, 53))
    assert first.mask.dtype == np.uint8
    assert np.array_equal(first.mask, masks[0])


def test_segmentation_follows_something(network, video):
    """The random network must give masks that are neither empty nor full, or tests prove little."""
    frames, masks = video
    result = segment(Predictor(network), frames, {0: masks[0]})[-1]
    for object_id in (3, 200):
        assert 0.01 < np.mean(result.mask == object_id) < 0.9


def test_before_the_first_object_all_is_background(network, video):
    frames, masks = video
    predictor = Predictor(network)
    result = predictor.step(frames[0])
    assert result.object_ids == ()
    assert result.mask.shape == (37, 53)
    assert not result.mask.any()
    assert predictor.step(frames[1], masks[1]).object_ids == (3, 200)


def test_objects_come_and_go_with_any_ids(network, video):
    frames, masks = video
    predictor = Predictor(network, policy=MemoryPolicy(mem_every=2))
    wide = np.where(masks[2] == 3, 70_000, 0).astype(np.int64)
    assert predictor.step(frames[0], np.where(masks[0] == 200, 200, 0)).object_ids == (200,)
    assert predictor.step(frames[1]).mask.dtype == np.uint8
    both = predictor.step(frames[2], wide)
    assert both.object_ids == predictor.object_ids == (200, 70_000)
    assert both.mask.dtype == np.int32
    assert np.array_equal(both.mask == 70_000, wide == 70_000)
    assert predictor.step(frames[3]).prob.shape[0] == 3
    predictor.remove(200)
    result = predictor.step(frames[4])
    assert result.object_ids == (70_000,)
    assert set(np.unique(result.mask)) <= {0, 70_000}
    predictor.remove(70_000)
    assert not predictor.step(frames[5]).mask.any()
    again = predictor.step(frames[6], np.where(masks[6] == 200, 200, 0))
    assert again.object_ids == (200,)
    assert predictor.step(frames[7]).object_ids == (200,)


def test_channels_are_in_ascending_order_of_ids(network, video):
    frames, masks = video
    late = Predictor(network)
    late.step(frames[0], np.where(masks[0] == 200, 200, 0))
    result = late.step(frames[1], np.where(masks[1] == 3, 3, 0))
    assert result.object_ids == (3, 200)
    assert np.all(result.prob[1].numpy()[masks[1] == 3] > 0.9)
    # Also where the new object painted over the old one, as spec 4.5 says.
    assert np.array_equal(result.mask == 3, masks[1] == 3)


def test_correction_of_a_known_object(network, video):
    frames, masks = video
    predictor = Predictor(network)
    segment(predictor, frames[:3], {0: masks[0]})
    fixed = np.zeros_like(masks[3])
    fixed[20:30, 5:15] = 3
    result = predictor.step(frames[3], fixed)
    assert result.object_ids == (3, 200)
    assert np.array_equal(result.mask == 3, fixed == 3)
    # One more permanent frame, and still one entry for the object.
    assert predictor.engine.memory.num_frames == 2
    assert predictor.step(frames[4]).prob.shape[0] == 3


def test_object_said_to_be_gone_from_a_frame(network, video):
    frames, masks = video
    predictor = Predictor(network)
    segment(predictor, frames[:2], {0: masks[0]})
    result = predictor.step(frames[2], np.zeros((37, 53), np.uint8), object_ids=[3])
    assert result.object_ids == (3, 200)
    assert 3 not in result.mask


def test_only_listed_ids_of_a_mask_are_used(network, video):
    frames, masks = video
    assert Predictor(network).step(frames[0], masks[0], object_ids=[200]).object_ids == (200,)


def test_empty_annotation_says_nothing(network, video):
    frames, masks = video
    empty = np.zeros_like(masks[0])
    with_it = segment(Predictor(network), frames, {0: masks[0], 4: empty, 7: empty})
    without = segment(Predictor(network), frames, {0: masks[0]})
    for got, wanted in zip(with_it, without, strict=True):
        assert_equal(got, wanted, atol=0)
    late = segment(Predictor(network), frames[:3], {0: empty, 1: masks[1]})
    assert [r.object_ids for r in late] == [(), (3, 200), (3, 200)]


def test_reset_starts_a_new_video_of_any_size(network, video, make_video):
    frames, masks = video
    predictor = Predictor(network)
    first = segment(predictor, frames, {0: masks[0]})
    predictor.reset()
    assert predictor.object_ids == ()
    other, other_masks = make_video(3, 20, 70, (9,))
    assert segment(predictor, other, {0: other_masks[0]})[-1].mask.shape == (20, 70)
    predictor.reset()
    for got, wanted in zip(segment(predictor, frames, {0: masks[0]}), first, strict=True):
        assert_equal(got, wanted)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (1, 40), (40, 5), (33, 64)])
def test_odd_sizes(network, size):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2 + 1] = 4
    for result in segment(Predictor(network), frames, {0: mask}):
        assert result.mask.shape == size
        assert torch.isfinite(result.prob).all()


@pytest.mark.parametrize(("side", "inner"), [(24, (24, 34)), (64, (64, 91)), (37, (37, 53))])
def test_inner_size(network, video, side, inner):
    frames, masks = video
    results = segment(Predictor(network, size=side), frames[:3], {0: masks[0]})
    assert results[-1].inner_prob.shape[1:] == inner
    assert results[-1].mask.shape == (37, 53)
    overlap = np.mean((results[0].mask > 0) == (masks[0] > 0))
    assert overlap > 0.95


def test_bfloat16_on_a_cpu_agrees(network, video):
    frames, masks = video
    half = segment(Predictor(network, amp="bf16"), frames, {0: masks[0]})
    full = segment(Predictor(network), frames, {0: masks[0]})
    for got, wanted in zip(half, full, strict=True):
        assert got.prob.dtype == torch.float32
        assert np.mean(got.mask != wanted.mask) < 0.1
    assert (half[1].prob - full[1].prob).abs().mean() < 0.03


def test_last_frame_in_memory_changes_results(network, video):
    frames, masks = video
    with_last = segment(
        Predictor(network, policy=MemoryPolicy(include_last=True)), frames, {0: masks[0]}
    )
    plain = segment(Predictor(network), frames, {0: masks[0]})
    assert_equal(with_last[1], plain[1])
    assert (with_last[4].prob - plain[4].prob).abs().max() > 1e-3


MASKS = {"first": [0], "late": [0, 4], "starts late": [2, 3]}


@pytest.mark.parametrize("annotated", MASKS.values(), ids=list(MASKS))
@pytest.mark.parametrize("encode_batch", [1, 3, 20])
@pytest.mark.parametrize("include_last", [False, True])
def test_stream_equals_steps(network, video, annotated, encode_batch, include_last):
    frames, masks = video
    policy = MemoryPolicy(mem_every=2, include_last=include_last)
    given = {t: np.where(masks[t] == i, i, 0) for t, i in zip(annotated, (200, 3), strict=False)}
    wanted = segment(Predictor(network, policy=policy), frames, given)
    got = streamed(Predictor(network, policy=policy), frames, given, encode_batch=encode_batch)
    assert list(got) == list(range(9))
    for t, result in got.items():
        if t < annotated[0]:
            assert result is None
        else:
            assert_equal(result, wanted[t], atol=1e-4)


@pytest.mark.parametrize("encode_batch", [1, 3])
def test_skipped_frames_do_not_change_the_others(network, video, encode_batch):
    frames, masks = video
    policy = MemoryPolicy(mem_every=4)
    given = {0: np.where(masks[0] == 3, 3, 0), 6: np.where(masks[6] == 200, 200, 0)}
    needed = frozenset({5, 8})
    full = streamed(Predictor(network, policy=policy), frames, given)
    got = streamed(
        Predictor(network, policy=policy), frames, given, needed=needed, encode_batch=encode_batch
    )
    assert list(got) == list(range(9))
    for t in (0, 4, 5, 6, 8):
        assert_equal(got[t], full[t], atol=1e-4)
    if encode_batch == 1:
        assert [t for t, result in got.items() if result is None] == [1, 2, 3, 7]


def test_stream_of_nothing(network):
    assert streamed(Predictor(network), [], {}) == {}


def test_network_is_not_changed(make_network, tiny_config, video):
    frames, masks = video
    network = make_network(tiny_config).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    segment(Predictor(network), frames[:2], {0: masks[0]})
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_cap_on_memory_frames(network, video):
    frames, masks = video
    predictor = Predictor(network, policy=MemoryPolicy(mem_every=1, max_frames=3))
    segment(predictor, frames, {0: masks[0]})
    assert predictor.engine.memory.num_frames == 3


def test_loading_by_name(weights, video):
    frames, masks = video
    network = stcn.load(weights)
    assert Predictor(network).step(frames[0], masks[0]).object_ids == (3, 200)


class TestErrors:
    def test_mask_of_another_size(self, network, video):
        predictor = Predictor(network)
        with pytest.raises(MaskError, match="mask is 10x20 but its frame is 53x37"):
            predictor.step(video[0][0], np.ones((20, 10), np.uint8))
        assert predictor.engine.frame_idx == -1

    def test_colour_mask(self, network, video):
        with pytest.raises(MaskError, match="mask is 53x37x3"):
            Predictor(network).step(video[0][0], video[0][0])

    @pytest.mark.parametrize("mask", [np.full((37, 53), 0.4), np.full((37, 53), -1)])
    def test_values_that_are_no_ids(self, network, video, mask):
        with pytest.raises(MaskError, match="ids from 0 on"):
            Predictor(network).step(video[0][0], mask)

    def test_ids_that_never_appear(self, network, video):
        frames, masks = video
        with pytest.raises(MaskError, match=r"objects \[9\] are not in the mask.*\[3, 200\]"):
            Predictor(network).step(frames[0], masks[0], object_ids=[3, 9])

    def test_removal_of_an_unknown_object(self, network, video):
        predictor = Predictor(network)
        predictor.step(video[0][0], video[1][0])
        with pytest.raises(MaskError, match=r"object 8 is not followed.*3, 200"):
            predictor.remove(8)

    def test_frames_of_unequal_size(self, network, video):
        frames, masks = video
        predictor = Predictor(network)
        predictor.step(frames[0], masks[0])
        with pytest.raises(VideoError, match="frame 1 is 50x37, the frames before are 53x37"):
            predictor.step(frames[1][:, :50])
        assert predictor.step(frames[1]).object_ids == (3, 200)

    def test_frame_of_unequal_size_in_a_batch_is_named(self, network, video):
        frames, masks = video
        cut = [*frames[:4], frames[4][:30], frames[5]]
        with pytest.raises(VideoError, match="frame 4 is 53x30"):
            streamed(Predictor(network), cut, {0: masks[0]}, encode_batch=3)

    @pytest.mark.parametrize("frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3))])
    def test_frames_that_are_no_images(self, network, frame):
        with pytest.raises(VideoError, match="RGB uint8"):
            Predictor(network).step(frame)

    @pytest.mark.parametrize("wrong", [{"amp": "half"}, {"amp": "fp16"}, {"size": 8}])
    def test_impossible_settings(self, network, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Predictor(network, **wrong)
