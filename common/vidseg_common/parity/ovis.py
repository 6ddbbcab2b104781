"""Average precision of tracks on OVIS, with levels of occlusion. Source: spec common 5.4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg_common.metrics.video_ap import evaluate, occlusion_score
from vidseg_common.parity.records import Check, expected_path, near, read_arrays, read_json
from vidseg_common.parity.ytvis import read_inputs, summary_checks


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares the summary, its text, the curves and the occlusion of every annotation."""
    want = read_json(expected_path(kit, case))["ovis"]
    arrays = read_arrays(expected_path(kit, case, ".npz"))
    truth, predictions = read_inputs(kit, case)
    result = evaluate(truth, predictions, benchmark="ovis")
    yield from summary_checks(case, result, want)
    # Of the precision only area "all" and the largest limit are recorded.
    yield near(case, "precision", result.precision[:, :, :, 0, :, -1], arrays["ovis.precision"])
    yield near(case, "recall", result.recall, arrays["ovis.recall"])
    ours = {
        str(track.id): occlusion_score(track.occlusion or [])
        for clip in truth.clips()
        for track in clip.tracks
    }
    for number, score in want["occlusion_score"].items():
        yield near(case, f"occlusion of annotation {number}", ours.get(number), score)
