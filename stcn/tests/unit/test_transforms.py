"""What every augmentation must keep, whatever is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as reference

from stcn.data import transforms as T

SEEDS = st.integers(0, 2**31 - 1)


def photo(width=60, height=44, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def label_map(width=60, height=44):
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[8:30, 10:40], labels[20:40, 30:55] = 3, 7
    mask = Image.fromarray(labels)
    mask.putpalette(list(range(256)) * 3)
    return mask


@settings(max_examples=30)
@given(SEEDS)
def test_labels_are_never_mixed(seed):
    gen = T.generator(seed)
    mask = label_map()
    box = T.draw_resized_crop(mask.size, (0.36, 1.0), (0.75, 4 / 3), gen)
    mask = box.resized(mask, 48, T.NEAREST)
    mask = T.RandomAffine(degrees=15.0, shear=10.0).draw(gen).apply(mask, T.NEAREST, 0)
    assert mask.size == (48, 48)
    assert set(np.unique(np.asarray(mask))) <= {0, 3, 7}


@given(st.integers(1, 300), st.integers(1, 300), SEEDS)
def test_crops_lie_inside_the_image(width, height, seed):
    box = T.draw_resized_crop((width, height), (0.25, 1.0), (0.75, 4 / 3), T.generator(seed))
    assert box.height >= 1 and box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


@given(st.integers(16, 80), st.integers(16, 80), SEEDS)
def test_fixed_crops_lie_inside_the_padded_image(width, height, seed):
    image = T.pad_to_at_least(photo(width, height), 32, T.IMAGE_FILL)
    box = T.draw_crop(image.size, 32, T.generator(seed))
    assert T.crop(image, box).size == (32, 32)
    assert box.top + 32 <= image.size[1] and box.left + 32 <= image.size[0]


@settings(max_examples=30)
@given(SEEDS)
def test_image_and_mask_share_a_distortion(seed):
    labels = (np.asarray(label_map()) > 0).astype(np.uint8) * 255
    image = Image.fromarray(np.repeat(labels[..., None], 3, axis=2))
    params = T.RandomAffine(degrees=20.0, scale=(0.9, 1.1), shear=10.0).draw(T.generator(seed))
    turned = np.asarray(params.apply(image, T.NEAREST, (0, 0, 0)))[..., 0]
    mask = np.asarray(params.apply(Image.fromarray(labels), T.NEAREST, 0))
    np.testing.assert_array_equal(turned, mask)


@settings(max_examples=20)
@given(SEEDS)
def test_draws_are_torchvisions(seed):
    """Same seed, same image as the library's own transforms, which draw from the global state."""
    image = photo()
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    want = reference.RandomAffine(
        20, scale=(0.9, 1.1), shear=10, interpolation=T.BICUBIC, fill=T.IMAGE_FILL
    )(image)
    want = reference.ColorJitter(0.1, 0.05, 0.05, 0.05)(want)
    want = reference.RandomResizedCrop(32, scale=(0.36, 1.0), interpolation=T.BICUBIC)(want)
    torch.set_rng_state(state)

    gen = T.generator(seed)
    affine = T.RandomAffine(degrees=20.0, scale=(0.9, 1.1), shear=10.0).draw(gen)
    got = affine.apply(image, T.BICUBIC, T.IMAGE_FILL)
    got = T.ColorJitter(0.1, 0.05, 0.05, 0.05).draw(gen).apply(got)
    got = T.draw_resized_crop(got.size, (0.36, 1.0), (0.75, 4 / 3), gen).resized(got, 32, T.BICUBIC)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


def test_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    gen = T.generator(5)
    T.RandomAffine(degrees=5.0).draw(gen)
    T.ColorJitter(0.1, 0.1, 0.1, 0.1).draw(gen)
    T.draw_chance(0.5, gen)
    assert torch.equal(state, torch.get_rng_state())


def test_no_change_at_the_centre_of_the_ranges():
    image = photo()
    assert T.AffineParams(0.0, 1.0, 0.0).apply(image, T.NEAREST, 0).tobytes() == image.tobytes()
    params = T.ColorJitter(0.0, 0.0, 0.0, 0.0).draw(T.generator(0))
    assert params.apply(image).tobytes() == image.tobytes()


def test_grey_keeps_three_equal_channels():
    pixels = np.asarray(T.to_grey(photo()))
    assert pixels.shape == (44, 60, 3)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_normalisation(level):
    tensor = T.to_normalized_tensor(Image.new("RGB", (3, 2), (level,) * 3))
    want = (level / 255 - torch.tensor(T.IMAGE_MEAN)) / torch.tensor(T.IMAGE_STD)
    torch.testing.assert_close(tensor, want[:, None, None].expand(3, 2, 3))
