"""Strict comparison of a checkpoint's tensors with a module, and the report when they differ."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from vidseg_common.errors import CheckpointError

Shape = tuple[int, ...]
MAX_ROWS = 8  # keys shown of each kind; the counts are always complete


@dataclass(frozen=True)
class StateDifference:
    """How the tensors of a file differ from those a model needs.

    Attributes:
        missing: keys of the model that the file lacks, with the shape needed.
        unexpected: keys of the file that the model lacks, with the shape in the file.
        mis_shaped: key -> (shape in the file, shape needed).
    """

    missing: dict[str, Shape] = field(default_factory=dict)
    unexpected: dict[str, Shape] = field(default_factory=dict)
    mis_shaped: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of keys that differ."""
        return len(self.missing) + len(self.unexpected) + len(self.mis_shaped)

    def table(self, max_rows: int = MAX_ROWS) -> str:
        """Lines that list the first keys of each kind, and how many there are.

        Args:
            max_rows: keys shown of each kind.
        """
        kinds = (
            ("missing from the file", {k: f"needs {_text(s)}" for k, s in self.missing.items()}),
            ("unknown to the model", {k: f"file {_text(s)}" for k, s in self.unexpected.items()}),
            (
                "of another shape",
                {
                    k: f"file {_text(got)}, needs {_text(want)}"
                    for k, (got, want) in self.mis_shaped.items()
                },
            ),
        )
        lines: list[str] = []
        for title, rows in kinds:
            if not rows:
                continue
            lines.append(f"  {len(rows)} {title}:")
            shown = list(rows.items())[:max_rows]
            width = max(len(key) for key, _ in shown)
            lines.extend(f"    {key:<{width}}  {text}" for key, text in shown)
            if len(rows) > max_rows:
                lines.append(f"    ... and {len(rows) - max_rows} more")
        return "\n".join(lines)


def load_strict(
    module: nn.Module,
    state_dict: Mapping[str, torch.Tensor],
    *,
    source: str,
    variants: Mapping[str, Mapping[str, Shape]] | None = None,
) -> None:
    """Copies a state dict into a module when every key and shape fits; else changes nothing.

    Floating-point weights of another precision are converted with a warning. Weights that are
    not finite are loaded with a warning that names them.

    Args:
        module: the model to fill.
        state_dict: key -> tensor.
        source: where the weights come from, for messages (usually the file name).
        variants: name -> {key: shape} of the models this method knows, to say which one the file
            belongs to; `shapes_of` makes such an entry.

    Raises:
        CheckpointError: not a state dict, or keys, shapes or kinds of number differ; the message
            holds a table of them and the variant that fits.
    """
    _check_is_state_dict(state_dict, source)
    needed = module.state_dict()
    shapes = shapes_of(state_dict)
    difference = compare_state(shapes, shapes_of(needed))
    if difference.count:
        advice = _describe_fit(shapes, variants or {})
        raise CheckpointError(
            f"{source}: the weights do not fit {type(module).__name__} "
            f"({len(shapes)} keys in the file, {len(needed)} needed)\n"
            f"{difference.table()}{advice}"
        )
    _check_dtypes(state_dict, needed, source)
    _warn_not_finite(state_dict, source)
    module.load_state_dict(state_dict, strict=True)


def compare_state(got: Mapping[str, Shape], needed: Mapping[str, Shape]) -> StateDifference:
    """Compares the keys and shapes of a file with those a model needs."""
    return StateDifference(
        missing={key: shape for key, shape in needed.items() if key not in got},
        unexpected={key: shape for key, shape in got.items() if key not in needed},
        mis_shaped={
            key: (got[key], shape)
            for key, shape in needed.items()
            if key in got and got[key] != shape
        },
    )


def shapes_of(state_dict: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    """Gives key -> shape of a state dict."""
    return {key: tuple(value.shape) for key, value in state_dict.items()}


def strip_prefix(
    state: Mapping[str, torch.Tensor], prefix: str = "module."
) -> dict[str, torch.Tensor]:
    """Removes a prefix such as DistributedDataParallel's from every key that has it.

    Raises:
        CheckpointError: a key exists both with and without the prefix.
    """
    stripped = {key.removeprefix(prefix): value for key, value in state.items()}
    if len(stripped) != len(state):
        twice = next(key for key in state if key.startswith(prefix) and key[len(prefix) :] in state)
        raise CheckpointError(f"key {twice!r} exists with and without the prefix {prefix!r}")
    return stripped


def _text(shape: Shape) -> str:
    return "x".join(str(side) for side in shape) or "scalar"


def _check_is_state_dict(state_dict: object, source: str) -> None:
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(
            f"{source}: holds a {type(state_dict).__name__}, not a mapping of key to tensor"
        )
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            names = ", ".join(str(name) for name in list(state_dict)[:MAX_ROWS])
            raise CheckpointError(
                f"{source}: entry {key!r} is a {type(value).__name__}, not a tensor; this is a "
                f"container around the weights, with the entries {names}"
            )


def _describe_fit(shapes: Mapping[str, Shape], variants: Mapping[str, Mapping[str, Shape]]) -> str:
    """Names the variant that the file fits, or the one that comes nearest."""
    counts = {name: compare_state(shapes, wanted).count for name, wanted in variants.items()}
    fitting = [name for name, count in counts.items() if count == 0]
    if fitting:
        return f"\n  The file fits the variant {' or '.join(fitting)}."
    if not counts:
        return ""
    nearest = min(counts, key=lambda name: counts[name])
    return (
        f"\n  The file fits none of the known variants ({', '.join(variants)}); "
        f"nearest is {nearest} with {counts[nearest]} keys that differ."
    )


def _check_dtypes(
    state_dict: Mapping[str, torch.Tensor], needed: Mapping[str, torch.Tensor], source: str
) -> None:
    changed = {
        key: (value.dtype, needed[key].dtype)
        for key, value in state_dict.items()
        if value.dtype != needed[key].dtype
    }
    kinds = [
        f"    {key}  file {_dtype(got)}, needs {_dtype(want)}"
        for key, (got, want) in changed.items()
        if got.is_floating_point != want.is_floating_point or got.is_complex != want.is_complex
    ]
    if kinds:
        shown = "\n".join(kinds[:MAX_ROWS])
        raise CheckpointError(
            f"{source}: {len(kinds)} tensors hold another kind of number\n{shown}"
        )
    floating = {key: pair for key, pair in changed.items() if pair[0].is_floating_point}
    if floating:
        key, (got, want) = next(iter(floating.items()))
        warnings.warn(
            f"{source}: {len(floating)} tensors are converted, for example {key} "
            f"from {_dtype(got)} to {_dtype(want)}",
            stacklevel=3,
        )


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _warn_not_finite(state_dict: Mapping[str, torch.Tensor], source: str) -> None:
    bad = [
        key
        for key, value in state_dict.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        more = f" and {len(bad) - MAX_ROWS} more" if len(bad) > MAX_ROWS else ""
        warnings.warn(
            f"{source}: weights that are not finite (NaN or infinity) in "
            f"{', '.join(bad[:MAX_ROWS])}{more}; results will be useless",
            stacklevel=3,
        )
