"""The training curve as a plain SVG, the same bytes from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

WIDTH, PANEL, LEFT, TOP, GAP = 720, 170, 64, 34, 62
RIGHT = 24
LOSS, IOU = "#b3402a", "#1f6f8b"
TICKS = 4

Points = list[tuple[float, float]]


def curve_svg(log: Sequence[dict[str, Any]]) -> str:
    """Loss and training IoU over iterations, and where the learning rate falls.

    Args:
        log: rows with "step" and the scalars "train/...", in order.
    """
    last = log[-1]["step"]
    loss = [(row["step"], row["train/total_loss"]) for row in log]
    iou = [(row["step"], row["train/iou"]) for row in log]
    drops = [now["step"] for before, now in pairwise(log) if now["train/lr"] < before["train/lr"]]
    height = TOP + 2 * PANEL + GAP + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_panel(TOP, "loss (sum of two frames, hardest pixels only later)", loss, LOSS, last, 1.6),
        *_panel(TOP + PANEL + GAP, "IoU on training samples", iou, IOU, last, 1.0),
    ]
    for step in drops:
        x = _x(step, last)
        bottom = TOP + 2 * PANEL + GAP
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#999999" '
            'stroke-dasharray="4 4"/>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{height - 8}" text-anchor="end" fill="#555555">'
        "iteration; dashed: the learning rate falls</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(step: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def _panel(
    top: float, title: str, points: Points, color: str, last: float, high: float
) -> list[str]:
    """Axes, grid, title and one line."""
    width, parts = WIDTH - LEFT - RIGHT, []
    parts.append(
        f'<text x="{LEFT}" y="{top - 10}" font-weight="bold" fill="#222222">{title}</text>'
    )
    for i in range(TICKS + 1):
        y, x = top + PANEL * i / TICKS, LEFT + width * i / TICKS
        value, step = high * (1 - i / TICKS), last * i / TICKS
        parts += [
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e2e2e2"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">'
            f"{value:.2f}</text>",
            f'<text x="{x:.1f}" y="{top + PANEL + 18}" text-anchor="middle" fill="#555555">'
            f"{step:.0f}</text>",
        ]
    line = " ".join(
        f"{_x(step, last):.1f},{top + PANEL * (1 - min(value, high) / high):.1f}"
        for step, value in points
    )
    return [*parts, f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>']
