"""Which configuration a file of weights belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemseg.checkpoint import PUBLISHED, load_state, variant_shapes
from stemseg.config import Config, config_for_checkpoint
from vidseg_common.errors import CheckpointError

CONFIG_NAME = "config.yaml"


def check_checkpoint(path: str | Path) -> Path:
    """The file.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    return path


def config_of(path: str | Path, fallback: str | None = None, *, opts: Sequence[str] = ()) -> Config:
    """The configuration of a checkpoint.

    Args:
        path: the checkpoint; a `config.yaml` beside it decides.
        fallback: the configuration without one; None goes by the keys of the file.
        opts: `SECTION.KEY value ...` over it.

    Raises:
        CheckpointError: there is no such file, or nothing says what it belongs to.
        ConfigError: the configuration cannot be used.
    """
    path = check_checkpoint(path)
    if fallback is None and not path.absolute().with_name(CONFIG_NAME).is_file():
        fallback = _published_config(path)
    return config_for_checkpoint(path, fallback or CONFIG_NAME, opts=opts)


def _published_config(path: Path) -> str:
    """The configuration whose network has the keys and shapes of a file."""
    shapes = {key: tuple(value.shape) for key, value in load_state(path).items()}
    for variant, expected in variant_shapes().items():
        if shapes == expected:
            return PUBLISHED[variant]
    raise CheckpointError(
        f"{path}: its keys are those of no published model ({', '.join(PUBLISHED)}); put the "
        f"{CONFIG_NAME} of its training beside it, or name the data set with --dataset"
    )
