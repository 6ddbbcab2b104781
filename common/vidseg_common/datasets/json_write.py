"""Writes large JSON files item by item, in memory for one item; the file appears when complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from vidseg_common.files import atomic_path


def write_list(path: str | Path, items: Iterable[Any]) -> None:
    """Writes a file that is a list, one item a line.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        _write_items(handle, items)
        handle.write("\n")


def write_object(path: str | Path, parts: Mapping[str, Any]) -> None:
    """Writes a file that is an object; values that are iterators become lists, item by item.

    Args:
        path: final name of the file.
        parts: keys and values in the order of the file. An iterator is used up when its turn
            comes, so that a later value may depend on an earlier one if it is an iterator too.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        before = "{\n"
        for key, value in parts.items():
            handle.write(f"{before}{json.dumps(key)}: ")
            before = ",\n"
            if hasattr(value, "__next__"):
                _write_items(handle, value)
            else:
                handle.write(_text(value))
        handle.write("\n}\n" if parts else "{}\n")


def _write_items(handle: IO[str], items: Iterable[Any]) -> None:
    before = "["
    for item in items:
        handle.write(f"{before}\n{_text(item)}")
        before = ","
    handle.write("[]" if before == "[" else "\n]")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
