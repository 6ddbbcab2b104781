"""The recorded evaluation: AP of images and videos, MOT and MOTS. The metrics are shared."""

from __future__ import annotations

from vatrack.parity_kit import Kit
from vidseg_common.parity.evaluation import check
from vidseg_common.parity_kit import Case, Comparison


def run_evaluation(case: Case, kit: Kit) -> list[Comparison]:
    """Every recorded table and curve of the synthetic ground truth and predictions."""
    return [Comparison(*compared) for compared in check(kit.folder, dict(case))]
