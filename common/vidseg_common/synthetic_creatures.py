"""Bodies with legs: people, four-legged animals and birds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vidseg_common.synthetic_photos import horse_outline
from vidseg_common.synthetic_shapes import Body, Part, blob, ellipse, limb, polygon, ribbon, swing

NUM_TEXTURES = 3
"""How many textures a body's parts choose from."""


def add_leg(
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


def make_quadruped(rng: np.random.Generator) -> Body:
    """A trunk with four legs, neck, head, ears and tail."""
    long, high = rng.uniform(0.5, 0.75), rng.uniform(0.18, 0.34)
    legs, width = rng.uniform(0.35, 0.75), rng.uniform(0.05, 0.11)
    fuzz = 0.05 if rng.random() < 0.4 else 0.0
    parts: list[Part] = []
    for x in (-0.75, 0.75):
        add_leg(rng, parts, -1, (x * long, 0.4 * high), legs, width)
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
        add_leg(rng, parts, trunk, (x * long, 0.4 * high), legs, width)
    neck_base, rise = (0.8 * long, -0.3 * high), rng.uniform(0.05, 0.6)
    head_at = (neck_base[0] + rng.uniform(0.1, 0.35), neck_base[1] - rise)
    neck = limb(neck_base, head_at, (0.6 * high, 0.35 * high))
    parts.append(Part(neck, (), trunk, neck_base, swing(rng, 0.3), fuzz=fuzz))
    size = rng.uniform(0.13, 0.24)
    head = ellipse((head_at[0] + 0.08, head_at[1]), (1.3 * size, 0.9 * size), rng.normal(0, 0.4))
    texture = int(rng.random() < 0.3)
    parts.append(Part(head, (), len(parts) - 1, head_at, swing(rng, 0.3), texture, fuzz=fuzz))
    _attach_ears(rng, parts, head_at, size)
    return Body("quadruped", mirrored(rng, parts), upright=True)


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


def mirrored(rng: np.random.Generator, parts: list[Part]) -> tuple[Part, ...]:
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


def add_person(
    rng: np.random.Generator, parts: list[Part], parent: int, hips: tuple[float, float], tall: float
) -> None:
    """Append a person whose hips are at a point; ``tall`` is the body's height."""
    lean = rng.normal(0, 0.2)
    chest = (hips[0] + 0.32 * tall * math.sin(lean), hips[1] - 0.32 * tall * math.cos(lean))
    wide = tall * rng.uniform(0.06, 0.1)
    leg, arm = (0.5 * tall, 0.05 * tall), (0.36 * tall, 0.035 * tall)
    add_leg(rng, parts, parent, hips, *leg, texture=1, lean=rng.normal(0, 0.4))
    add_leg(rng, parts, parent, chest, *arm, lean=rng.normal(0, 0.8), stride=0.9)
    torso = len(parts)
    parts.append(Part(limb(hips, chest, (0.85 * wide, wide)), (), parent, hips, swing(rng, 0.2)))
    add_leg(rng, parts, torso, hips, *leg, texture=1, lean=rng.normal(0, 0.4))
    top = (chest[0] + 0.15 * tall * math.sin(lean), chest[1] - 0.17 * tall)
    size = 0.075 * tall
    head = ellipse(top, (size, 1.2 * size))
    parts.append(Part(head, (), torso, chest, swing(rng, 0.2), 2))
    if rng.random() < 0.6:
        cap = ellipse((top[0], top[1] - 0.6 * size), (1.1 * size, 0.7 * size))
        parts.append(Part(cap, (), len(parts) - 1, top, texture=int(rng.integers(2))))
    add_leg(rng, parts, torso, chest, *arm, lean=rng.normal(0, 0.8), stride=0.9)


def make_person(rng: np.random.Generator) -> Body:
    """A walking, dancing or riding person, sometimes on a board."""
    parts: list[Part] = []
    if rng.random() < 0.25:
        length = rng.uniform(0.3, 0.8)
        board = limb((-length, 0.97), (length, 0.97 + rng.normal(0, 0.08)), (0.05, 0.05))
        parts.append(Part(board, texture=2))
    add_person(rng, parts, -1, (0.0, 0.05), 1.8)
    wide = np.array([rng.uniform(1.0, 1.6), 1.0], np.float32)
    parts = [
        dataclasses.replace(
            part, outline=part.outline * wide, pivot=(part.pivot[0] * float(wide[0]), part.pivot[1])
        )
        for part in parts
    ]
    return Body("person", mirrored(rng, parts), upright=True)


def make_bird(rng: np.random.Generator) -> Body:
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
            add_leg(rng, parts, 1, (x0, 0.8 * high), 0.4, 0.03, texture=1)
    return Body("bird", mirrored(rng, parts), upright=True)


def make_horse(rng: np.random.Generator) -> Body:
    """The outline of scikit-image's horse picture, stretched."""
    stretch = np.exp(rng.normal(0, 0.12, 2)).astype(np.float32)
    outer, *holes = (line * stretch for line in horse_outline())
    parts = [Part(outer, holes=tuple(holes))]
    if rng.random() < 0.4:
        add_person(rng, parts, 0, (-0.05, -0.42), 1.1)
    return Body("quadruped", mirrored(rng, parts), upright=True)
