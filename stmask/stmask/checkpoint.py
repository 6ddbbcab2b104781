"""Files of weights to networks: strict, with the variant inferred from the shapes (spec 1.1)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from stmask.checkpoint_shapes import infer_settings
from stmask.config import Config, get_config, network_settings
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from stmask.start import CocoReport, load_coco_start
from stmask.weights import RELEASED, config_name_for
from vidseg_common.checkpoint import (
    compare_state,
    load_checkpoint,
    load_strict,
    save_atomic,
    shapes_of,
    strip_prefix,
)
from vidseg_common.checkpoint_strict import StateDifference
from vidseg_common.errors import CheckpointError

__all__ = [
    "CocoReport",
    "LoadReport",
    "build_network",
    "load_coco_start",
    "load_network",
    "load_state",
    "load_weights",
    "save_network",
]

#: What makes two networks different variants; the rest differs between revisions of one.
VARIANT_FIELDS = ("backbone", "blocks")


@dataclass(frozen=True)
class LoadReport:
    """How a file was loaded.

    Attributes:
        path: of the file.
        settings: of the network that was built.
        config_name: the configuration that has exactly those settings, if there is one.
        difference: keys that the network lacks or the file lacks; empty after a strict load.
        notes: what a user should know, one sentence each.
    """

    path: Path
    settings: NetworkSettings
    config_name: str | None
    difference: StateDifference = field(default_factory=StateDifference)
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Lines for a terminal; empty when there is nothing to say."""
        table = self.difference.table(max_rows=10_000) if self.difference.count else ""
        return "\n".join([*self.notes, table]).strip("\n")


def build_network(cfg: Config | NetworkSettings) -> STMask:
    """A network with random weights.

    Raises:
        ConfigError: the configuration describes no network.
    """
    return STMask(cfg if isinstance(cfg, NetworkSettings) else network_settings(cfg))


def load_state(path: str | Path, *, num_downsample: int | None = None) -> dict[str, Tensor]:
    """Reads the tensors of a file, without the keys of older revisions that no network has.

    Args:
        path: a mapping of name to tensor: a released file, a checkpoint, a COCO start.
        num_downsample: strided layers of the pyramid that are configured; further ones are
            dropped. None keeps the two of every released model.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that carries code.
    """
    content = load_checkpoint(path)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{path}: expected a mapping of name to tensor, holds {type(content).__name__}"
        )
    foreign = [k for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if foreign:
        raise CheckpointError(
            f"{path}: not the weights of an STMask: entry {foreign[0]!r} is no named tensor "
            f"({len(foreign)} such entries)"
        )
    limit = NetworkSettings().num_downsample if num_downsample is None else num_downsample
    state = strip_prefix(dict(content), "module.")
    return {key: value for key, value in state.items() if not _is_left_over(key, limit)}


def _is_left_over(key: str, num_downsample: int) -> bool:
    """Keys that old files of the detector have besides the real ones."""
    if key.startswith("backbone.layer") and not key.startswith("backbone.layers"):
        return True
    match = re.match(r"fpn\.downsample_layers\.(\d+)\.", key)
    return match is not None and int(match[1]) >= num_downsample


def load_network(
    path: str | Path, cfg: Config | None = None, *, strict: bool = True
) -> tuple[STMask, LoadReport]:
    """Builds the network that a file's shapes tell, and loads it.

    Args:
        path: a released file under any name, or a training checkpoint.
        cfg: the configuration that the file should belong to. Another backbone is an error; other
            differences (an earlier revision, other classes) are warnings. None takes the file as
            it is.
        strict: False builds the network of `cfg` and keeps the tensors that fit; the report has
            both lists of differences.

    Raises:
        CheckpointError: the file cannot be read, or is not of an STMask, or of another variant;
            the message names the first key that differs and the variant that would fit.
        ConfigError: the configuration describes no network.
    """
    wanted = None if cfg is None else network_settings(cfg)
    state = load_state(path, num_downsample=wanted.num_downsample if wanted else None)
    if not strict:
        return _load_matching(Path(path), state, wanted)
    try:
        settings = infer_settings(shapes_of(state), wanted)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    notes: tuple[str, ...] = ()
    if wanted is not None and settings != wanted:
        notes = (_compare_with(Path(path), state, settings, wanted, str(cfg and cfg.name)),)
    network = STMask(settings)
    load_weights(network, state, path)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return network.eval(), LoadReport(Path(path), settings, config_name_for(settings), notes=notes)


def load_weights(network: STMask, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Tensors into a network, strictly; counters of batches may be missing.

    Raises:
        CheckpointError: keys or shapes differ; the message has a table of them and the released
            variant that would fit.
    """
    needed = network.state_dict()
    counters = {k: v for k, v in needed.items() if k.endswith("num_batches_tracked")}
    full = {**counters, **state}
    fits = shapes_of(full) == shapes_of(needed)
    load_strict(network, full, source=str(source), variants={} if fits else released_shapes())


def released_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of the released models, to say which one a file would fit."""
    with torch.device("meta"):
        return {
            name: shapes_of(build_network(get_config(f"{name}_config")).state_dict())
            for name in RELEASED
            if "_YTVIS2021" not in name
        }


def save_network(network: STMask, path: str | Path) -> None:
    """Writes the weights like a released file: the bare mapping of name to tensor.

    Raises:
        CheckpointError: the file cannot be written.
    """
    save_atomic({key: value.cpu() for key, value in network.state_dict().items()}, path)


def _compare_with(
    path: Path,
    state: Mapping[str, Tensor],
    settings: NetworkSettings,
    wanted: NetworkSettings,
    name: str,
) -> str:
    """What differs from the configuration that was named, as a warning.

    Raises:
        CheckpointError: it is another variant.
    """
    names = [f.name for f in fields(settings)]
    differing = [n for n in names if getattr(settings, n) != getattr(wanted, n)]
    fitting = config_name_for(settings)
    advice = f"; it fits {fitting}: give --config={fitting}" if fitting else ""
    if any(n in VARIANT_FIELDS for n in differing):
        with torch.device("meta"):
            needed = shapes_of(STMask(wanted).state_dict())
        raise CheckpointError(
            f"{path}: is not of {name}: {_first_difference(shapes_of(state), needed)}{advice}"
        )
    shown = ", ".join(f"{n} {getattr(settings, n)} for {getattr(wanted, n)}" for n in differing)
    return f"{path}: differs from {name} and is loaded as it is: {shown}{advice}"


def _first_difference(
    got: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]
) -> str:
    for key, shape in needed.items():
        if key not in got:
            return f"the first key that differs is {key}, which the file lacks"
        if got[key] != shape:
            return f"the first key that differs is {key}: {got[key]} in the file, needs {shape}"
    key = next(key for key in got if key not in needed)
    return f"the first key that differs is {key}, which only the file has"


def _load_matching(
    path: Path, state: Mapping[str, Tensor], wanted: NetworkSettings | None
) -> tuple[STMask, LoadReport]:
    """Keeps the tensors whose name and shape fit."""
    settings = wanted or NetworkSettings()
    network = STMask(settings)
    needed = network.state_dict()
    difference = compare_state(shapes_of(state), shapes_of(needed))
    fitting = {
        key: value
        for key, value in state.items()
        if key in needed and value.shape == needed[key].shape
    }
    if not fitting:
        raise CheckpointError(f"{path}: none of its {len(state)} keys fits the network")
    network.load_state_dict({**needed, **fitting})
    notes = (f"{path}: {len(fitting)} of {len(needed)} tensors loaded",)
    return network.eval(), LoadReport(path, settings, config_name_for(settings), difference, notes)
