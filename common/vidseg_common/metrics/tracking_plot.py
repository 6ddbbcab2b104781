"""Picture of HOTA and its parts over the overlap thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidseg_common.files import atomic_path
from vidseg_common.metrics.hota import TrackScores
from vidseg_common.metrics.hota_scores import ALPHAS

_CURVES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")


def write_plot(path: Path, scores: TrackScores, title: str) -> None:
    """Draws the curves of one class as PNG.

    Args:
        path: name of the picture.
        scores: scores over all sequences.
        title: what stands above.

    Raises:
        OSError: the file cannot be written.
    """
    # Only this picture needs matplotlib, whose import takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    curves = scores.hota.curves()
    for name in _CURVES:
        width = 2.5 if name == "HOTA" else 1.2
        label = f"{name} ({100 * float(np.mean(curves[name])):.1f})"
        axes.plot(ALPHAS, curves[name], label=label, linewidth=width)
    axes.set(xlabel="overlap threshold", ylabel="score", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
