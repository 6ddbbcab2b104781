"""The configuration tree (spec section 4): original keys, typed, strict and read-only.

Values come from the defaults, over them a YAML file of `configs/` or of the user, over them the
pairs given on the command line (`--opts SECTION.KEY value ...`). Lists are replaced, sections
merged. An unknown key is an error at any depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemseg.config_tree import Config
from vidseg_common.arguments import did_you_mean
from vidseg_common.config import apply_overrides, dump_yaml, from_dict, load_yaml, to_dict
from vidseg_common.errors import ConfigError

__all__ = [
    "CONFIGS",
    "Config",
    "config_for_checkpoint",
    "dump_yaml",
    "load_config",
    "merge",
    "to_dict",
    "update",
]

CONFIGS = Path(__file__).parents[1] / "configs"
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+(=.*)?", re.DOTALL)
WORDS_OF_BOOL = {"t": "true", "1": "true", "f": "false", "0": "false"}


def load_config(name_or_path: str | Path, *, opts: Sequence[str] = ()) -> Config:
    """Loads and checks a configuration.

    Args:
        name_or_path: a name of `configs/` with or without its suffix ("davis_2"), or a file. A
            relative name is looked up in `configs/` first.
        opts: see `update`.

    Raises:
        ConfigError: no such file, an unknown key, or a value that does not fit.
    """
    return update(load_yaml(Config, find_config(name_or_path)), opts)


def find_config(name_or_path: str | Path) -> Path:
    """The file that a name stands for.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    path = Path(name_or_path)
    for candidate in (CONFIGS / path, CONFIGS / f"{path}.yaml", path):
        if candidate.is_file():
            return candidate
    names = sorted(file.stem for file in CONFIGS.glob("*.yaml"))
    hint = did_you_mean(path.stem, names) or f"; there are {', '.join(names)}"
    raise ConfigError(f"{path}: no such configuration{hint}")


def config_for_checkpoint(
    checkpoint: str | Path, fallback: str, *, opts: Sequence[str] = ()
) -> Config:
    """The `config.yaml` beside a checkpoint, else the named configuration (spec 5.1).

    Raises:
        ConfigError: as `load_config`.
    """
    beside = Path(checkpoint).absolute().with_name("config.yaml")
    return load_config(beside if beside.is_file() else fallback, opts=opts)


def merge(cfg: Config, sections: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """A copy with the values of nested sections put over those of `cfg`.

    Raises:
        ConfigError: an unknown key or a value that does not fit.
    """
    return from_dict(Config, _merged(to_dict(cfg), sections), source=source)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if nested else value
    return out


def update(cfg: Config, opts: Sequence[str]) -> Config:
    """A checked copy with the values of command-line words.

    Args:
        cfg: the configuration; it is not changed.
        opts: `SECTION.KEY value ...` or `SECTION.KEY=value`; a list is several values or "1,2".

    Raises:
        ConfigError: an unknown key, a key without a value, or a value that does not fit.
    """
    cfg = apply_overrides(cfg, _joined(cfg, opts), source="--opts")
    cfg.check()
    return cfg


def _joined(cfg: Config, words: Sequence[str]) -> list[str]:
    """KEY, VALUE pairs: several values of a key become one word."""
    pairs: list[str] = []
    start = 0
    while start < len(words):
        stop = start + 1
        while stop < len(words) and not KEY.fullmatch(words[stop]):
            stop += 1
        key, values = words[start], list(words[start + 1 : stop])
        if "=" in key:
            pairs += [key, *values]
        elif values:
            pairs += [key, _plain_bool(cfg, key, ",".join(values))]
        else:
            raise ConfigError(f"--opts: key {key!r} has no value after it")
        start = stop
    return pairs


def _plain_bool(cfg: Config, key: str, word: str) -> str:
    """The short words for yes and no, where the key is a yes or no."""
    current: Any = cfg
    for name in key.split("."):
        current = getattr(current, name, None)
    return WORDS_OF_BOOL.get(word.lower(), word) if isinstance(current, bool) else word
