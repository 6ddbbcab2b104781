"""Thin-plate-spline warp of an image and its mask (method specification section 6.4).

Two splines give, for every pixel of the warped image, how far away its source lies. Points are
in units of the image: 0..1 along each side. The published training stores a point's row in the
first coordinate although the spline takes that as x, and stretches the image by one pixel; both
are part of the statistics of its data and are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

NUM_POINTS = 12
#: Keeps the logarithm of the radial basis finite at a control point.
_LOG_OFFSET = 1e-6
#: Rows of the grid evaluated at once: their intermediate values stay in the processor's cache.
_BLOCK_ROWS = 16


def pick_points(
    height: int, width: int, rng: np.random.RandomState, num_points: int = NUM_POINTS
) -> np.ndarray:
    """Draw control points, no two in the same row or column.

    Args:
        height: rows of the image, at least ``num_points``.
        width: columns of the image, at least ``num_points``.
        rng: source of the draws.
        num_points: how many.

    Returns:
        (num_points, 2) float64: row / height, column / width.
    """
    rows = rng.choice(height, num_points, replace=False)
    columns = rng.choice(width, num_points, replace=False)
    return np.stack([rows / height, columns / width], axis=1)


def _radial_basis(distance: np.ndarray) -> np.ndarray:
    return distance**2 * np.log(distance + _LOG_OFFSET)


def fit_spline(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the coefficients of the splines that take the given values at the points.

    Args:
        points: (N, 2) control points, all different.
        values: (N, D) values there, one spline for each column.

    Returns:
        (N + 3, D) float32: the weights of the N radial terms, which sum to zero, then constant,
        x and y coefficients.
    """
    num_points, num_splines = values.shape
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    system = np.zeros((num_points + 3, num_points + 3), dtype=np.float32)
    system[:num_points, :num_points] = _radial_basis(distance)
    system[:num_points, num_points] = 1.0
    system[:num_points, num_points + 1 :] = points
    system[num_points:, :num_points] = system[:num_points, num_points:].T
    right = np.zeros((num_points + 3, num_splines), dtype=np.float32)
    right[:num_points] = values
    coefficients = np.linalg.solve(system, right)
    # The weights' sum is zero up to rounding; made exact by the first one.
    coefficients[0] = -coefficients[1:num_points].sum(axis=0)
    return coefficients


def evaluate_grid(
    points: np.ndarray, coefficients: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Evaluate two splines at every pixel.

    Args:
        points: (N, 2) control points.
        coefficients: (N + 3, 2) of ``fit_spline``.
        height: rows of the grid, over 0..1 with both ends.
        width: columns of the grid, likewise.

    Returns:
        (height, width, 2) float64: each pixel's own place (x, y) plus the two values there.
    """
    weights = coefficients[:-3].astype(np.float64)
    constant, slope_x, slope_y = coefficients[-3:].astype(np.float64)
    x = np.linspace(0.0, 1.0, width)
    y = np.linspace(0.0, 1.0, height)
    square_x = (x[:, None] - points[:, 0]) ** 2  # W, N
    square_y = (y[:, None] - points[:, 1]) ** 2  # H, N
    grid = np.empty((height, width, 2))
    for top in range(0, height, _BLOCK_ROWS):
        rows = slice(top, top + _BLOCK_ROWS)
        square = square_y[rows, None] + square_x[None]  # rows, W, N
        basis = np.sqrt(square)
        basis += _LOG_OFFSET
        np.log(basis, out=basis)
        basis *= square
        np.matmul(basis, weights, out=grid[rows])
    grid += constant
    grid += x[:, None] * slope_x
    grid += (y[:, None] * slope_y)[:, None]
    grid[:, :, 0] += x
    grid[:, :, 1] += y[:, None]
    return grid


@dataclass(frozen=True)
class Warp:
    """Where each pixel of a warped image comes from.

    Attributes:
        map_x: (H, W) float32 source column.
        map_y: (H, W) float32 source row.
    """

    map_x: np.ndarray
    map_y: np.ndarray

    def image(self, image: np.ndarray) -> np.ndarray:
        """Return the warped (H, W, 3) uint8 image, interpolated; black from outside."""
        return cv2.remap(image, self.map_x, self.map_y, cv2.INTER_LINEAR)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Return the warped (H, W) uint8 mask, not interpolated; 0 from outside."""
        return cv2.remap(mask, self.map_x, self.map_y, cv2.INTER_NEAREST)


def make_warp(c_src: np.ndarray, c_dst: np.ndarray, height: int, width: int) -> Warp:
    """Return the warp that brings the points ``c_src`` of an image to ``c_dst``.

    Args:
        c_src: (N, 2) points of the image.
        c_dst: (N, 2) where they go.
        height: rows of the image.
        width: columns of the image.
    """
    coefficients = fit_spline(c_dst, c_src - c_dst)
    grid = evaluate_grid(c_dst, coefficients, height, width)
    # Times the number of pixels, not of the gaps between them: the stretch by one pixel.
    maps = (grid * (width, height)).astype(np.float32)
    return Warp(np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1]))


def draw_warp(height: int, width: int, scale: float, rng: np.random.RandomState) -> Warp:
    """Draw a warp.

    Args:
        height: rows of the image.
        width: columns of the image.
        scale: standard deviation of the points' moves, relative to the image's sides.
        rng: source of the draws.
    """
    c_src = pick_points(height, width, rng)
    c_dst = c_src + rng.normal(scale=scale, size=c_src.shape)
    return make_warp(c_src, c_dst, height, width)
