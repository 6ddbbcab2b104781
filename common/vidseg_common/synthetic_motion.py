"""Smooth functions of time that move the objects, the camera and the light of a scene.

Time is the frame index (a float), so speeds do not depend on the length of the video.
Positions are fractions of the frame's width and height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Signal:
    """A drifting sum of sine waves that starts at ``offset``.

    Attributes:
        offset: Value at frame 0.
        slope: Drift per frame.
        waves: (amplitude, cycles per frame, phase in radians) of each wave.
    """

    offset: float = 0.0
    slope: float = 0.0
    waves: tuple[tuple[float, float, float], ...] = ()

    @property
    def is_still(self) -> bool:
        """Whether the value never changes."""
        return self.slope == 0.0 and not self.waves

    def at(self, time: float) -> float:
        """Return the value at a frame index."""
        value = self.offset + self.slope * time
        for amplitude, frequency, phase in self.waves:
            swing = math.sin(2 * math.pi * frequency * time + phase) - math.sin(phase)
            value += amplitude * swing
        return value


STILL = Signal()


def sample_signal(
    rng: np.random.Generator,
    amplitude: float,
    periods: tuple[float, float],
    *,
    offset: float = 0.0,
    slope: float = 0.0,
    num_waves: int = 2,
) -> Signal:
    """Draw a signal whose waves have random phases.

    Args:
        rng: Source of randomness.
        amplitude: Half of the swing of the first wave; each further wave has half of it.
        periods: Shortest and longest period in frames.
        offset: Value at frame 0.
        slope: Drift per frame.
        num_waves: Number of sine waves.
    """
    if amplitude == 0.0:
        return Signal(offset, slope)
    low, high = math.log(periods[0]), math.log(periods[1])
    draws = rng.random((num_waves, 3))
    waves = tuple(
        (
            amplitude * 0.5**i * (0.5 + 0.5 * float(draws[i, 0])),
            math.exp(-(low + (high - low) * float(draws[i, 1]))),
            2 * math.pi * float(draws[i, 2]),
        )
        for i in range(num_waves)
    )
    return Signal(offset, slope, waves)


@dataclass(frozen=True)
class Passage:
    """An object's way into or out of the frame: an extra shift that begins or ends at a time.

    Attributes:
        direction: Unit vector out of the frame, in fractions of width and height.
        distance: Length of the shift while the object is away.
        time: Frame index at which the object starts to come in, or starts to leave.
        speed: Change of the shift per frame.
        entering: True for coming in, False for leaving.
    """

    direction: tuple[float, float]
    distance: float
    time: float
    speed: float
    entering: bool

    def at(self, time: float) -> tuple[float, float]:
        """Return the shift at a frame index."""
        moved = max(0.0, (time - self.time) * self.speed)
        length = max(0.0, self.distance - moved) if self.entering else min(moved, self.distance)
        return self.direction[0] * length, self.direction[1] * length


@dataclass(frozen=True)
class ObjectMotion:
    """Everything about an object that changes with time, apart from its limbs.

    Attributes:
        x: Centre, fraction of the frame's width.
        y: Centre, fraction of the frame's height.
        log_scale: Logarithm of the size relative to the object's nominal size.
        angle: Rotation in radians.
        squeeze: Logarithm of the foreshortening along ``squeeze_axis``.
        squeeze_axis: Direction of the foreshortening in the object's frame, radians.
        tilt: Perspective coefficients along the object's x and y.
        warp: Amplitude of the non-rigid deformation, in object units.
        warp_waves: (x frequency, y frequency, cycles per frame, phase) of two warp fields.
        roll: Slide of the surface texture relative to the outline, object units, x and y.
        light: Direction the light comes from, radians.
        passage: A late entry or a leaving, if any.
        camera_share: How much of the camera's pan the object takes part in, 0 to 1.
    """

    x: Signal
    y: Signal
    log_scale: Signal
    angle: Signal
    squeeze: Signal
    squeeze_axis: float
    tilt: tuple[Signal, Signal]
    warp: float
    warp_waves: tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
    roll: tuple[Signal, Signal]
    light: Signal
    passage: Passage | None
    camera_share: float

    def centre(self, time: float) -> tuple[float, float]:
        """Return the object's centre without the camera, in fractions of the frame."""
        shift = self.passage.at(time) if self.passage else (0.0, 0.0)
        return self.x.at(time) + shift[0], self.y.at(time) + shift[1]


@dataclass(frozen=True)
class CameraMotion:
    """Pan (fractions of the frame), zoom (logarithm), rotation (radians) and shake."""

    x: Signal
    y: Signal
    log_zoom: Signal
    angle: Signal
    shake: tuple[Signal, Signal]


def sample_camera(rng: np.random.Generator, speed: float) -> CameraMotion:
    """Draw a camera: still, panning, zooming or hand-held.

    Args:
        rng: Source of randomness.
        speed: Factor on all movements; 0 stands still.
    """
    still = rng.random() < 0.2
    pan = 0.0 if still else speed * float(rng.choice([0.3, 1.0, 2.5]))
    heading = rng.uniform(0, 2 * math.pi)
    rate = pan * rng.uniform(0.0, 0.012)
    shaking = speed * float(rng.random() < 0.4) * rng.uniform(0.001, 0.008)
    return CameraMotion(
        x=sample_signal(rng, 0.05 * pan, (40, 160), slope=rate * math.cos(heading)),
        y=sample_signal(rng, 0.03 * pan, (40, 160), slope=0.4 * rate * math.sin(heading)),
        log_zoom=sample_signal(rng, 0.06 * pan, (60, 200), slope=pan * rng.normal(0, 0.001)),
        angle=sample_signal(rng, 0.03 * pan, (50, 200), num_waves=1),
        shake=(
            sample_signal(rng, shaking, (4, 14)),
            sample_signal(rng, shaking, (4, 14)),
        ),
    )


def _sample_passage(
    rng: np.random.Generator,
    start: tuple[float, float],
    half_extent: tuple[float, float],
    num_frames: int,
    entering: bool,
) -> Passage:
    """Draw a way in or out through the side (or, rarely, top or bottom) nearest to the start."""
    vertical = rng.random() < 0.2
    axis = int(vertical)
    side = 1.0 if start[axis] > 0.5 else -1.0
    to_border = 1.0 - start[axis] if side > 0 else start[axis]
    distance = max(0.0, to_border) + half_extent[axis] + 0.35
    duration = rng.uniform(0.25, 0.5) * max(num_frames, 4)
    when = rng.uniform(0.02, 0.3) if entering else rng.uniform(0.3, 0.7)
    speed = float(np.clip(distance / duration, 0.01, 0.2))
    direction = (0.0, side) if vertical else (side, 0.0)
    return Passage(direction, distance, when * num_frames, speed, entering)


def _sample_warp_wave(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw x and y frequency, cycles per frame and phase of a deformation."""
    x, y = rng.uniform(0.7, 2.6, 2)
    return float(x), float(y), rng.uniform(1 / 60, 1 / 14), rng.uniform(0, 2 * math.pi)


def _sample_pair(
    rng: np.random.Generator, amplitude_x: float, amplitude_y: float
) -> tuple[Signal, Signal]:
    """Draw slow signals for x and y."""
    first = sample_signal(rng, amplitude_x, (40, 150))
    return first, sample_signal(rng, amplitude_y, (40, 150))


def _sample_path(
    rng: np.random.Generator, start: tuple[float, float], pace: float
) -> tuple[Signal, Signal]:
    """Draw x and y of a way that starts at a point."""
    # Drift leads towards the far side, so that objects cross instead of leaving at once.
    heading = math.atan2(0.5 - start[1], 0.5 - start[0]) + rng.normal(0, 0.9)
    rate = 0.0 if rng.random() < 0.4 else pace * rng.uniform(0.002, 0.012)
    along, down = rate * math.cos(heading), rate * math.sin(heading)
    return (
        sample_signal(rng, 0.06 * pace, (24, 90), offset=start[0], slope=along),
        sample_signal(rng, 0.04 * pace, (16, 80), offset=start[1], slope=down),
    )


def sample_object_motion(
    rng: np.random.Generator,
    start: tuple[float, float],
    half_extent: tuple[float, float],
    num_frames: int,
    speed: float,
    warp: float,
    passage: Literal["enter", "leave"] | None,
    upright: bool,
) -> ObjectMotion:
    """Draw the movement of one object.

    Args:
        rng: Source of randomness.
        start: Centre at frame 0 (a late object: where it would have been).
        half_extent: Half of the object's width and height, fractions of the frame.
        num_frames: Length of the video, used to place entries and exits.
        speed: Factor on all movements; 0 stands still.
        warp: Factor on the non-rigid deformation.
        passage: ``"enter"``, ``"leave"`` or None.
        upright: Whether the object keeps roughly its orientation (people, cars).
    """
    pace = speed * float(np.exp(rng.normal(-0.2, 0.7)))
    x, y = _sample_path(rng, start, pace)
    spin = 0.0 if upright or rng.random() < 0.6 else rng.normal(0, 0.03)
    turn = rng.uniform(0.02, 0.2) if upright else rng.uniform(0.05, 0.8)
    facing = speed * float(rng.choice([0.0, 0.1, 0.25, 0.45], p=[0.3, 0.3, 0.25, 0.15]))
    rolls = speed * float(rng.random() < 0.3) * rng.uniform(0.1, 0.5)
    entering = passage == "enter"
    extra = passage and _sample_passage(rng, start, half_extent, num_frames, entering)
    return ObjectMotion(
        x=x,
        y=y,
        log_scale=sample_signal(rng, 0.12 * pace, (40, 140), slope=pace * rng.normal(0, 0.003)),
        angle=sample_signal(rng, turn * speed, (20, 100), slope=spin * speed),
        squeeze=sample_signal(rng, facing, (30, 120), num_waves=1),
        squeeze_axis=rng.normal(0, 0.25),
        tilt=_sample_pair(rng, 0.5 * facing, 0.3 * facing),
        warp=warp * float(rng.choice([0.0, 0.03, 0.07, 0.12], p=[0.25, 0.35, 0.3, 0.1])),
        warp_waves=(_sample_warp_wave(rng), _sample_warp_wave(rng)),
        roll=_sample_pair(rng, rolls, 0.4 * rolls),
        light=sample_signal(rng, 0.6 * speed, (40, 200), offset=rng.uniform(0, 2 * math.pi)),
        passage=extra or None,
        camera_share=float(rng.choice([0.0, 0.5, 1.0], p=[0.6, 0.2, 0.2])),
    )
