"""Which sequences of an evaluation are finished, and with which settings.

An interrupted run continues after the last finished sequence; a folder never mixes results of
different settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidseg_common.errors import UserError
from vidseg_common.files import write_json
from vidseg_common.settings import changes


class RunLog:
    """The record of a run beside its results.

    Args:
        path: the JSON file.
        output: folder of the results, for messages.
        settings: what the results depend on, nested mappings of plain values.
        overwrite: forget what was finished before.

    Raises:
        UserError: the folder holds results of other settings, which are not to be overwritten.
    """

    def __init__(
        self, path: Path, output: Path, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.path = path
        # As JSON gives it back: tuples become lists.
        self._settings = json.loads(json.dumps(settings))
        self._finished: dict[str, Any] = {}
        before = None if overwrite else self._read()
        if before is not None:
            changed = list(changes(before.get("settings", {}), self._settings))
            if changed:
                raise UserError(
                    f"{output}: holds results of other settings ({'; '.join(changed)}); use "
                    "--overwrite to redo them or another --output_dir"
                )
            self._finished = before.get("sequences", {})
        self._write()

    @property
    def finished(self) -> Mapping[str, Any]:
        """The sequences that were finished with these settings, with what was kept about them."""
        return self._finished

    def add(self, name: str, facts: Mapping[str, Any]) -> None:
        """Notes that a sequence is finished, with anything worth keeping about it."""
        self._finished[name] = dict(facts)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"settings": self._settings, "sequences": self._finished})

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UserError(
                f"{self.path}: is not the record of a run; use --overwrite to redo the results"
            )
        return content
