"""Corner cases of track AP one at a time, and what is wanted where the official tool is wrong.

Source: spec common sections 5.1 to 5.4 and 8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vidseg_common.datasets import youtube_vis
from vidseg_common.errors import UserError
from vidseg_common.files import write_json
from vidseg_common.metrics.ap_result import APResult
from vidseg_common.metrics.video_ap import Benchmark, evaluate
from vidseg_common.parity.records import Check, expected_path, input_path, near, read_json, same

_SAME_AS = re.compile(r"same as (\w+)")


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares numbers, or that an error is raised and names what is to blame."""
    inputs = read_json(input_path(kit, case, ".json"))
    record = read_json(expected_path(kit, case))["small"]
    for name, want in record.items():
        wanted = str(want.get("wanted", ""))
        other = _SAME_AS.match(wanted)
        if wanted.startswith("an error"):
            yield f"{name}: is an error", _refusal(inputs[name], wanted), 0.0
        elif wanted.startswith("AP 0"):
            yield from _all_zero(name, inputs[name])
        elif other or not wanted:
            yield from _numbers(case, name, inputs[name], record[other[1]] if other else want)
        else:
            yield f"{name}: unknown wish {wanted!r}", math.inf, 0.0


def _evaluate(content: Mapping[str, Any], benchmark: Benchmark = "ytvis") -> APResult:
    with TemporaryDirectory(prefix="vidseg-parity-") as folder:
        gt, pred = Path(folder) / "gt.json", Path(folder) / "pred.json"
        write_json(gt, content["gt"])
        write_json(pred, content["pred"])
        truth = youtube_vis.read(gt)
        return evaluate(truth, youtube_vis.read_results(pred, truth), benchmark=benchmark)


def _numbers(
    case: Mapping[str, Any], name: str, content: Mapping[str, Any], want: Mapping[str, Any]
) -> Iterator[Check]:
    result = _evaluate(content)
    yield near(case, f"{name}: summary", list(result.numbers.values()), want["stats"])
    by_class = [row["AP"] for row in result.per_class()]
    yield near(case, f"{name}: AP per category", by_class, want["ap_per_category"])
    if "ovis_stats0" in want:
        ovis = _evaluate(content, "ovis").numbers["AP"]
        yield near(case, f"{name}: AP of OVIS", ovis, want["ovis_stats0"])


def _all_zero(name: str, content: Mapping[str, Any]) -> Iterator[Check]:
    rows = _evaluate(content).per_class()
    ours = [row["AP"] for row in rows]
    yield same(f"{name}: AP", ours, [0.0 if row["ground_truth"] else -1.0 for row in rows])


def _refusal(content: Mapping[str, Any], wanted: str) -> float:
    """0 where an error is raised that has the number of what is to blame in it."""
    blamed: list[int] = []
    if "video" in wanted:
        blamed = [prediction["video_id"] for prediction in content["pred"]]
    elif "names the id" in wanted:
        blamed = [annotation["id"] for annotation in content["gt"]["annotations"]]
    try:
        _evaluate(content)
    except UserError as error:
        is_named = any(re.search(rf"\b{number}\b", str(error)) for number in blamed)
        return 0.0 if is_named or not blamed else math.inf
    return math.inf
