"""Reads configuration files written in Python without running them (spec 5, ecosystem of mmcv).

A file is a list of assignments. A value is a literal, a call of `dict`, `list` or `tuple`, a name
assigned earlier in the same file, or a sum or product of those; everything else is refused with
its file and line. `_base_` names files that a file builds upon: mappings are merged key by key,
anything else is replaced, and a mapping with `_delete_=True` replaces the whole one below it.
"""

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import ConfigError

BASE, DELETE = "_base_", "_delete_"
#: Largest file, and longest list or text that a sum or product may make.
MAX_BYTES, MAX_LENGTH = 1 << 20, 10_000
#: Most values that names of a file may copy, and most bits of a whole number.
MAX_COPIES, MAX_BITS = 100_000, 1024
_CALLS = ("dict", "list", "tuple")
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class Section(dict[str, Any]):
    """A mapping of a configuration that knows where its keys were written.

    Attributes:
        places: key to "file:line".
    """

    def __init__(self, values: Mapping[str, Any] | None = None, place: str = "") -> None:
        super().__init__(values or {})
        self.place = place
        self.places: dict[str, str] = {}

    def put(self, key: str, value: Any, place: str) -> None:
        """Sets a value that was written at a place."""
        self[key] = value
        self.places[key] = place

    def where(self, key: str) -> str:
        """Where a key was written, else where the mapping was."""
        return self.places.get(key, self.place)

    def __deepcopy__(self, memo: dict[int, Any]) -> Section:
        made = Section({key: copy.deepcopy(value, memo) for key, value in self.items()}, self.place)
        made.places = dict(self.places)
        return made


@dataclass(frozen=True)
class Source:
    """What one file says, its bases merged in.

    Attributes:
        values: the assignments.
        used: names that other assignments refer to, here or in a base.
    """

    values: Section
    used: frozenset[str]


def read_python(path: Path) -> Source:
    """Reads a file and those it builds upon.

    Raises:
        ConfigError: a missing file, a cycle of files, or anything but plain values; the message
            names file and line.
    """
    return _read(path, ())


def _read(path: Path, chain: tuple[Path, ...]) -> Source:
    if path.resolve() in chain:
        raise ConfigError(f"{path}: builds upon itself through {BASE}")
    own = _FileReader(path, _source_of(path)).run()
    bases = own.values.pop(BASE, [])
    place = own.values.where(BASE)
    merged, used = Section(place=str(path)), own.used
    for name in [bases] if isinstance(bases, str) else bases:
        if not isinstance(name, str):
            raise ConfigError(f"{place}: {BASE} expects names of files, got {name!r}")
        below = _read(_base_path(path, name, place), (*chain, path.resolve()))
        twice = sorted(merged.keys() & below.values.keys())
        if twice:
            raise ConfigError(f"{place}: {twice[0]!r} is in more than one of the files of {BASE}")
        merge(below.values, merged)
        used |= below.used
    merge(own.values, merged)
    return Source(merged, used)


def _base_path(path: Path, name: str, place: str) -> Path:
    base = path.parent / name
    if not base.is_file():
        near = did_you_mean(base.name, [p.name for p in base.parent.glob("*.py")])
        raise ConfigError(f"{place}: {BASE} names {name!r}, but there is no file {base}{near}")
    return base


def _source_of(path: Path) -> str:
    if path.suffix != ".py":
        raise ConfigError(f"{path}: expected a configuration in Python, *.py")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: {len(data)} bytes is no configuration; at most {MAX_BYTES}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file") from None


def merge(new: Section, into: Section) -> None:
    """Merges a mapping over another one, in place.

    Raises:
        ConfigError: a mapping would be merged into something else than a mapping.
    """
    for key, value in new.items():
        if key == DELETE:
            continue
        if isinstance(value, Section):
            value = copy.deepcopy(value)
            replaces = value.pop(DELETE, False)
            below = into.get(key)
            if isinstance(below, Section) and not replaces:
                merge(value, below)
                continue
            if below is not None and not replaces:
                raise ConfigError(
                    f"{new.where(key)}: {key!r} is a mapping here and {type(below).__name__} at "
                    f"{into.where(key)}; {DELETE}=True in it replaces that"
                )
        into.put(key, _without_delete(value), new.where(key))


def _without_delete(value: Any) -> Any:
    """Takes the marks out of mappings that replace nothing."""
    if isinstance(value, Section):
        value.pop(DELETE, None)
        for key in value:
            value[key] = _without_delete(value[key])
    elif isinstance(value, (list, tuple)):
        return type(value)(_without_delete(item) for item in value)
    return value


class _FileReader:
    """Evaluates the assignments of one file."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.values = Section(place=str(path))
        self.used: set[str] = set()
        self.num_copied = 0

    def run(self) -> Source:
        try:
            tree = ast.parse(self.text, filename=str(self.path))
        except SyntaxError as error:
            raise ConfigError(f"{self.path}:{error.lineno}: not Python ({error.msg})") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{self.path}: not a configuration ({error})") from None
        for statement in tree.body:
            try:
                self._assign(statement)
            except RecursionError:
                raise self._refused(statement, "nested too deeply") from None
        return Source(self.values, frozenset(self.used))

    def _assign(self, statement: ast.stmt) -> None:
        is_comment = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_comment and isinstance(statement.value.value, str):  # type: ignore[attr-defined]
            return
        if not isinstance(statement, ast.Assign):
            raise self._refused(statement, f"{_name_of(statement)}: only assignments are read")
        value = self.value(statement.value)
        for target in statement.targets:
            if not isinstance(target, ast.Name):
                raise self._refused(target, "expected one name before '='")
            if not target.id.startswith("__"):
                self.values.put(target.id, value, self._place(statement))

    def value(self, node: ast.expr) -> Any:
        """What an expression stands for."""
        if isinstance(node, ast.Constant):
            if node.value is not None and not isinstance(node.value, (str, int, float, bool)):
                raise self._refused(node, f"{type(node.value).__name__} is no value here")
            return node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [self.value(item) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        if isinstance(node, ast.Dict):
            return self._mapping(node, self._dict_pairs(node))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, ast.UnaryOp):
            return self._signed(node)
        if isinstance(node, ast.BinOp):
            return self._combined(node)
        raise self._refused(node, f"{_name_of(node)} is no plain value")

    def _dict_pairs(self, node: ast.Dict) -> Iterator[tuple[Any, Any, ast.expr]]:
        for key, item in zip(node.keys, node.values, strict=True):
            yield (None if key is None else self.value(key)), self.value(item), key or item

    def _mapping(self, node: ast.expr, pairs: Iterator[tuple[Any, Any, Any]]) -> Section:
        """A mapping of (key, value, node); key None stands for `**value`."""
        made = Section(place=self._place(node))
        for key, value, where in pairs:
            if key is None and isinstance(value, Section):
                for name in value:
                    made.put(name, value[name], value.where(name))
            elif isinstance(key, str):
                made.put(key, value, self._place(where))
            else:
                raise self._refused(node, "expected a text as key, or a mapping after '**'")
        return made

    def _call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _CALLS or name in self.values:
            called = ast.unparse(node.func)
            raise self._refused(
                node, f"call of {called[:40]!r}; only {', '.join(_CALLS)} may be called"
            )
        given = [self.value(item) for item in node.args]
        kinds = Section if name == "dict" else (list, tuple)
        if len(given) > 1 or not all(isinstance(item, kinds) for item in given):
            what = "mapping" if name == "dict" else "list"
            raise self._refused(node, f"{name}() takes one {what}")
        if name == "dict":
            start = ((None, item, node) for item in given)
            named = ((word.arg, self.value(word.value), word) for word in node.keywords)
            return self._mapping(node, (pair for part in (start, named) for pair in part))
        if node.keywords:
            raise self._refused(node, f"{name}() takes no keywords")
        items = given[0] if given else []
        return list(items) if name == "list" else tuple(items)

    def _named(self, node: ast.Name) -> Any:
        if node.id not in self.values:
            near = did_you_mean(node.id, self.values)
            raise self._refused(node, f"{node.id!r} is not assigned above in this file{near}")
        self.used.add(node.id)
        self.num_copied += _size(self.values[node.id])
        if self.num_copied > MAX_COPIES:
            raise self._refused(node, f"names stand for more than {MAX_COPIES} values")
        return copy.deepcopy(self.values[node.id])

    def _signed(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not) and isinstance(value, bool):
            return not value
        if isinstance(value, (int, float)) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -value if isinstance(node.op, ast.USub) else value
        raise self._refused(node, "a sign belongs before a number")

    def _combined(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        combine = _OPERATORS.get(type(node.op))
        numbers = all(isinstance(item, (int, float)) for item in (left, right))
        joined = isinstance(node.op, ast.Add) and type(left) is type(right)
        joined = joined and isinstance(left, (str, list, tuple))
        repeated = isinstance(node.op, ast.Mult) and type(right) is int
        repeated = repeated and isinstance(left, (list, tuple)) and len(left) * right <= MAX_LENGTH
        if combine is None or not (numbers or joined or repeated):
            raise self._refused(node, f"cannot work out {ast.unparse(node)[:60]!r}")
        try:
            made = combine(left, right)
        except ArithmeticError as error:
            raise self._refused(node, f"{ast.unparse(node)[:60]!r}: {error}") from None
        if isinstance(made, (str, list, tuple)) and len(made) > MAX_LENGTH:
            raise self._refused(node, f"more than {MAX_LENGTH} items")
        if isinstance(made, int) and made.bit_length() > MAX_BITS:
            raise self._refused(node, "the number is too large")
        return made

    def _place(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def _refused(self, node: ast.AST, why: str) -> ConfigError:
        return ConfigError(f"{self._place(node)}: {why}")


def _size(value: Any) -> int:
    """Number of values inside a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value
    return 1 + sum(map(_size, inner)) if isinstance(value, (dict, list, tuple)) else 1


def _name_of(node: ast.AST) -> str:
    """A word for a piece of Python that is refused."""
    text = ast.unparse(node).splitlines()[0]
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
