"""Checks a configuration against the components that there are; errors name file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vatrack.config_components import SECTIONS, SLOTS, TOP, Keys, Rule
from vatrack.config_reader import Section
from vidseg_common.arguments import did_you_mean, nearest
from vidseg_common.errors import ConfigError


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(test, value))


_texts = _all(lambda value: isinstance(value, str))
#: Kind of value to what it is in words, and the test.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _is_int),
    "number": ("a number", _is_number),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "text": ("a text", lambda value: isinstance(value, str)),
    "ints": ("a list of whole numbers", _all(_is_int)),
    "numbers": ("a list of numbers", _all(_is_number)),
    "texts": ("a list of texts", lambda value: isinstance(value, str) or _texts(value)),
    "any": ("anything", lambda value: True),
}


def check(values: Section, used: Iterable[str] = ()) -> None:
    """Checks everything that a configuration says.

    Args:
        values: top-level assignments.
        used: names that other assignments refer to; they need no meaning of their own.

    Raises:
        ConfigError: a component or key that does not exist (the nearest one is named), or a value
            that does not fit.
    """
    for key, value in values.items():
        if key in TOP:
            _check_value(TOP[key], value, key, values.where(key))
        elif key not in used and (near := nearest(key, TOP)) is not None:
            # A name that nothing refers to and that looks like a mistyped one.
            raise ConfigError(
                f"{values.where(key)}: nothing reads {key!r}; did you mean {near}? "
                "(a name that begins with '__' is left alone)"
            )


def _check_value(rule: Rule, value: Any, path: str, place: str) -> None:
    if not isinstance(rule, str):
        if not any(value == item and type(value) is type(item) for item in rule):
            raise _unfit(path, place, f"one of {', '.join(map(repr, rule))}", value)
    elif value is None and rule.endswith("?"):
        return
    elif rule.startswith("[@"):
        several = isinstance(value, (list, tuple))
        for index, item in enumerate(value) if several else [(None, value)]:
            inner = path if index is None else f"{path}.{index}"
            _check_value(rule[1:-1], item, inner, getattr(item, "place", place))
    elif rule.startswith(("@", "#")):
        if not isinstance(value, Section):
            raise _unfit(path, place, "a mapping, dict(...)", value)
        name = rule[1:].removesuffix("?")
        keys = _component(name, value, path) if rule.startswith("@") else SECTIONS[name]
        _check_keys(keys, value, path, skip="type" if rule.startswith("@") else "")
    else:
        what, is_good = _KINDS[rule.removesuffix("?")]
        if not is_good(value):
            raise _unfit(path, place, what, value)


def _component(slot: str, value: Section, path: str) -> Keys:
    """The keys of the component that a mapping names."""
    known = SLOTS[slot]
    what = slot.replace("_", " ")
    name = value.get("type")
    if name is None:
        raise ConfigError(f"{value.place}: {path}: no type; expected one of {', '.join(known)}")
    if name not in known:
        hint = did_you_mean(str(name), known)
        others = "" if hint else f"; there are {', '.join(known)}"
        raise ConfigError(
            f"{value.where('type')}: {path}.type: no {what} is called {name!r}{hint}{others}"
        )
    return known[name]


def _check_keys(keys: Keys, value: Section, path: str, skip: str) -> None:
    for key, item in value.items():
        if key == skip:
            continue
        place = value.where(key)
        if key not in keys:
            hint = did_you_mean(key, keys) or f"; known here: {', '.join(keys) or 'none'}"
            raise ConfigError(f"{place}: unknown key {f'{path}.{key}'!r}{hint}")
        _check_value(keys[key], item, f"{path}.{key}", place)


def _unfit(path: str, place: str, what: str, value: Any) -> ConfigError:
    return ConfigError(f"{place}: {path}: expected {what}, got {value!r:.80}")
