"""Checkpoints of trainings by name: `NAME_EPOCH_ITERATION[_interrupt].pth`. Source: spec 10.4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.errors import CheckpointError

KEYWORDS = ("latest", "interrupt")
"""Words that stand for a checkpoint in place of a path."""

_PATTERN = re.compile(r"(?P<name>.+)_(?P<epoch>\d+)_(?P<iteration>\d+)(?P<stopped>_interrupt)?")


@dataclass(frozen=True)
class SavedName:
    """What the name of a checkpoint says.

    Attributes:
        name: of the configuration.
        epoch: from 0.
        iteration: at which it was saved.
        is_interrupt: saved when the training was stopped.
    """

    name: str
    epoch: int
    iteration: int
    is_interrupt: bool = False

    @classmethod
    def of(cls, path: str | Path) -> SavedName | None:
        """Reads a file name; None for files that no training wrote."""
        found = _PATTERN.fullmatch(Path(path).stem)
        if found is None:
            return None
        numbers = (int(found["epoch"]), int(found["iteration"]))
        return cls(found["name"], *numbers, found["stopped"] is not None)

    @property
    def file_name(self) -> str:
        """The name of the file."""
        ending = "_interrupt" if self.is_interrupt else ""
        return f"{self.name}_{self.epoch}_{self.iteration}{ending}.pth"


def find_saved(folder: Path, keyword: str, config_name: str | None = None) -> Path:
    """The checkpoint that a keyword stands for.

    Args:
        folder: where trainings save.
        keyword: "latest" for the largest iteration, "interrupt" for the latest that was saved
            when a training was stopped.
        config_name: only checkpoints of this configuration; None for any.

    Raises:
        CheckpointError: there is none.
    """
    found = [(name, path) for path in folder.glob("*.pth") if (name := SavedName.of(path))]
    fitting = [
        (name.iteration, path.stat().st_mtime_ns, path)
        for name, path in found
        if config_name in (None, name.name) and (keyword == "latest" or name.is_interrupt)
    ]
    if not fitting:
        of_config = f" of {config_name}" if config_name else ""
        raise CheckpointError(
            f"{keyword}: no checkpoint{of_config} in {folder} "
            f"(NAME_EPOCH_ITERATION{'_interrupt' if keyword == 'interrupt' else ''}.pth)"
        )
    return max(fitting)[2]
