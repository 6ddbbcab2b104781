"""Conversion of one configuration value to the type its field is annotated with."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

WORDS_OF_BOOL = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
WORDS_OF_NONE = ("none", "null", "~", "")
SEQUENCES = (tuple, list, frozenset, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping)


def coerce(kind: Any, value: Any, *, text: bool = False) -> Any:
    """Converts a value to an annotated type, strictly.

    Strict means: no bool for a number, no number for text, no fraction for an integer. A number
    written as text is accepted, because YAML reads 1e-5 as text.

    Args:
        kind: the annotation.
        value: the value from YAML or, with `text`, a word of the command line.
        text: a string may also stand for a list ("1,2"), a mapping, a bool or nothing ("none").

    Returns:
        The value as `kind`.

    Raises:
        ValueError: the value does not fit; the message may be empty.
        TypeError: the annotation is not supported.
    """
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return parse_word(value) if text else value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(options, value, text)
    if origin is Literal:
        return _coerce_literal(options, value)
    if origin in SEQUENCES or kind in SEQUENCES:
        return _coerce_sequence(origin or kind, options, value, text)
    if origin in MAPPINGS or kind in MAPPINGS:
        return _coerce_mapping(options, value, text)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _coerce_enum(kind, value)
    convert = _SCALARS.get(kind)
    if convert is not None:
        return convert(value, text)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        raise ValueError("a section; set its keys one by one")
    raise ValueError


def describe_type(kind: Any) -> str:
    """Names an annotation in words a user understands."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(option) for option in options)
    if origin is Literal:
        return f"one of {', '.join(map(str, options))}"
    if origin in SEQUENCES or kind in SEQUENCES:
        if not options:
            return "a list"
        if origin is tuple and Ellipsis not in options:
            return f"a list of {len(options)} values ({', '.join(map(describe_type, options))})"
        return f"a list, each item {describe_type(options[0])}"
    if origin in MAPPINGS or kind in MAPPINGS:
        return "a mapping"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return "a section with keys"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    names |= {Path: "a path", type(None): "none", Any: "any value"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def parse_word(word: Any) -> Any:
    """Reads a word of the command line as a YAML value; text that is no YAML stays text."""
    if not isinstance(word, str):
        return word
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _to_bool(value: Any, text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if text and isinstance(value, str) and value.lower() in WORDS_OF_BOOL:
        return WORDS_OF_BOOL[value.lower()]
    raise ValueError


def _to_int(value: Any, text: bool) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError
    try:
        return int(value)
    except ValueError:
        raise ValueError from None


def _to_float(value: Any, text: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    try:
        return float(value)
    except ValueError:
        raise ValueError from None


def _to_str(value: Any, text: bool) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("put quotes around it to make it text" if value is not None else "")


def _to_path(value: Any, text: bool) -> Path:
    if isinstance(value, (str, Path)):
        return Path(value)
    raise ValueError


def _to_none(value: Any, text: bool) -> None:
    if value is None or (text and isinstance(value, str) and value.lower() in WORDS_OF_NONE):
        return
    raise ValueError


_SCALARS: dict[Any, Callable[[Any, bool], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    Path: _to_path,
    type(None): _to_none,
}


def _coerce_union(options: tuple[Any, ...], value: Any, text: bool) -> Any:
    """First fitting option; an exact type and "none" win over text that could be anything."""
    for option in options:
        if option is not type(None) and isinstance(option, type) and type(value) is option:
            if text and option is str:
                continue
            return value
    last = (str, Path)
    order = sorted(options, key=lambda option: (option is not type(None), option in last))
    for option in order:
        try:
            return coerce(option, value, text=text)
        except ValueError:
            continue
    raise ValueError


def _coerce_literal(options: tuple[Any, ...], value: Any) -> Any:
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    for option in options:
        if isinstance(value, str) and not isinstance(option, str) and str(option) == value:
            return option
    raise ValueError


def _coerce_enum(kind: type[enum.Enum], value: Any) -> enum.Enum:
    if isinstance(value, kind):
        return value
    for member in kind:
        if value == member.name or value == member.value:
            return member
    raise ValueError


def _coerce_sequence(container: Any, options: tuple[Any, ...], value: Any, text: bool) -> Any:
    items = _split_words(value) if text and isinstance(value, str) else value
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, collections.abc.Iterable):
        raise ValueError
    items = list(items)
    if container is tuple and options and Ellipsis not in options:
        if len(items) != len(options):
            raise ValueError(f"{len(items)} values")
        kinds = list(options)
    else:
        kinds = [options[0] if options else Any] * len(items)
    converted = [coerce(kind, item, text=text) for kind, item in zip(kinds, items, strict=True)]
    return converted if container is list else _make(container, converted)


def _make(container: Any, items: list[Any]) -> Any:
    return frozenset(items) if container is frozenset else tuple(items)


def _split_words(word: str) -> list[Any]:
    """Reads "1,2", "(1, 2)" or "[1, 2]" as a list; items keep their text where they are scalars."""
    word = word.strip()
    if word.startswith("(") and word.endswith(")"):
        word = f"[{word[1:-1]}]"
    if word.startswith("["):
        try:
            # BaseLoader leaves scalars as text, to be converted by the item's own type.
            parsed = yaml.load(word, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise ValueError("brackets do not match") from error
        return list(parsed)
    return [item.strip() for item in word.split(",") if item.strip()]


def _coerce_mapping(options: tuple[Any, ...], value: Any, text: bool) -> dict[Any, Any]:
    items = parse_word(value) if text else value
    if not isinstance(items, Mapping):
        raise ValueError
    key_kind, value_kind = options or (Any, Any)
    return {coerce(key_kind, key): coerce(value_kind, item) for key, item in items.items()}
