"""Reading of recorded cases, and how what we compute is compared with them.

Expected files write NaN as null and infinities as "inf" and "-inf". Source: spec common section 9.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import UserError
from vidseg_common.masks import write_mask

Check = tuple[str, float, float]
"""What was compared, its largest error, and the error that is allowed."""

DEFAULT_TOLERANCE = 1e-9
_FILE_NAME = re.compile(r"[\w./-]+\.\w+")


class CaseSkipped(Exception):  # noqa: N818  # nothing went wrong: the inputs are not on this machine
    """A case whose inputs are too large for the kit and are not here; the text says which."""


def tolerance_of(case: Mapping[str, Any]) -> float:
    """Largest absolute error that a case allows."""
    return float(case.get("tolerance_abs", DEFAULT_TOLERANCE))


def input_path(kit: Path, case: Mapping[str, Any], suffix: str) -> Path:
    """The first input of a case whose name ends in `suffix`.

    Raises:
        UserError: the case names no such input, or the kit does not have it.
    """
    return _find(kit, [str(name) for name in case.get("inputs", [])], suffix, case)


def expected_path(kit: Path, case: Mapping[str, Any], suffix: str = ".json") -> Path:
    """The first file ending in `suffix` in the text of a case that says what is expected.

    Raises:
        UserError: the case names no such file, or the kit does not have it.
    """
    names = _FILE_NAME.findall(str(case.get("expected", "")))
    return _find(kit, names, suffix, case)


def _find(kit: Path, names: list[str], suffix: str, case: Mapping[str, Any]) -> Path:
    found = [kit / name for name in names if name.endswith(suffix)]
    if not found:
        raise UserError(f"case {case.get('name')}: names no file that ends in {suffix}: {names}")
    if not found[0].is_file():
        raise UserError(f"case {case.get('name')}: the kit has no file {found[0]}")
    return found[0]


def read_json(path: Path) -> Any:
    """Reads a JSON file of a kit.

    Raises:
        UserError: not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file ({error})") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a .npz file of a kit."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def recorded(values: Any) -> NDArray[np.float64]:
    """Recorded numbers, nested as they are: null becomes NaN, "inf" and "-inf" infinities."""
    if isinstance(values, (list, tuple)):
        return np.array([recorded(value) for value in values], np.float64)
    return np.asarray(math.nan if values is None else values, np.float64)


def difference(got: Any, want: Any) -> float:
    """Largest absolute difference; infinite where shapes differ or only one value is finite.

    Args:
        got: number or nested numbers of ours.
        want: recorded ones, in the form of the files.
    """
    ours, theirs = recorded(got), recorded(want)
    if ours.shape != theirs.shape:
        return math.inf
    equal = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        errors = np.where(equal, 0.0, np.abs(ours - theirs))
    return float(np.where(np.isnan(errors), math.inf, errors).max(initial=0.0))


def near(case: Mapping[str, Any], label: str, got: Any, want: Any) -> Check:
    """Compares numbers within the tolerance of the case."""
    return label, difference(got, want), tolerance_of(case)


def same(label: str, got: object, want: object) -> Check:
    """Compares what must be equal, such as texts, names and whole numbers."""
    return label, 0.0 if got == want else math.inf, 0.0


@contextmanager
def mask_folders(arrays: Mapping[str, NDArray[Any]], *, step: int = 1) -> Iterator[Path]:
    """Writes id maps as folders of palette PNGs that exist within the context.

    Args:
        arrays: "NAME.KIND" to (T, H, W) id maps; other arrays are left out.
        step: distance of the frame numbers in the file names.

    Yields:
        A folder with `KIND/NAME/NNNNN.png`.
    """
    with TemporaryDirectory(prefix="vidseg-parity-") as folder:
        for key, masks in arrays.items():
            name, _, kind = key.rpartition(".")
            for t, mask in enumerate(masks if masks.ndim == 3 else ()):
                write_mask(Path(folder) / kind / name / f"{step * t:05d}.png", mask)
        yield Path(folder)
