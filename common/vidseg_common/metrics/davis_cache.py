"""Results that are shown again instead of computed, as long as nothing they depend on changed.

The official tool shows its CSV files again whatever happened since. Here a cache file says which
question it answers and of which files, so that tasks, sets and new results never mix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidseg_common.files import write_json
from vidseg_common.metrics.jf_result import JFResult

_FORMAT = 1


def question_of(
    gt_root: Path, results_root: Path, sequences: Sequence[str], settings: Mapping[str, object]
) -> dict[str, Any]:
    """What a result depends on, ready for JSON.

    Args:
        gt_root: annotations, `SEQUENCE/*.png`.
        results_root: predictions of the same names.
        sequences: which sequences.
        settings: everything else that changes the numbers.
    """
    digest = hashlib.sha256()
    for root in (gt_root, results_root):
        for sequence in sequences:
            for path in sorted((root / sequence).glob("*.png")):
                status = path.stat()
                line = f"{sequence}/{path.name} {status.st_size} {status.st_mtime_ns}\n"
                digest.update(line.encode())
    return {
        "format": _FORMAT,
        "annotations": str(gt_root.resolve()),
        "results": str(results_root.resolve()),
        "sequences": list(sequences),
        "settings": dict(settings),
        "files_sha256": digest.hexdigest(),
    }


def cache_path(folder: Path, set_name: str, task: str) -> Path:
    """Name of the cache file of a set and task in the folder of the CSV files."""
    return folder / f"results-{set_name}-{task}.cache.json"


def read_cache(path: Path, question: Mapping[str, Any]) -> JFResult | None:
    """The result in a cache file; None where there is none or it answers another question."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return JFResult.from_json(content["result"]) if content["question"] == question else None
    except (OSError, ValueError, KeyError, TypeError):
        # Missing, cut off or of an older version: then it is computed.
        return None


def write_cache(path: Path, question: Mapping[str, Any], result: JFResult) -> None:
    """Writes a result with its question.

    Raises:
        OSError: the file cannot be written.
    """
    write_json(path, {"question": question, "result": result.to_json()}, indent=None)
