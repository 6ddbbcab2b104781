"""Light, lens, sensor and compression of the synthetic videos; all on (H, W, C) uint8 arrays."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vidseg_common.synthetic_photos import grain_bank

_MAX_STREAK = 41


def streak_kernel(shift_x: float, shift_y: float) -> np.ndarray | None:
    """Return the filter of a straight, even movement during the exposure.

    Args:
        shift_x: Movement in pixels to the right.
        shift_y: Movement in pixels downwards.

    Returns:
        (K, K) float32 that sums to 1, or None when the movement is too small to be seen.
    """
    length = math.hypot(shift_x, shift_y)
    if length < 1.5:
        return None
    factor = min(1.0, _MAX_STREAK / length)
    shift_x, shift_y = shift_x * factor, shift_y * factor
    half = math.ceil(max(abs(shift_x), abs(shift_y)) / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    ends = [
        tuple(round((half + sign * shift / 2) * 16) for shift in (shift_x, shift_y))
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    return kernel.astype(np.float32) / max(int(kernel.sum()), 1)


def blur_frame(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a picture by a Gaussian of ``sigma`` pixels; small values leave it as it is."""
    return image if sigma < 0.35 else cv2.GaussianBlur(image, (0, 0), sigma)


def light_field(height: int, width: int, direction: float, strength: float) -> np.ndarray:
    """Return a brightness gradient, (height, width) uint8 with 128 for no change.

    Args:
        height: Rows.
        width: Columns.
        direction: Where the light comes from, radians.
        strength: Relative change from the middle to the lit corner.
    """
    x, y = math.cos(direction), math.sin(direction)
    corners = np.array([[-x - y, x - y], [-x + y, x + y]])
    gains = 128 * (1 + 0.75 * strength * corners)
    small = np.clip(gains, 0, 255).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def apply_light(image: np.ndarray, log_gains: tuple[float, float, float]) -> np.ndarray:
    """Multiply red, green and blue by the exponentials of ``log_gains``."""
    if max(abs(gain) for gain in log_gains) < 0.004:
        return image
    gains = np.exp(np.asarray(log_gains, np.float32))
    table = np.arange(256, dtype=np.float32)[:, None] * gains
    return cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[:, None])


def cast_shadow(
    image: np.ndarray, alpha: np.ndarray, corner: tuple[int, int], darkness: float, reach: int
) -> None:
    """Darken what lies under an object's blurred outline, in place.

    Args:
        image: (H, W, 3) frame.
        alpha: (h, w) outline, 255 inside.
        corner: Column and row of the outline's upper left corner; may lie outside.
        darkness: 0 to 1.
        reach: Width of the blurred border in pixels.
    """
    wide = cv2.copyMakeBorder(alpha, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    small = cv2.resize(wide, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    size = max(3, reach // 4) | 1
    small = cv2.blur(small, (size, size), borderType=cv2.BORDER_CONSTANT)
    soft = cv2.resize(small, wide.shape[::-1], interpolation=cv2.INTER_LINEAR)
    left, top = corner[0] - reach, corner[1] - reach
    x0, y0 = max(left, 0), max(top, 0)
    x1 = min(left + soft.shape[1], image.shape[1])
    y1 = min(top + soft.shape[0], image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = soft[y0 - top : y1 - top, x0 - left : x1 - left]
    factor = cv2.addWeighted(part, -darkness, part, 0.0, 255)
    window = image[y0:y1, x0:x1]
    np.copyto(window, cv2.multiply(window, cv2.merge([factor] * 3), scale=1 / 255))


def add_grain(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise of a standard deviation on the 0..255 scale."""
    bank = grain_bank()
    height, width = image.shape[:2]
    if height > bank.shape[0] or width > bank.shape[1]:
        repeats = (height // bank.shape[0] + 1, width // bank.shape[1] + 1, 1)
        bank = np.tile(bank, repeats)
    top = int(rng.integers(bank.shape[0] - height + 1))
    left = int(rng.integers(bank.shape[1] - width + 1))
    share = deviation / 24
    piece = bank[top : top + height, left : left + width]
    return cv2.addWeighted(image, 1.0, piece, share, -128 * share)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Return what is left of an RGB picture after JPEG compression."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])
