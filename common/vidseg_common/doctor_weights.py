"""Doctor's part for checkpoints: container, number of keys, safe to load, finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidseg_common.checkpoint import SAFETENSORS_SUFFIX, ZIP_MAGIC, load_checkpoint
from vidseg_common.doctor_report import Section
from vidseg_common.errors import CheckpointError

# Keys under which the usual training programs keep the weights.
WRAPPERS = ("network", "state_dict", "model", "model_state_dict")
MAX_NAMES = 6


def examine_file(path: str | Path) -> Section:
    """Examines one checkpoint file; nothing in it is run.

    Args:
        path: the file.
    """
    path = Path(path)
    section = Section(f"weights {path}")
    if path.is_file():
        section.facts["size"] = f"{path.stat().st_size / 2**20:.1f} MiB"
    try:
        content = load_checkpoint(path)
    except CheckpointError as error:
        section.facts["safe to load"] = "no"
        section.problems.append(" ".join(str(error).split()))
        return section
    section.facts["format"] = _file_format(path)
    section.facts["safe to load"] = "yes, plain tensors only"
    _describe_content(content, path, section)
    return section


def _file_format(path: Path) -> str:
    if path.suffix == SAFETENSORS_SUFFIX:
        return "safetensors"
    with path.open("rb") as file:
        return "torch zip" if file.read(4) == ZIP_MAGIC else "torch legacy"


def _describe_content(content: Any, path: Path, section: Section) -> None:
    weights, container = unwrap(content)
    section.facts["container"] = container
    if weights is None:
        section.problems.append(
            f"{path}: no weights found in it ({container}): give a file with a state dict"
        )
        return
    floats = [value for value in weights.values() if value.is_floating_point()]
    section.facts["keys"] = str(len(weights))
    section.facts["values"] = f"{sum(value.numel() for value in weights.values()):,}"
    kinds = {str(value.dtype).removeprefix("torch.") for value in weights.values()}
    section.facts["types"] = ", ".join(sorted(kinds))
    if all(key.startswith("module.") for key in weights):
        section.facts["prefix"] = "module. (removed by the methods' loaders)"
    if not all(bool(torch.isfinite(value).all()) for value in floats):
        section.problems.append(
            f"{path}: holds weights that are NaN or infinite: fetch it again, or use an earlier "
            "checkpoint of the run"
        )


def unwrap(content: Any) -> tuple[Mapping[str, torch.Tensor] | None, str]:
    """Finds the weights in what a checkpoint file holds.

    Returns:
        The state dict, or None when there is none, and a description of the container.
    """
    if _is_state_dict(content):
        return content, "bare state dict"
    if not isinstance(content, Mapping):
        return None, f"a {type(content).__name__}"
    names = ", ".join(str(key) for key in list(content)[:MAX_NAMES]) or "nothing"
    names += ", ..." if len(content) > MAX_NAMES else ""
    for wrapper in WRAPPERS:
        if _is_state_dict(content.get(wrapper)):
            kind = "training state" if "optimizer" in content else "wrapped state dict"
            return content[wrapper], f"{kind} ({names}); weights under {wrapper!r}"
    return None, f"a mapping with {names}"


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(value, torch.Tensor) for value in content.values())
    )
