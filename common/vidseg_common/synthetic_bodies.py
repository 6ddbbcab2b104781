"""Families of bodies: blobs, creatures, people, vehicles, cycles, birds, plants, things.

None imitates a species exactly; together they have what real objects have: necks and tails, legs
that move against the trunk, thin structures, holes, and pieces of different material.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from vidseg_common.synthetic_creatures import (
    NUM_TEXTURES,
    make_bird,
    make_horse,
    make_person,
    make_quadruped,
    mirrored,
)
from vidseg_common.synthetic_machines import make_cycle, make_vehicle
from vidseg_common.synthetic_shapes import (
    Body,
    Part,
    blob,
    limb,
    polygon,
    ribbon,
    swing,
)


def _blob_body(rng: np.random.Generator) -> Body:
    """A single outline, smooth or straight-sided, sometimes with a hole or patches."""
    aspect = math.exp(rng.normal(0, 0.45))
    if rng.random() < 0.2:
        outline = polygon(rng, int(rng.integers(3, 8)), aspect)
    else:
        rough = float(rng.choice([0.05, 0.15, 0.3]))
        outline = blob(rng, aspect=aspect, roughness=rough, harmonics=int(rng.integers(2, 9)))
    holes: tuple[np.ndarray, ...] = ()
    if rng.random() < 0.15:
        size = rng.uniform(0.15, 0.4)
        holes = (blob(rng, roughness=0.1) * size + rng.normal(0, 0.15, 2).astype(np.float32),)
    fuzz = 0.12 if rng.random() < 0.2 else 0.0
    parts = [Part(outline, holes=holes, fuzz=fuzz)]
    if not holes:
        for _ in range(int(rng.integers(0, 4))):
            patch = blob(rng, aspect=math.exp(rng.normal(0, 0.4))) * rng.uniform(0.08, 0.35)
            place = rng.uniform(-0.45, 0.45, 2).astype(np.float32)
            parts.append(Part(patch + place, parent=0, texture=int(rng.integers(1, NUM_TEXTURES))))
    return Body("blob", tuple(parts))


def _cluster(rng: np.random.Generator) -> Body:
    """A core with lobes and limbs hung on it at random."""
    core = blob(rng, aspect=math.exp(rng.normal(0, 0.4)), roughness=0.12) * 0.6
    behind: list[Part] = []
    front: list[Part] = []
    for _ in range(int(rng.integers(2, 7))):
        anchor = core[int(rng.integers(len(core)))] * 0.8
        outward = math.atan2(anchor[1], anchor[0]) + rng.normal(0, 0.4)
        pivot = (float(anchor[0]), float(anchor[1]))
        reach = rng.uniform(0.25, 0.75)
        tip = (pivot[0] + reach * math.cos(outward), pivot[1] + reach * math.sin(outward))
        if rng.random() < 0.5:
            thick = rng.uniform(0.03, 0.16)
            outline = limb(pivot, tip, (thick, thick * rng.uniform(0.4, 1.1)))
        else:
            lobe = blob(rng, roughness=0.12) * (0.5 * reach)
            middle = np.array([(pivot[0] + tip[0]) / 2, (pivot[1] + tip[1]) / 2], np.float32)
            outline = lobe + middle
        texture = int(rng.integers(NUM_TEXTURES)) if rng.random() < 0.4 else 0
        part = Part(outline, parent=0, pivot=pivot, swing=swing(rng, 0.6), texture=texture)
        (behind if rng.random() < 0.5 else front).append(part)
    # Parents come first in the list, so a core that is painted later is its own root.
    behind = [dataclasses.replace(part, parent=-1) for part in behind]
    front = [dataclasses.replace(part, parent=len(behind)) for part in front]
    return Body("cluster", (*behind, Part(core), *front))


def _eel(rng: np.random.Generator) -> Body:
    """A long curved band: snakes, fish, ropes, sails, scarves."""
    t = np.linspace(0, 1, 32)
    wave = rng.normal(0, 0.35) * np.sin(2 * math.pi * (rng.uniform(0.4, 1.4) * t + rng.random()))
    line = np.stack([2 * t - 1, wave], axis=1)
    thick = rng.uniform(0.06, 0.35)
    taper = thick * (np.sin(math.pi * np.clip(0.1 + 0.85 * t, 0, 1)) ** rng.uniform(0.3, 1.0))
    parts = [Part(ribbon(line, taper))]
    if rng.random() < 0.5:
        fin = polygon(rng, 3, 1.0) * 0.35
        parts.insert(0, Part(fin + line[0].astype(np.float32), texture=1, swing=swing(rng, 0.4)))
    return Body("blob", mirrored(rng, parts))


def _bush(rng: np.random.Generator) -> Body:
    """Thin stems or blades from one foot, or a star: mostly gaps."""
    parts: list[Part] = []
    spread = float(rng.choice([0.9, math.pi]))
    for _ in range(int(rng.integers(4, 9))):
        angle = rng.uniform(-spread, spread)
        reach = rng.uniform(0.6, 1.2)
        tip = (reach * math.sin(angle), -reach * math.cos(angle))
        thick = rng.uniform(0.03, 0.1)
        texture = 0 if rng.random() < 0.7 else int(rng.integers(NUM_TEXTURES))
        outline = limb((0.0, 0.0), tip, (thick, 0.6 * thick))
        parts.append(Part(outline, texture=texture, swing=swing(rng, 0.15)))
        if rng.random() < 0.4:
            leaf = blob(rng, roughness=0.15) * rng.uniform(0.1, 0.25)
            place = np.array(tip, np.float32)
            parts.append(Part(leaf + place, parent=len(parts) - 1, texture=texture))
    return Body("bush", tuple(parts))


_FAMILIES: tuple[tuple[float, Callable[[np.random.Generator], Body]], ...] = (
    (0.24, _blob_body),
    (0.14, _cluster),
    (0.13, make_quadruped),
    (0.13, make_person),
    (0.12, make_vehicle),
    (0.08, make_cycle),
    (0.08, make_bird),
    (0.03, _eel),
    (0.02, _bush),
    (0.03, make_horse),
)

CLASS_NAMES: tuple[str, ...] = (
    "blob", "cluster", "quadruped", "person", "vehicle", "cycle", "bird", "bush",
)  # fmt: skip
"""Names of the object classes, in the order of their category numbers (from 1)."""


def sample_body(rng: np.random.Generator, articulated: float) -> Body:
    """Draw a body.

    Args:
        rng: Source of randomness.
        articulated: Probability of a body with moving parts instead of a single outline; the
            default mixture has 0.76.
    """
    if rng.random() >= articulated:
        return _blob_body(rng)
    draw = rng.random() * sum(weight for weight, _ in _FAMILIES[1:])
    for weight, make in _FAMILIES[1:]:
        draw -= weight
        if draw < 0:
            return make(rng)
    return _cluster(rng)
