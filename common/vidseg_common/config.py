"""Typed configuration: frozen dataclasses are the schema, YAML holds values, overrides change them.

Every error is a `ConfigError` that names file and line, the dotted key, what is expected there,
and, for an unknown key, the nearest one that exists.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vidseg_common.arguments import ArgumentParser, did_you_mean, nearest
from vidseg_common.config_values import coerce, describe_type
from vidseg_common.errors import ConfigError
from vidseg_common.files import write_text

__all__ = [
    "ArgumentParser",
    "apply_overrides",
    "did_you_mean",
    "dump_yaml",
    "from_dict",
    "keys_of",
    "load_yaml",
    "nearest",
    "to_dict",
]

T = TypeVar("T")
KEY_EQUALS_VALUE = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL)


def from_dict(cls: type[T], mapping: Mapping[str, Any], *, source: str = "configuration") -> T:
    """Builds a configuration from nested mappings.

    Args:
        cls: the dataclass; fields may be dataclasses, numbers, strings, bool, Path, enums,
            Literal, Optional, Union, tuple, list and dict of those. Missing keys keep defaults.
        mapping: key -> value; lists are accepted for tuples, names for enums.
        source: where the values come from (a file name), for messages.

    Raises:
        ConfigError: unknown or missing key, or a value of the wrong type.
    """
    return typing.cast(T, _build(cls, mapping, source, ""))


def load_yaml(cls: type[T], path: str | Path) -> T:
    """Builds a configuration from a YAML file; an empty file gives the defaults.

    Args:
        cls: the dataclass, as for `from_dict`.
        path: the file.

    Raises:
        ConfigError: the file is missing or not YAML, a key stands twice, or as `from_dict`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read ({reason})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    source = _File(path)
    source.text = text
    return from_dict(cls, {} if values is None else values, source=source)


def apply_overrides(cfg: T, overrides: Sequence[Any], *, source: str = "command line") -> T:
    """Returns a copy of a configuration with some values replaced.

    Args:
        cfg: the configuration (a dataclass instance); it is not changed.
        overrides: "KEY", "VALUE", "KEY", "VALUE", ... or "KEY=VALUE" words, also mixed. KEY is
            dotted for nested fields. VALUE is text as typed (a list is "1,2,3" or "[1, 2, 3]",
            no value is "none") or already a value.
        source: where they come from, for messages.

    Raises:
        ConfigError: unknown key, key without a value, or a value of the wrong type.
    """
    for key, value in _pairs(overrides, source):
        cfg = _replace(cfg, key.split("."), value, source, key, cfg)
    return cfg


def to_dict(cfg: Any) -> dict[str, Any]:
    """Gives nested plain values (tuples become lists, enums their names, paths text) for YAML."""
    return {
        item.name: _plain(getattr(cfg, item.name)) for item in dataclasses.fields(cfg) if item.init
    }


def dump_yaml(cfg: Any, path: str | Path) -> None:
    """Writes a configuration as YAML, atomically; `load_yaml` gives an equal one back."""
    write_text(path, yaml.safe_dump(to_dict(cfg), sort_keys=False, allow_unicode=True))


def keys_of(cls: type) -> list[str]:
    """Lists all dotted keys of a configuration class, in order, without those of sections."""
    keys: list[str] = []
    for name, kind in _field_types(cls).items():
        section = _section(kind)
        keys.extend([f"{name}.{key}" for key in keys_of(section)] if section else [name])
    return keys


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that refuses a key written twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and key != "<<":
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key!r} stands twice, again in line {line}")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _File(str):
    """The name of a YAML file as the source of values, which knows the lines of its keys."""

    text = ""

    def line_of(self, key: str) -> int | None:
        """The line of a dotted key, from 1; None where it is not written as such."""
        return next(
            (
                line
                for name, line in _lines(yaml.compose(self.text, Loader=yaml.SafeLoader), "")
                if name == key
            ),
            None,
        )


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    """Dotted keys of a YAML text with their lines."""
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            key = f"{prefix}{key_node.value}"
            yield key, key_node.start_mark.line + 1
            yield from _lines(value, f"{key}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            key = f"{prefix.removesuffix('.')}[{index}]"
            yield key, item.start_mark.line + 1
            yield from _lines(item, f"{key}.")


def _at(source: str, key: str) -> str:
    """The source with the line of a key, if it is a file."""
    line = source.line_of(key) if isinstance(source, _File) else None
    return source if line is None else f"{source}:{line}"


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    """Name -> resolved annotation of every field that the constructor takes."""
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls) if item.init}


def _section(kind: Any) -> type | None:
    """The dataclass inside an annotation such as `Train` or `Train | None`, if there is one."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    for option in typing.get_args(kind) if is_union else (kind,):
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return option
    return None


def _item_section(kind: Any) -> type | None:
    """The dataclass of the items of `tuple[Item, ...]` or `list[Item]`, if there is one."""
    if typing.get_origin(kind) not in (tuple, list):
        return None
    return _section(typing.get_args(kind)[0])


def _build(cls: type, mapping: Any, source: str, prefix: str) -> Any:
    if not isinstance(mapping, Mapping):
        section = prefix.rstrip(".")
        where = f"field {section!r}" if prefix else "the file"
        raise ConfigError(
            f"{_at(source, section)}: {where} expects keys with values, got "
            f"{type(mapping).__name__} {mapping!r}"
        )
    fields = _field_types(cls)
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        if name not in fields:
            key = f"{prefix}{name}"
            raise ConfigError(_unknown_key(cls, key, prefix, _at(source, key)))
        values[name] = _convert(fields[name], value, source, f"{prefix}{name}", text=False)
    required = [item.name for item in dataclasses.fields(cls) if item.init and _is_required(item)]
    missing = [f"{prefix}{name}" for name in required if name not in values]
    if missing:
        raise ConfigError(f"{source}: required key {', '.join(map(repr, missing))} is missing")
    return _construct(functools.partial(cls, **values), source, prefix)


def _convert(kind: Any, value: Any, source: str, key: str, *, text: bool) -> Any:
    """Turns a value into the annotated type; sections go back to `_build`."""
    section = _section(kind)
    if section and isinstance(value, Mapping):
        return _build(section, value, source, f"{key}.")
    if section and isinstance(value, section):
        return value
    item_section = _item_section(kind)
    if item_section and isinstance(value, (list, tuple)):
        keys = [f"{key}[{index}]" for index in range(len(value))]
        items = [
            _convert(item_section, item, source, item_key, text=False)
            for item, item_key in zip(value, keys, strict=True)
        ]
        return items if typing.get_origin(kind) is list else tuple(items)
    try:
        return coerce(kind, value, text=text)
    except (ValueError, TypeError) as error:
        detail = f" ({error})" if str(error) else ""
        raise ConfigError(
            f"{_at(source, key)}: field {key!r} expects {describe_type(kind)}, got "
            f"{value!r}{detail}"
        ) from error


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _construct(make: typing.Callable[[], Any], source: str, prefix: str) -> Any:
    """Calls a constructor; a check in `__post_init__` speaks with the file and section named."""
    try:
        return make()
    except ConfigError:
        raise
    except ValueError as error:
        where = f"section {prefix.rstrip('.')!r}: " if prefix else ""
        raise ConfigError(f"{source}: {where}{error}") from error


def _unknown_key(cls: type, key: str, prefix: str, source: str) -> str:
    """Message naming the nearest key of the section or below it, else all keys of the section."""
    here = [f"{prefix}{name}" for name in _field_types(cls)]
    below = [f"{prefix}{name}" for name in keys_of(cls)]
    hint = _hint(key, [*here, *below]) or f"; known here: {', '.join(here)}"
    return f"{source}: unknown key {key!r}{hint}"


def _hint(key: str, known: Sequence[str]) -> str:
    """Names the nearest key: in the same section first, then anywhere."""
    section, _, name = key.rpartition(".")
    siblings: dict[str, str] = {}
    anywhere: dict[str, str] = {}
    for candidate in known:
        place, _, last = candidate.rpartition(".")
        anywhere.setdefault(last, candidate)
        if place == section:
            siblings[last] = candidate
    if not siblings and nearest(key, known):  # the section itself is mistyped
        return did_you_mean(key, known)
    for group in (siblings, anywhere):
        guess = nearest(name, group)
        if guess:
            return f"; did you mean {group[guess]}?"
    return ""


def _pairs(overrides: Sequence[Any], source: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    words = iter(overrides)
    for word in words:
        match = KEY_EQUALS_VALUE.fullmatch(str(word))
        if match:
            pairs.append((match[1], match[2]))
            continue
        try:
            pairs.append((str(word), next(words)))
        except StopIteration:
            raise ConfigError(f"{source}: key {word!r} has no value after it") from None
    return pairs


def _replace(node: Any, path: list[str], value: Any, source: str, key: str, root: Any) -> Any:
    name, rest = path[0], path[1:]
    node_type: type = type(node)
    fields = _field_types(node_type)
    if name not in fields:
        known = keys_of(type(root))
        raise ConfigError(f"{source}: unknown key {key!r}{_hint(key, known)}")
    if rest:
        child = getattr(node, name)
        section = _section(fields[name])
        if child is None and section:
            child = _build(section, {}, source, f"{key}.")
        if not dataclasses.is_dataclass(child):
            raise ConfigError(f"{source}: key {key!r}: {name!r} is a value and has no keys inside")
        new = _replace(child, rest, value, source, key, root)
    else:
        new = _convert(fields[name], value, source, key, text=isinstance(value, str))
    prefix = key[: -len(".".join(path))]
    return _construct(functools.partial(dataclasses.replace, node, **{name: new}), source, prefix)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
