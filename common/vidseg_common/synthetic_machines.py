"""Bodies with wheels: cars, carts and cycles with their riders."""

from __future__ import annotations

import math

import numpy as np

from vidseg_common.synthetic_creatures import NUM_TEXTURES, add_person, mirrored
from vidseg_common.synthetic_motion import Signal
from vidseg_common.synthetic_shapes import Body, Part, blob, ellipse, limb


def wheel(
    rng: np.random.Generator, center: tuple[float, float], radius: float, parent: int, texture: int
) -> list[Part]:
    """Return a wheel: a disc, or a ring with spokes through which the background shows."""
    if rng.random() < 0.4:
        hub = ellipse(center, (0.55 * radius, 0.55 * radius))
        tyre = ellipse(center, (radius, radius))
        return [
            Part(tyre, parent=parent, pivot=center, texture=texture),
            Part(hub, parent=parent, pivot=center, texture=(texture + 1) % NUM_TEXTURES),
        ]
    inner = radius * rng.uniform(0.7, 0.86)
    ring = Part(
        ellipse(center, (radius, radius), num=40),
        holes=(ellipse(center, (inner, inner), num=36),),
        parent=parent,
        pivot=center,
        texture=texture,
    )
    turning = Signal(0.0, float(rng.normal(0, 0.15)))
    parts = [ring]
    spokes = int(rng.integers(2, 5))
    for k in range(spokes):
        angle = math.pi * k / spokes + rng.random()
        reach = (inner * 1.05 * math.cos(angle), inner * 1.05 * math.sin(angle))
        ends = (center[0] - reach[0], center[1] - reach[1])
        bar = limb(ends, (center[0] + reach[0], center[1] + reach[1]), (0.03 * radius,) * 2)
        parts.append(Part(bar, parent=parent, pivot=center, swing=turning, texture=texture))
    return parts


def make_vehicle(rng: np.random.Generator) -> Body:
    """A hull with a cabin, windows, stripes and wheels."""
    long, high = 1.0, rng.uniform(0.22, 0.45)
    hull = blob(rng, roughness=0.03, harmonics=4) * np.array([long, high], np.float32)
    parts: list[Part] = []
    x0, x1 = sorted(rng.uniform(-0.9, 0.9, 2))
    x1 = max(x1, x0 + 0.6)
    roof = -high - rng.uniform(0.15, 0.45)
    slope = rng.uniform(0.02, 0.3, 2)
    cabin = np.array(
        [[x0, -0.5 * high], [x0 + slope[0], roof], [x1 - slope[1], roof], [x1, -0.5 * high]]
    )
    parts += [Part(cabin.astype(np.float32)), Part(hull, parent=0)]
    panes = int(rng.integers(1, 4))
    inner = (cabin - cabin.mean(axis=0)) * 0.78 + cabin.mean(axis=0)
    for k in range(panes):
        a, b = (k + 0.05) / panes, (k + 0.95) / panes
        low = inner[0] + (inner[3] - inner[0]) * np.array([[a], [b]])
        up = inner[1] + (inner[2] - inner[1]) * np.array([[b], [a]])
        pane = np.concatenate([low, up]).astype(np.float32)
        parts.append(Part(pane, parent=0, texture=1))
    if rng.random() < 0.5:
        y = rng.uniform(-0.4, 0.4) * high
        parts.append(Part(limb((-0.9, y), (0.9, y), (0.04, 0.04)), parent=1, texture=2))
    radius = rng.uniform(0.14, 0.26)
    for x in (-0.6, 0.6):
        axle = (x * rng.uniform(0.85, 1.1), high)
        parts += wheel(rng, axle, radius, 1, 2)
    return Body("vehicle", mirrored(rng, parts), upright=True)


def make_cycle(rng: np.random.Generator) -> Body:
    """Two wheels on a frame of thin bars, usually with a rider."""
    radius, base = rng.uniform(0.28, 0.42), rng.uniform(0.45, 0.65)
    rear, fore = (-base, 0.5), (base, 0.5)
    saddle, bars = (-0.35 * base, -0.05), (0.75 * base, -0.15)
    pedals = (-0.05, 0.5)
    parts = [Part(ellipse(pedals, (0.06, 0.06)), texture=2)]
    thick = rng.uniform(0.018, 0.05)
    tubes = ((rear, pedals), (rear, saddle), (pedals, saddle), (pedals, bars), (saddle, bars))
    for start, end in (*tubes, (fore, bars)):
        parts.append(Part(limb(start, end, (thick, thick)), parent=0))
    if rng.random() < 0.5:
        tank = blob(rng, aspect=1.8, roughness=0.1) * rng.uniform(0.12, 0.3)
        parts.append(Part(tank + np.array([0.0, 0.15], np.float32), parent=0, texture=1))
    parts += wheel(rng, rear, radius, 0, 2)
    parts += wheel(rng, fore, radius, 0, 2)
    if rng.random() < 0.75:
        add_person(rng, parts, 0, saddle, 1.3)
    return Body("cycle", mirrored(rng, parts), upright=bool(rng.random() < 0.7))
