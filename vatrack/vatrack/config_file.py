"""A configuration: a file in Python that is read, not run; a backbone; KEY=VALUE over it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vatrack.config_check import check
from vatrack.config_components import TOP
from vatrack.config_reader import Section, merge, read_python
from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
OPTIONS = "--cfg-options"
#: Folder that stands for `data/` in the paths of a configuration, where it is set.
DATA_VARIABLE = "VATRACK_DATA"

#: What `--backbone` sets, in a file for another one (spec 2.1 and 5.3).
BACKBONES: dict[str, dict[str, Any]] = {
    "r50": {
        "model.pretrained": "torchvision://resnet50",
        "model.backbone": {"type": "ResNet", "depth": 50},
        "data.samples_per_gpu": 8,
        "data.workers_per_gpu": 8,
        "optimizer.lr": 0.005,
        "load_from": None,
    },
    "x101": {
        "model.pretrained": None,
        "model.backbone": {"type": "ResNeXt", "depth": 101, "groups": 64, "base_width": 4},
        "data.samples_per_gpu": 4,
        "data.workers_per_gpu": 4,
        "optimizer.lr": 0.0025,
        "load_from": "../data/ckpts/resnext101_64_4d.pth",
    },
}


@dataclass(frozen=True)
class Config:
    """A checked configuration.

    Attributes:
        path: the file.
        values: top-level assignments; nested mappings are `Section`s.
    """

    path: Path
    values: Section

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a dotted key, `default` where there is none."""
        value: Any = self.values
        for word in key.split("."):
            if isinstance(value, (list, tuple)) and word.isdigit() and int(word) < len(value):
                value = value[int(word)]
            elif isinstance(value, Section) and word in value:
                value = value[word]
            else:
                return default
        return value

    def where(self, key: str) -> str:
        """File and line of a dotted key, or of the nearest mapping around it."""
        place, value = str(self.path), self.values
        for word in key.split("."):
            place = value.where(word) or place
            inner = value.get(word)
            if not isinstance(inner, Section):
                break
            value = inner
        return place

    @property
    def text(self) -> str:
        """The configuration as one file that says the same; names that only served are left out."""
        kept = {key: value for key, value in self.values.items() if key in TOP}
        return "".join(f"{key} = {_source(value, '')}\n" for key, value in kept.items())


def load_config(
    name_or_path: str | Path,
    options: Sequence[str] | Mapping[str, Any] = (),
    *,
    backbone: str | None = None,
) -> Config:
    """Reads and checks a configuration.

    Args:
        name_or_path: a file, or one of `configs/` with or without the suffix
            ("QDbasedVATrack_SAILVOScut").
        options: "KEY=VALUE" words or a mapping; keys are dotted, numbers pick from lists
            ("data.train.0.ann_file").
        backbone: "r50" or "x101"; sets the network, the start, batch and learning rate that go
            with it. None keeps what the file says.

    Raises:
        ConfigError: no such file or base, no plain values, a component, key or value that does
            not exist or fit; the message names file and line, and the nearest name.
    """
    path = find_config(name_or_path)
    source = read_python(path)
    values = source.values
    if backbone is not None:
        _set_backbone(values, backbone)
    pairs = options.items() if isinstance(options, Mapping) else map(_pair, options)
    for key, value in pairs:
        _set(values, key, _as_section(value, OPTIONS), OPTIONS)
    check(values, source.used)
    return Config(path, values)


def find_config(name_or_path: str | Path) -> Path:
    """The file that a path or a name stands for.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    path = Path(name_or_path)
    shipped = {file.stem: file for file in sorted(CONFIGS.glob("*.py"))}
    if path.is_file():
        return path
    # Original commands say `../configs/NAME.py`, from the folder of the tools.
    plain = path.parent.name in ("", "configs")
    if plain and path.name.removesuffix(".py") in shipped:
        return shipped[path.name.removesuffix(".py")]
    hint = did_you_mean(path.name.removesuffix(".py"), shipped)
    raise ConfigError(f"{path}: no such configuration{hint or f'; there are {_listed(shipped)}'}")


def resolve_path(path: str | Path) -> Path:
    """A path of a configuration on this machine.

    Files that are there from the present folder are taken; otherwise `data/` or `../data/` at the
    beginning stands for the folder in the environment variable VATRACK_DATA.
    """
    path = Path(path)
    root = os.environ.get(DATA_VARIABLE)
    if root is None or path.is_absolute() or path.exists():
        return path
    parts = [part for part in path.parts if part not in ("..", ".")]
    return Path(root, *parts[1:]) if parts[:1] == ["data"] else path


def _set_backbone(values: Section, name: str) -> None:
    if name not in BACKBONES:
        known = _listed(BACKBONES)
        hint = did_you_mean(name, BACKBONES)
        raise ConfigError(f"--backbone: no backbone {name!r}{hint}; there are {known}")
    preset = BACKBONES[name]
    model = values.get("model")
    present = model.get("backbone") if isinstance(model, Section) else None
    wanted = preset["model.backbone"]
    if isinstance(present, Section):
        if all(present.get(key) == value for key, value in wanted.items()):
            return
        kept = {k: v for k, v in present.items() if k not in ("groups", "base_width")}
        preset = {**preset, "model.backbone": {"_delete_": True, **kept, **wanted}}
    for key, value in preset.items():
        _set(values, key, _as_section(value, "--backbone"), "--backbone")


def _pair(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(f"{OPTIONS}: expected KEY=VALUE, got {word!r}")
    return key, _literal(text)


def _literal(text: str) -> Any:
    """A word of the command line: a literal, true/false/none in any case, a list "1,2", text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if text.startswith(("[", "(")) and text.endswith(("]", ")")):
            items = [_literal(item.strip()) for item in text[1:-1].split(",") if item.strip()]
            return items if text.startswith("[") else tuple(items)
        return [_literal(item) for item in text.split(",")] if "," in text else text


def _as_section(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        made = Section(place=place)
        for key, item in value.items():
            made.put(str(key), _as_section(item, place), place)
        return made
    if isinstance(value, (list, tuple)):
        return type(value)(_as_section(item, place) for item in value)
    return value


def _set(values: Section, key: str, value: Any, place: str) -> None:
    """Sets a dotted key; the mappings on the way are made where they are missing."""
    *way, last = key.split(".")
    node: Any = values
    for word in way:
        if isinstance(node, (list, tuple)) and word.isdigit() and int(word) < len(node):
            node = node[int(word)]
        elif isinstance(node, Section):
            if node.get(word) is None:
                node.put(word, Section(place=place), place)
            node = node[word]
        else:
            raise ConfigError(f"{place}: {key}: there is no {word!r} in {type(node).__name__}")
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, Section):
        change = Section(place=place)
        change.put(last, value, place)
        merge(change, node)
    else:
        raise ConfigError(f"{place}: {key}: {'.'.join(way)} is a value and has no keys inside")


def _source(value: Any, indent: str) -> str:
    """Python source of a value, mappings one key a line."""
    inner = f"{indent}    "
    if isinstance(value, Section):
        rows = [f"{inner}{key!r}: {_source(item, inner)},\n" for key, item in value.items()]
        return f"{{\n{''.join(rows)}{indent}}}" if rows else "{}"
    if isinstance(value, (list, tuple)) and any(isinstance(v, (Section, list)) for v in value):
        rows = [f"{inner}{_source(item, inner)},\n" for item in value]
        marks = "[]" if isinstance(value, list) else "()"
        return f"{marks[0]}\n{''.join(rows)}{indent}{marks[1]}"
    return repr(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
