"""Families of bodies: blobs, creatures, people, vehicles, cycles, birds, plants, things.

None imitates a species exactly; together they have what real objects have: necks and tails, legs
that move against the trunk, thin structures, holes, and pieces of different material.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .synthetic_photos import horse_outline
from .synthetic_shapes import (
    Body,
    Part,
    blob,
    ellipse,
    limb,
    polygon,
    ribbon,
    swing,
    wheel,
)

NUM_TEXTURES = 3


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


def _leg(
    rng: np.random.Generator,
    parts: list[Part],
    parent: int,
    hip: tuple[float, float],
    length: float,
    width: float,
    *,
    texture: int = 0,
    lean: float = 0.0,
    stride: float = 0.5,
) -> None:
    """Append an upper and a lower leg (or arm) to a list of parts."""
    bend = rng.normal(0, 0.25)
    half = 0.5 * length
    knee = (hip[0] + half * math.sin(lean + bend), hip[1] + half * math.cos(lean + bend))
    foot = (knee[0] + half * math.sin(lean - bend), knee[1] + half * math.cos(lean - bend))
    upper = limb(hip, knee, (width, 0.75 * width))
    lower = limb(knee, foot, (0.75 * width, 0.5 * width))
    parts.append(Part(upper, (), parent, hip, swing(rng, stride), texture))
    lower_texture = texture if rng.random() < 0.6 else int(rng.integers(NUM_TEXTURES))
    parts.append(Part(lower, (), len(parts) - 1, knee, swing(rng, stride), lower_texture))
    if rng.random() < 0.5:
        toe = (foot[0] + rng.uniform(-0.12, 0.15), foot[1])
        shoe = limb(foot, toe, (0.6 * width, 0.45 * width))
        parts.append(Part(shoe, (), len(parts) - 1, foot, texture=int(rng.integers(NUM_TEXTURES))))


def _quadruped(rng: np.random.Generator) -> Body:
    """A trunk with four legs, neck, head, ears and tail."""
    long, high = rng.uniform(0.5, 0.75), rng.uniform(0.18, 0.34)
    legs, width = rng.uniform(0.35, 0.75), rng.uniform(0.05, 0.11)
    fuzz = 0.05 if rng.random() < 0.4 else 0.0
    parts: list[Part] = []
    for x in (-0.75, 0.75):
        _leg(rng, parts, -1, (x * long, 0.4 * high), legs, width)
    tail_base, tail = (-long, -0.4 * high), rng.uniform(0.15, 0.6)
    lean = rng.uniform(-0.9, 1.2)
    tail_tip = (tail_base[0] - tail * math.cos(lean), tail_base[1] + tail * math.sin(lean))
    thick = rng.uniform(0.02, 0.06)
    parts.append(
        Part(limb(tail_base, tail_tip, (thick, thick)), (), -1, tail_base, swing(rng, 0.7))
    )
    trunk = len(parts)
    body = blob(rng, roughness=0.05, harmonics=4)
    parts.append(Part(body * np.array([long, high], np.float32), fuzz=fuzz))
    for x in (-0.7, 0.65):
        _leg(rng, parts, trunk, (x * long, 0.4 * high), legs, width)
    neck_base, rise = (0.8 * long, -0.3 * high), rng.uniform(0.05, 0.6)
    head_at = (neck_base[0] + rng.uniform(0.1, 0.35), neck_base[1] - rise)
    neck = limb(neck_base, head_at, (0.6 * high, 0.35 * high))
    parts.append(Part(neck, (), trunk, neck_base, swing(rng, 0.3), 0, fuzz))
    size = rng.uniform(0.13, 0.24)
    head = ellipse((head_at[0] + 0.08, head_at[1]), (1.3 * size, 0.9 * size), rng.normal(0, 0.4))
    texture = int(rng.random() < 0.3)
    parts.append(Part(head, (), len(parts) - 1, head_at, swing(rng, 0.3), texture, fuzz))
    _attach_ears(rng, parts, head_at, size)
    return Body("quadruped", _mirrored(rng, parts), upright=True)


def _attach_ears(
    rng: np.random.Generator, parts: list[Part], head: tuple[float, float], size: float
) -> None:
    """Append up to two ears to the part that was added last."""
    parent = len(parts) - 1
    for side in (-0.5, 0.4):
        base = (head[0] + side * size, head[1] - 0.6 * size)
        tip = (base[0] + 0.3 * side * size, base[1] - size * rng.uniform(0.3, 0.9))
        outline = limb(base, tip, (0.3 * size, 0.1 * size))
        parts.append(Part(outline, (), parent, base, swing(rng, 0.2)))


def _mirrored(rng: np.random.Generator, parts: list[Part]) -> tuple[Part, ...]:
    """Return the parts as they are or seen from the other side."""
    if rng.random() < 0.5:
        return tuple(parts)
    flip = np.array([-1, 1], np.float32)
    return tuple(
        dataclasses.replace(
            part,
            outline=part.outline * flip,
            holes=tuple(hole * flip for hole in part.holes),
            pivot=(-part.pivot[0], part.pivot[1]),
        )
        for part in parts
    )


def _add_person(
    rng: np.random.Generator, parts: list[Part], parent: int, hips: tuple[float, float], tall: float
) -> None:
    """Append a person whose hips are at a point; ``tall`` is the body's height."""
    lean = rng.normal(0, 0.2)
    chest = (hips[0] + 0.32 * tall * math.sin(lean), hips[1] - 0.32 * tall * math.cos(lean))
    wide = tall * rng.uniform(0.06, 0.1)
    leg, arm = (0.5 * tall, 0.05 * tall), (0.36 * tall, 0.035 * tall)
    _leg(rng, parts, parent, hips, *leg, texture=1, lean=rng.normal(0, 0.4))
    _leg(rng, parts, parent, chest, *arm, lean=rng.normal(0, 0.8), stride=0.9)
    torso = len(parts)
    parts.append(Part(limb(hips, chest, (0.85 * wide, wide)), (), parent, hips, swing(rng, 0.2)))
    _leg(rng, parts, torso, hips, *leg, texture=1, lean=rng.normal(0, 0.4))
    top = (chest[0] + 0.15 * tall * math.sin(lean), chest[1] - 0.17 * tall)
    size = 0.075 * tall
    head = ellipse(top, (size, 1.2 * size))
    parts.append(Part(head, (), torso, chest, swing(rng, 0.2), 2))
    if rng.random() < 0.6:
        cap = ellipse((top[0], top[1] - 0.6 * size), (1.1 * size, 0.7 * size))
        parts.append(Part(cap, (), len(parts) - 1, top, texture=int(rng.integers(2))))
    _leg(rng, parts, torso, chest, *arm, lean=rng.normal(0, 0.8), stride=0.9)


def _person(rng: np.random.Generator) -> Body:
    """A walking, dancing or riding person, sometimes on a board."""
    parts: list[Part] = []
    if rng.random() < 0.25:
        length = rng.uniform(0.3, 0.8)
        board = limb((-length, 0.97), (length, 0.97 + rng.normal(0, 0.08)), (0.05, 0.05))
        parts.append(Part(board, texture=2))
    _add_person(rng, parts, -1, (0.0, 0.05), 1.8)
    wide = np.array([rng.uniform(1.0, 1.6), 1.0], np.float32)
    parts = [
        dataclasses.replace(
            part, outline=part.outline * wide, pivot=(part.pivot[0] * float(wide[0]), part.pivot[1])
        )
        for part in parts
    ]
    return Body("person", _mirrored(rng, parts), upright=True)


def _vehicle(rng: np.random.Generator) -> Body:
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
    return Body("vehicle", _mirrored(rng, parts), upright=True)


def _cycle(rng: np.random.Generator) -> Body:
    """Two wheels on a frame of thin bars, usually with a rider."""
    radius, base = rng.uniform(0.28, 0.42), rng.uniform(0.45, 0.65)
    rear, fore = (-base, 0.5), (base, 0.5)
    saddle, bars = (-0.35 * base, -0.05), (0.75 * base, -0.15)
    pedals = (-0.05, 0.5)
    parts = [Part(ellipse(pedals, (0.06, 0.06)), texture=2)]
    thick = rng.uniform(0.018, 0.05)
    for start, end in (
        (rear, pedals), (rear, saddle), (pedals, saddle), (pedals, bars), (saddle, bars), (fore, bars)
    ):  # fmt: skip
        parts.append(Part(limb(start, end, (thick, thick)), parent=0))
    if rng.random() < 0.5:
        tank = blob(rng, aspect=1.8, roughness=0.1) * rng.uniform(0.12, 0.3)
        parts.append(Part(tank + np.array([0.0, 0.15], np.float32), parent=0, texture=1))
    parts += wheel(rng, rear, radius, 0, 2)
    parts += wheel(rng, fore, radius, 0, 2)
    if rng.random() < 0.75:
        _add_person(rng, parts, 0, saddle, 1.3)
    return Body("cycle", _mirrored(rng, parts), upright=bool(rng.random() < 0.7))


def _bird(rng: np.random.Generator) -> Body:
    """A trunk with a curved neck, a head with a beak, wings and a tail."""
    long, high = rng.uniform(0.5, 0.8), rng.uniform(0.22, 0.4)
    parts: list[Part] = []
    tail = polygon(rng, 4, 1.6) * 0.3 + np.array([-long, -0.05], np.float32)
    parts.append(Part(tail, pivot=(-0.8 * long, 0.0), swing=swing(rng, 0.2)))
    trunk = blob(rng, roughness=0.06, harmonics=4) * np.array([long, high], np.float32)
    parts.append(Part(trunk, fuzz=0.05 if rng.random() < 0.3 else 0.0))
    t = np.linspace(0, 1, 12)
    rise, bulge = rng.uniform(0.2, 0.9), rng.normal(0, 0.25)
    base = (0.75 * long, -0.2 * high)
    x = base[0] + 0.15 * t + bulge * np.sin(2 * math.pi * t) * (1 - 0.4 * t)
    neck = np.stack([x, base[1] - rise * t], axis=1)
    thick = rng.uniform(0.05, 0.13)
    outline = ribbon(neck, thick * (1.6 - 0.9 * t))
    parts.append(Part(outline, (), 1, base, swing(rng, 0.25)))
    top = (float(neck[-1, 0]), float(neck[-1, 1]))
    skull = ellipse((top[0] + 0.05, top[1]), (1.7 * thick, 1.2 * thick))
    parts.append(Part(skull, (), 2, top, swing(rng, 0.25)))
    tip = (top[0] + 0.1 + 3.2 * thick, top[1] + 0.05)
    parts.append(
        Part(limb((top[0] + 0.1, top[1]), tip, (0.7 * thick, 0.02)), (), 3, top, texture=1)
    )
    wing = blob(rng, aspect=2.0, roughness=0.12) * rng.uniform(0.25, 0.55)
    place = np.array([-0.15, -0.1], np.float32)
    flap = swing(rng, float(rng.choice([0.05, 0.8])))
    parts.append(Part(wing + place, (), 1, (0.2, -0.1), flap, int(rng.random() < 0.5)))
    if rng.random() < 0.4:
        for x0 in (-0.05, 0.1):
            _leg(rng, parts, 1, (x0, 0.8 * high), 0.4, 0.03, texture=1)
    return Body("bird", _mirrored(rng, parts), upright=True)


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
    return Body("band", _mirrored(rng, parts))


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


def _horse(rng: np.random.Generator) -> Body:
    """The outline of scikit-image's horse picture, stretched."""
    stretch = np.exp(rng.normal(0, 0.12, 2)).astype(np.float32)
    outer, *holes = (line * stretch for line in horse_outline())
    parts = [Part(outer, holes=tuple(holes))]
    if rng.random() < 0.4:
        _add_person(rng, parts, 0, (-0.05, -0.42), 1.1)
    return Body("quadruped", _mirrored(rng, parts), upright=True)


_FAMILIES: tuple[tuple[float, Callable[[np.random.Generator], Body]], ...] = (
    (0.24, _blob_body),
    (0.14, _cluster),
    (0.13, _quadruped),
    (0.13, _person),
    (0.12, _vehicle),
    (0.08, _cycle),
    (0.08, _bird),
    (0.03, _eel),
    (0.02, _bush),
    (0.03, _horse),
)

CLASS_NAMES: tuple[str, ...] = (
    "blob", "cluster", "quadruped", "person", "vehicle", "cycle", "bird", "band", "bush",
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
