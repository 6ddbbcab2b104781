"""Reads the lists of a large JSON file one item at a time, in memory for one item.

Python's own decoder is run over a window that moves along the file, so that every value is what
`json.load` would give (floats, NaN and Infinity included) and an error names its line.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from tqdm import tqdm

from vidseg_common.errors import DatasetError

__all__ = ["ROOT", "JsonEntry", "iter_entries", "iter_items"]

ROOT = ""
"""The key that stands for the file itself where it holds a list instead of an object."""

_CHUNK = 1 << 20
# Longer than any number, literal or escape: an error or a number this close to the end of the
# window may only be one because the rest is not read yet.
_MARGIN = 64
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class JsonEntry(NamedTuple):
    """One item of a list, or a value that is no list.

    Attributes:
        key: the key at the top of the file, `ROOT` for a file that is a list.
        position: place in the list, from 0; None when `value` is the whole of `key`: anything
            but a list, or the list without items.
        value: the item or the value.
    """

    key: str
    position: int | None
    value: Any


def iter_items(
    path: str | Path, keys: Sequence[str], *, progress: bool = False
) -> Iterator[tuple[str, Any]]:
    """Yields (key, item) for every item of the lists and (key, value) for other values.

    Args:
        path: a file with an object at the top, or with a list where `keys` has `ROOT`.
        keys: the keys wanted; those absent from the file yield nothing, others are skipped.
        progress: show a bar by bytes on stderr.

    Raises:
        DatasetError: as `iter_entries`.
    """
    for entry in iter_entries(path, keys, progress=progress):
        if entry.position is not None or entry.value != []:
            yield entry.key, entry.value


def iter_entries(
    source: str | Path | BinaryIO,
    keys: Sequence[str],
    *,
    progress: bool = False,
    name: str | None = None,
) -> Iterator[JsonEntry]:
    """Yields what the wanted keys hold, in the order of the file, in a single pass.

    Args:
        source: the file, or one that is open for reading bytes (such as a member of a zip).
        keys: the keys wanted, among them `ROOT` where the file may be a list.
        progress: show a bar by bytes on stderr.
        name: how messages call an open file.

    Raises:
        DatasetError: the file is missing, not UTF-8, cut off, malformed, neither an object nor a
            wanted list, or has a wanted key twice. The message names line and column.
    """
    if not isinstance(source, (str, Path)):
        yield from _entries(source, name or "JSON", None, keys, progress)
        return
    path = Path(source)
    try:
        handle = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise DatasetError(f"JSON file not found: {path}") from None
    with handle:
        size = os.fstat(handle.fileno()).st_size
        yield from _entries(handle, name or str(path), size, keys, progress)


def _entries(
    handle: BinaryIO, name: str, size: int | None, keys: Sequence[str], progress: bool
) -> Iterator[JsonEntry]:
    bar_name = Path(name).name
    with tqdm(
        total=size, desc=bar_name, unit="B", unit_scale=True, disable=not progress, leave=False
    ) as bar:
        window = _Window(handle, name, bar)
        first = window.peek()
        if first == "[" and ROOT in keys:
            yield from _list_entries(window, ROOT)
        elif first == "{" and set(keys) != {ROOT}:
            yield from _object_entries(window, frozenset(keys))
        else:
            wanted = "a list" if set(keys) == {ROOT} else "an object {...}"
            window.fail(f"expected {wanted} at the top of the file")
        if window.peek():
            window.fail("text after the end of the JSON value")


def _object_entries(window: _Window, wanted: Container[str]) -> Iterator[JsonEntry]:
    window.take("{")
    seen: set[str] = set()
    if window.peek() == "}":
        window.take("}")
        return
    while True:
        if window.peek() != '"':
            window.fail('expected a key in double quotes, or "}"')
        key = window.value("a key")
        window.take(":")
        if key in wanted and key in seen:
            window.fail(f"the key {key!r} occurs twice")
        seen.add(key)
        # Lists that nobody asked for are walked as well: they may be the largest part.
        is_list = window.peek() == "["
        entries = _list_entries(window, key) if is_list else _whole_value(window, key)
        for entry in entries:
            if key in wanted:
                yield entry
        if not window.comma_or("}"):
            return


def _whole_value(window: _Window, key: str) -> Iterator[JsonEntry]:
    yield JsonEntry(key, None, window.value(f"the value of {key!r}"))


def _list_entries(window: _Window, key: str) -> Iterator[JsonEntry]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        yield JsonEntry(key, None, [])
        return
    index = 0
    while True:
        where = f"item {index + 1} of {key!r}" if key else f"item {index + 1}"
        yield JsonEntry(key, index, window.value(where))
        index += 1
        if not window.comma_or("]"):
            return


class _Window:
    """The part of the file that is in memory, and the place reached in it.

    Args:
        handle: the file.
        name: its name, for messages.
        bar: told of every byte read.
    """

    def __init__(self, handle: BinaryIO, name: str, bar: tqdm[Any]) -> None:
        self._handle = handle
        self._name = name
        self._bar = bar
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._pos = 0
        self._at_end = False
        self._line = 1
        self._column = 1

    def peek(self) -> str:
        """Moves to the next character that is no white space; "" at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._pos)
            assert match is not None, "the pattern matches nothing at all, too"
            self._pos = match.end()
            if self._pos < len(self._text):
                return self._text[self._pos]
            if self._at_end:
                return ""
            self._read_on()

    def take(self, character: str) -> None:
        """Steps over a character that has to come next."""
        if self.peek() != character:
            self.fail(f'expected "{character}"')
        self._pos += 1

    def comma_or(self, closing: str) -> bool:
        """Steps over "," (True) or the closing bracket (False)."""
        found = self.peek()
        if found not in (",", closing) or not found:
            self.fail(f'expected "," or "{closing}"')
        self._pos += 1
        return found == ","

    def value(self, what: str) -> Any:
        """Decodes the value that comes next, reading on until all of it is in the window."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._pos)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error):
                    self._read_on()
                    continue
                self.fail(f"{what}: {error.msg}", error.pos)
            except (RecursionError, ValueError) as error:
                self.fail(f"{what}: {error}")
            if isinstance(value, (int, float)) and self._is_near_end(end) and not self._at_end:
                self._read_on()
                continue
            self._pos = end
            return value

    def fail(self, message: str, pos: int | None = None) -> NoReturn:
        """Raises the error that names the place: here, or a position of the window."""
        end = self._pos if pos is None else pos
        line, column = self._place(end)
        is_open = "Unterminated" in message or not self._text[end:].strip()
        if self._at_end and is_open:
            message += " (the file is cut off here)"
        raise DatasetError(f"{self._name}: line {line}, column {column}: {message}")

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        if self._at_end:
            return False
        return error.msg.startswith("Unterminated string") or self._is_near_end(error.pos)

    def _is_near_end(self, pos: int) -> bool:
        return pos >= len(self._text) - _MARGIN

    def _place(self, end: int) -> tuple[int, int]:
        """Line and column of a position of the window, from 1."""
        lines = self._text.count("\n", 0, end)
        if not lines:
            return self._line, self._column + end
        return self._line + lines, end - self._text.rfind("\n", 0, end)

    def _read_on(self) -> None:
        """Drops what lies behind and reads as much again as is left, so that retries stay few."""
        self._line, self._column = self._place(self._pos)
        rest = self._text[self._pos :]
        data = self._handle.read(max(_CHUNK, len(rest)))
        self._bar.update(len(data))
        self._at_end = not data
        try:
            self._text = rest + self._decoder.decode(data, final=self._at_end)
        except UnicodeDecodeError:
            raise DatasetError(f"{self._name}: not a JSON file in UTF-8") from None
        self._pos = 0
