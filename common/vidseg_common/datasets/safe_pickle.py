"""Reads pickles of plain Python values and NumPy arrays, and nothing that could run code."""

from __future__ import annotations

import _codecs
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.errors import DatasetError

__all__ = ["load_pickle"]

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Bytes in pickles of protocol 2 and below.
    ("_codecs", "encode"): _codecs.encode,
}
# NumPy 2 renamed its inner package; files of either name are read with what this NumPy has.
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[_package + ".multiarray", "_reconstruct"] = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    _ALLOWED[_package + ".multiarray", "scalar"] = np._core.multiarray.scalar  # type: ignore[attr-defined]
    _ALLOWED[_package + ".numeric", "_frombuffer"] = np._core.numeric._frombuffer  # type: ignore[attr-defined]


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load_pickle(path: str | Path) -> Any:
    """Loads a pickle that holds only plain values and arrays.

    Args:
        path: the file.

    Raises:
        DatasetError: missing, damaged, or asking for anything else; the message names it.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            return _PlainUnpickler(handle).load()
    except (FileNotFoundError, IsADirectoryError):
        raise DatasetError(f"results file not found: {path}") from None
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise errors of every kind
        raise DatasetError(f"{path}: not a pickle of plain values and arrays: {error}") from error
