"""Textures, outlines and sprites of the synthetic videos."""

from __future__ import annotations

import numpy as np
import pytest

from vidseg_common.errors import DatasetError
from vidseg_common.synthetic_bodies import CLASS_NAMES, sample_body
from vidseg_common.synthetic_colors import UNCHANGED, Recolor, color_matrix, palette_table
from vidseg_common.synthetic_cutouts import CUTOUT_NAMES, make_cutout
from vidseg_common.synthetic_effects import (
    add_grain,
    apply_light,
    cast_shadow,
    compress,
    light_field,
    streak_kernel,
)
from vidseg_common.synthetic_motion import Signal
from vidseg_common.synthetic_photos import (
    NUM_NOISES,
    PHOTO_WEIGHTS,
    horse_outline,
    load_photo,
    noise_bank,
    read_photo_file,
)
from vidseg_common.synthetic_shapes import Body, Part, cover_outlines, ellipse, limb
from vidseg_common.synthetic_sprites import composite, premultiply
from vidseg_common.synthetic_textures import TextureSpec, make_texture, sample_texture


@pytest.mark.parametrize("name", sorted(PHOTO_WEIGHTS))
def test_every_photograph_is_in_the_installed_package(name: str) -> None:
    photo = load_photo(name)
    assert photo.levels[0].ndim == 3
    assert min(photo.levels[0].shape[:2]) >= 100
    assert photo.is_grey == (name in {
        "brick.png", "camera.png", "cell.png", "clock_motion.png", "coins.png", "grass.png",
        "gravel.png", "moon.png", "page.png", "text.png",
    })  # fmt: skip


def test_a_missing_photograph_is_named() -> None:
    with pytest.raises(DatasetError, match=r"nothing\.png"):
        read_photo_file("nothing.png")


def test_noise_has_a_flat_histogram_and_no_seam() -> None:
    bank = noise_bank()
    assert len(bank) == NUM_NOISES
    for field in bank:
        counts = np.bincount(field.ravel(), minlength=256)
        assert counts.min() == counts.max() == field.size // 256
    smooth = bank[0].astype(int)
    assert np.abs(smooth[0] - smooth[-1]).max() < 16
    assert np.abs(smooth[:, 0] - smooth[:, -1]).max() < 16


@pytest.mark.parametrize("seed", range(30))
def test_textures_are_painted_again_the_same(seed: int) -> None:
    spec = sample_texture(
        np.random.default_rng(seed), photo=0.5, plain=0.2, extents=(0.1, 1.2), blend=0.5
    )
    image = make_texture(spec, 40, 57)
    assert image.shape == (40, 57, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, make_texture(spec, 40, 57))


def test_an_unchanged_crop_of_a_photograph_is_the_photograph() -> None:
    source = load_photo("coffee.png").levels[0]
    spec = TextureSpec("photo", photo="coffee.png", center=(0.5, 0.5), extent=1.0)
    image = make_texture(spec, 400, 400)
    difference = np.abs(image.astype(int) - source[:, 100:500].astype(int))
    assert difference.mean() < 6.0


def test_colour_matrix() -> None:
    assert np.allclose(color_matrix(UNCHANGED), np.eye(3, 4), atol=1e-5)
    grey = color_matrix(Recolor(saturation=0.0))
    assert np.allclose(grey[0], grey[1], atol=1e-5)
    turned = color_matrix(Recolor(hue=2 * np.pi / 3))
    assert np.allclose(turned[:, :3] @ (255, 0, 0), (0, 255, 0), atol=1e-2)


def test_palette_table() -> None:
    smooth = palette_table(((0, 0, 0), (1, 1, 1)), steps=False)
    assert smooth.shape == (256, 1, 3)
    assert np.array_equal(smooth[:, 0, 0], np.arange(256))
    assert len(np.unique(palette_table(((0, 0, 0), (1, 1, 1), (0.5, 0, 0)), steps=True))) == 3


@pytest.mark.parametrize("seed", range(60))
def test_bodies_are_well_formed(seed: int) -> None:
    body = sample_body(np.random.default_rng(seed), articulated=0.8)
    assert body.kind in CLASS_NAMES
    for index, part in enumerate(body.parts):
        assert part.outline.ndim == 2
        assert part.outline.shape[1] == 2
        assert len(part.outline) >= 3
        assert np.isfinite(part.outline).all()
        assert -1 <= part.parent < index
        assert part.swing.at(0.0) == pytest.approx(0.0)
    left, top, right, bottom = body.bounds()
    assert 0.2 < max(right - left, bottom - top) < 5.0
    assert 0 < body.area() <= 1.1 * (right - left) * (bottom - top)


@pytest.mark.parametrize("seed", range(20))
def test_poses_stay_within_reach_at_rest_they_move_nothing(seed: int) -> None:
    body = sample_body(np.random.default_rng(seed), articulated=1.0)
    assert all(move is None for move in body.pose(0.0))
    low, high = body.reach()
    left, top, right, bottom = body.bounds()
    assert (low <= (left, top)).all()
    assert (high >= (right, bottom)).all()


def test_a_child_follows_its_parent() -> None:
    turn = Signal(0.0, np.pi / 2)
    arm = Part(limb((0.0, 0.0), (1.0, 0.0), (0.1, 0.1)), pivot=(0.0, 0.0), swing=turn)
    hand = Part(ellipse((1.0, 0.0), (0.2, 0.2)), parent=0, pivot=(1.0, 0.0), swing=turn)
    own, following = Body("cluster", (arm, hand)).pose(1.0)
    assert own is not None
    assert following is not None
    assert np.allclose(own @ (1.0, 0.0, 1.0), (0.0, 1.0))
    assert np.allclose(following @ (1.0, 0.0, 1.0), (0.0, 1.0))
    assert np.allclose(following @ (1.2, 0.0, 1.0), (-0.2, 1.0))


def test_area_of_a_disc_and_of_a_ring() -> None:
    disc = Body("blob", (Part(ellipse((0.3, -0.2), (1.0, 1.0), num=64)),))
    assert disc.area() == pytest.approx(np.pi, rel=0.04)
    hole = ellipse((0.0, 0.0), (0.5, 0.5), num=64)
    ring = Body("blob", (Part(ellipse((0.0, 0.0), (1.0, 1.0), num=64), holes=(hole,)),))
    assert ring.area() == pytest.approx(0.75 * np.pi, rel=0.06)


def test_coverage_of_border_pixels() -> None:
    part = Part(np.array([[2.5, 2.0], [6.0, 2.0], [6.0, 6.0], [2.5, 6.0]], np.float32))
    cover = cover_outlines((8, 8), part, 1.0, (0.0, 0.0))
    assert cover[4, 3:6].tolist() == [255, 255, 255]
    assert 0.4 < cover[4, 2] / 255 < 0.8
    assert cover[4, :2].max() == cover[4, 7] == 0
    fine = cover_outlines((80, 80), part, 10.0, (0.0, 0.0))
    assert fine.sum() / 255 == pytest.approx(1400, rel=0.02)


def test_a_limb_reaches_both_joints() -> None:
    outline = limb((0.0, 0.0), (1.0, 0.0), (0.2, 0.1))
    assert outline[:, 0].min() == pytest.approx(-0.2, abs=1e-6)
    assert outline[:, 0].max() == pytest.approx(1.1, abs=1e-6)


def test_horse_outline_is_centred() -> None:
    outer = horse_outline()[0]
    assert np.ptp(outer, axis=0).max() == pytest.approx(2.0, abs=0.02)
    assert np.abs(outer.min(axis=0) + outer.max(axis=0)).max() < 0.05


@pytest.mark.parametrize("name", CUTOUT_NAMES)
@pytest.mark.parametrize("flip", [False, True])
def test_cutouts_show_their_own_pixels(name: str, flip: bool) -> None:
    body, texture = make_cutout(name, flip=flip, recolor=UNCHANGED)
    left, top, right, bottom = body.bounds()
    assert max(right - left, bottom - top) == pytest.approx(2.0, abs=1e-4)
    width, height = round(100 * (right - left)), round(100 * (bottom - top))
    image = make_texture(texture, height, width)
    other = make_texture(make_cutout(name, flip=not flip, recolor=UNCHANGED)[1], height, width)
    assert np.abs(image.astype(int) - other[:, ::-1].astype(int)).mean() < 1


def test_compositing() -> None:
    red = premultiply(np.full((2, 2, 3), (200, 0, 0), np.uint8), np.full((2, 2), 128, np.uint8))
    frame = np.full((2, 2, 3), 100, np.uint8)
    composite(frame, red)
    assert np.abs(frame[0, 0].astype(int) - (150, 50, 50)).max() <= 1
    empty = np.zeros((2, 2, 4), np.uint8)
    composite(empty, red)
    assert np.abs(empty.astype(int) - red).max() <= 1


def test_streaks() -> None:
    assert streak_kernel(0.5, 0.5) is None
    kernel = streak_kernel(8.0, 0.0)
    assert kernel is not None
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert kernel.sum(axis=1).argmax() == kernel.shape[0] // 2
    assert kernel.sum(axis=1).max() > 0.6
    assert (kernel.sum(axis=0) > 0.05).sum() >= 8
    far = streak_kernel(1000.0, 1000.0)
    assert far is not None
    assert far.shape[0] < 60


def test_light_and_grain() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    assert apply_light(image, (0.0, 0.0, 0.0)) is image
    assert apply_light(image, (np.log(2.0), 0.0, 0.0))[0, 0].tolist() == [200, 100, 100]
    field = light_field(20, 30, 0.0, 0.5)
    assert field[:, -1].mean() > 128 > field[:, 0].mean()
    noisy = add_grain(image, 6.0, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(6.0, rel=0.25)
    assert noisy.mean() == pytest.approx(100, abs=1.5)
    tall = np.full((900, 1300, 3), 9, np.uint8)
    assert add_grain(tall, 3.0, np.random.default_rng(0)).shape == tall.shape


def test_shadows_stay_in_the_frame() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    alpha = np.full((20, 20), 255, np.uint8)
    cast_shadow(image, alpha, (100, 100), 0.5, 4)
    assert (image == 200).all()
    cast_shadow(image, alpha, (-10, 5), 0.5, 4)
    assert image[14, 3, 0] == pytest.approx(100, abs=3)
    assert image[35, 35, 0] == 200


def test_compression_keeps_the_channels_in_order() -> None:
    image = np.full((32, 32, 3), (200, 60, 20), np.uint8)
    assert np.abs(compress(image, 60).astype(int) - image).max() < 12
