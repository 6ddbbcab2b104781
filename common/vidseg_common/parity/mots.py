"""The sMOTSA family, HOTA, CLEAR, Identity, files that must be refused. Source: spec common 6."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vidseg_common.datasets.mots_files import (
    MotsObject,
    format_txt,
    read_seqmap,
    read_sequence,
    write_id_map,
)
from vidseg_common.errors import UserError
from vidseg_common.metrics import hota, mots
from vidseg_common.parity.records import (
    Check,
    expected_path,
    input_path,
    near,
    read_arrays,
    read_json,
    same,
)

_ALL = {"COMBINED_SEQ": hota.COMBINED}


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares every recorded number, both kinds of tables, the text form and the refusals."""
    record = read_json(expected_path(kit, case))
    seqmap = input_path(kit, case, ".seqmap")
    truth, predictions = _folders(kit, case)
    sequences = read_seqmap(seqmap)
    if "mots_tools" in record:
        result = mots.evaluate_files(predictions, truth, sequences)
        yield from _mots_tool(case, result, record["mots_tools"])
    if "trackeval" in record:
        scores = hota.evaluate_files(predictions, truth, sequences, compat=True)
        yield from _tracking_tool(case, scores, record["trackeval"])
        files = scores.files()
        for name, text in record.get("trackeval_summary_files", {}).items():
            yield same(name, files.get(name), text)
    for name in record.get("bad_files", {}):
        yield _refusal(name, truth / f"{sequences[0][0]}.txt", sequences[0][1])
    if "txt_of_idmaps" in record:
        arrays = read_arrays(input_path(kit, case, ".npz"))
        yield same("text of id maps", _text_of(arrays["idmaps"]), record["txt_of_idmaps"])


def _folders(kit: Path, case: Mapping[str, Any]) -> tuple[Path, Path]:
    """The folders of ground truth and predictions, which the case names in this order."""
    folders = [kit / str(name) for name in case["inputs"] if (kit / str(name)).is_dir()]
    if len(folders) != 2:
        raise UserError(f"case {case['name']}: two folders of sequences expected in {kit}")
    return folders[0], folders[1]


def _mots_tool(
    case: Mapping[str, Any], result: mots.MotsResult, want: Mapping[str, Any]
) -> Iterator[Check]:
    tables = dict(zip(result.counts, result.table().split("\n\n"), strict=True))
    for name, rows in want.items():
        parts = {"all": result.total(name), **result.counts[name]}
        for sequence, numbers in rows.items():
            if sequence == "printed":
                yield same(f"{name}: table", tables[name].splitlines()[1:], numbers)
                continue
            ours = parts[sequence].numbers()
            for key, value in numbers.items():
                yield near(case, f"{name} {sequence}: {key}", ours[key], value)


def _tracking_tool(
    case: Mapping[str, Any], scores: hota.HotaResult, want: Mapping[str, Any]
) -> Iterator[Check]:
    for sequence, classes in want.items():
        for name, families in classes.items():
            ours = scores.rows(name)[_ALL.get(sequence, sequence)]
            for family, numbers in families.items():
                for key, value in numbers.items():
                    label = f"{name} {sequence}: {family} {key}"
                    yield near(case, label, _plain(ours[family][key]), value)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _refusal(name: str, sequence: Path, last_frame: int) -> Check:
    """A file with its first line spoilt, which must be refused with its name and line."""
    first, *rest = sequence.read_text(encoding="ascii").splitlines()
    frame, track, class_id, *shape = first.split()
    spoilt = {
        "duplicate_id": [first, first],
        "overlapping_masks": [first, " ".join([frame, "1002", class_id, *shape])],
        "unknown_class": [" ".join([frame, track, "3", *shape])],
        "frame_out_of_range": [" ".join(["99", track, class_id, *shape])],
        "truncated_line": [" ".join([frame, track, class_id, shape[0]])],
    }
    label = f"{name} is refused"
    if name not in spoilt:
        return label, math.inf, 0.0
    with TemporaryDirectory(prefix="vidseg-parity-") as folder:
        path = Path(folder) / sequence.name
        path.write_text("\n".join([*spoilt[name], *rest]) + "\n", encoding="ascii")
        try:
            read_sequence(path, num_frames=last_frame + 1)
        except UserError as error:
            return label, 0.0 if f"{path}: line " in str(error) else math.inf, 0.0
    return label, math.inf, 0.0


def _text_of(id_maps: np.ndarray) -> list[str]:
    """Lines of the text form of id maps that were written as 16-bit PNGs."""
    with TemporaryDirectory(prefix="vidseg-parity-") as folder:
        for t, id_map in enumerate(id_maps):
            write_id_map(Path(folder) / f"{t:06d}.png", id_map)
        objects: list[MotsObject] = read_sequence(folder, num_frames=len(id_maps))
    return format_txt(objects).splitlines()
