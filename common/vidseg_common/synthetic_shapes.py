"""Outlines and articulated bodies of the synthetic objects.

A body is a list of parts in one coordinate system (object units, y down, rest pose about within
[-1, 1]); each part is a closed outline with holes that swings about a pivot of its parent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vidseg_common.synthetic_motion import STILL, Signal, sample_signal

_SHIFT = 4  # fractional bits of the polygon rasteriser
_REST_SIDE = 96
# Limbs swing with periods of 10 to 50 frames.
_POSE_TIMES = (5.0, 11.0, 18.0, 26.0, 37.0)
_SAMPLES = 4  # samples along each side of a pixel


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of a body.

    Attributes:
        outline: (N, 2) x, y of a closed outline at rest.
        holes: Outlines cut out of it.
        parent: Index of the part it hangs on, -1 for none; parents come before children.
        pivot: Point (x, y) about which it turns, at rest.
        swing: Angle about the pivot over time, 0 at frame 0 means at rest.
        texture: Index of the object's texture.
        fits_texture: Whether the texture is stretched over the outline's box instead of being
            cut at random: the picture of the part itself.
        fuzz: Width of the ragged, semi-transparent border in object units (fur, leaves).
    """

    outline: np.ndarray
    holes: tuple[np.ndarray, ...] = ()
    parent: int = -1
    pivot: tuple[float, float] = (0.0, 0.0)
    swing: Signal = STILL
    texture: int = 0
    fits_texture: bool = False
    fuzz: float = 0.0


@dataclass(frozen=True, eq=False)
class Body:
    """Parts in the order in which they are painted.

    Attributes:
        kind: Name of the family, used as the object's class.
        parts: Back to front.
        upright: Whether such a body keeps roughly its orientation.
    """

    kind: str
    parts: tuple[Part, ...]
    upright: bool = False

    def bounds(self) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom of the rest pose, in object units."""
        points = np.concatenate([part.outline for part in self.parts])
        low, high = points.min(axis=0), points.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def is_rigid(self) -> bool:
        """Whether no part ever moves against the others."""
        return all(part.swing.is_still for part in self.parts)

    def pose(self, time: float) -> list[np.ndarray | None]:
        """Return the (2, 3) movement of every part in object coordinates, None at rest."""
        found: list[np.ndarray | None] = []
        for part in self.parts:
            above = found[part.parent] if part.parent >= 0 else None
            angle = 0.0 if part.swing.is_still else part.swing.at(time)
            if angle == 0.0:
                found.append(above)
                continue
            cos, sin = math.cos(angle), math.sin(angle)
            x, y = part.pivot
            own = np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])
            if above is not None:
                own = np.column_stack([above[:, :2] @ own[:, :2], above @ (*own[:, 2], 1.0)])
            found.append(own)
        return found

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest x, y that the parts come to in their poses."""
        left, top, right, bottom = self.bounds()
        low, high = np.array([left, top]), np.array([right, bottom])
        if self.is_rigid:
            return low, high
        ends = [(part.outline.min(axis=0), part.outline.max(axis=0)) for part in self.parts]
        boxes = np.array([[[a[0], b[0], a[0], b[0]], [a[1], a[1], b[1], b[1]]] for a, b in ends])
        for time in _POSE_TIMES:
            for box, move in zip(boxes, self.pose(time), strict=True):
                if move is not None:
                    spots = move[:, :2] @ box + move[:, 2:]
                    low = np.minimum(low, spots.min(axis=1))
                    high = np.maximum(high, spots.max(axis=1))
        return low, high

    def area(self) -> float:
        """Return the area of the rest pose in square object units (within about 2 %)."""
        left, top, right, bottom = self.bounds()
        step = max(right - left, bottom - top, 1e-6) / _REST_SIDE
        mask = np.zeros((_REST_SIDE, _REST_SIDE), np.uint8)
        for part in self.parts:
            fill_outlines(mask, part, 1 / step, (left, top))
        return max(cv2.countNonZero(mask), 1) * step * step


def fill_outlines(mask: np.ndarray, part: Part, scale: float, origin: tuple[float, float]) -> None:
    """Draw a part into a mask.

    Args:
        mask: (H, W) uint8, changed in place: what is inside becomes 255, holes become 0.
        part: Outline and holes in object units.
        scale: Pixels per object unit.
        origin: Object coordinates of the mask's upper left corner.
    """
    for outline, value in ((part.outline, 255), *((hole, 0) for hole in part.holes)):
        # Pixel (0, 0) has its centre at half a pixel.
        points = (outline - np.asarray(origin, np.float32)) * scale - 0.5
        fixed = np.round(points * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(mask, [fixed], value, shift=_SHIFT)


def cover_outlines(
    size: tuple[int, int], part: Part, scale: float, origin: tuple[float, float]
) -> np.ndarray:
    """Return how much of every pixel a part covers.

    Args:
        size: Rows and columns.
        part: Outline and holes in object units.
        scale: Pixels per object unit.
        origin: Object coordinates of the upper left corner.

    Returns:
        (rows, columns) uint8, 255 for all of the pixel.
    """
    # OpenCV's own anti-aliasing widens outlines by three quarters of a pixel.
    fine = np.zeros((size[0] * _SAMPLES, size[1] * _SAMPLES), np.uint8)
    fill_outlines(fine, part, scale * _SAMPLES, origin)
    return cv2.resize(fine, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def ellipse(
    center: tuple[float, float], radius: tuple[float, float], angle: float = 0.0, num: int = 28
) -> np.ndarray:
    """Return an ellipse as an (num, 2) outline."""
    theta = np.linspace(0, 2 * math.pi, num, endpoint=False)
    x, y = radius[0] * np.cos(theta), radius[1] * np.sin(theta)
    cos, sin = math.cos(angle), math.sin(angle)
    points = np.stack([cos * x - sin * y + center[0], sin * x + cos * y + center[1]], axis=1)
    return points.astype(np.float32)


def limb(
    start: tuple[float, float],
    end: tuple[float, float],
    widths: tuple[float, float],
) -> np.ndarray:
    """Return a tapered capsule from one joint to the next; widths are the radii at its ends."""
    heading = math.atan2(end[1] - start[1], end[0] - start[0])
    arc = np.linspace(-math.pi / 2, math.pi / 2, 7)
    tip = np.stack([np.cos(heading + arc), np.sin(heading + arc)], axis=1) * widths[1]
    tail = -np.stack([np.cos(heading + arc), np.sin(heading + arc)], axis=1) * widths[0]
    return np.concatenate([tip + end, tail + start]).astype(np.float32)


def ribbon(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return the outline of a band along a centre line.

    Args:
        points: (N, 2) centre line.
        radii: (N,) half width at each point.
    """
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * radii[:, None]
    return np.concatenate([points + normal, (points - normal)[::-1]]).astype(np.float32)


def blob(
    rng: np.random.Generator,
    *,
    aspect: float = 1.0,
    roughness: float = 0.15,
    harmonics: int = 5,
    num: int = 72,
) -> np.ndarray:
    """Return a random smooth closed outline about the origin.

    Args:
        rng: Source of randomness.
        aspect: Width over height.
        roughness: Relative size of the bumps and dents.
        harmonics: Highest number of bumps.
        num: Number of points.
    """
    theta = np.linspace(0, 2 * math.pi, num, endpoint=False)
    order = np.arange(2, harmonics + 2)
    size = rng.normal(0, roughness, len(order)) / np.sqrt(order - 1)
    phase = rng.uniform(0, 2 * math.pi, len(order))
    radius = 1 + (size[:, None] * np.cos(order[:, None] * theta + phase[:, None])).sum(axis=0)
    radius = np.maximum(radius, 0.2)
    # An exponent above 2 squares the outline: boxes, cars, books.
    power = float(rng.choice([2.0, 2.0, 3.0, 6.0]))
    norm = (np.abs(np.cos(theta)) ** power + np.abs(np.sin(theta)) ** power) ** (-1 / power)
    stretch = math.sqrt(aspect)
    x, y = radius * norm * np.cos(theta) * stretch, radius * norm * np.sin(theta) / stretch
    return np.stack([x, y], axis=1).astype(np.float32)


def polygon(rng: np.random.Generator, num_corners: int, aspect: float) -> np.ndarray:
    """Return a random polygon with straight sides about the origin."""
    theta = np.sort(rng.uniform(0, 2 * math.pi, num_corners))
    theta += np.linspace(0, 2 * math.pi, num_corners, endpoint=False)
    theta *= 0.5
    radius = rng.uniform(0.6, 1.1, num_corners)
    stretch = math.sqrt(aspect)
    points = np.stack([np.cos(theta) * radius * stretch, np.sin(theta) * radius / stretch], axis=1)
    return points.astype(np.float32)


def swing(rng: np.random.Generator, amplitude: float) -> Signal:
    """Draw the swing of a limb; the amplitude is in radians."""
    return sample_signal(rng, amplitude * float(rng.uniform(0.3, 1.0)), (10, 50), num_waves=2)
