"""Results of videos that are through, in a file that lets an interrupted run go on after them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from vidseg_common.commands.common import say


def open_finished(path: Path, settings: Mapping[str, Any]) -> FinishedVideos:
    """Opens the file of a run and tells what an interrupted one has left in it.

    Args:
        path: of the file; its folder exists.
        settings: what the results depend on; all that is not of JSON goes by its text.
    """
    # As they are when they are read back.
    finished = FinishedVideos(path, json.loads(json.dumps(settings, default=str)))
    if finished.changed:
        changed = ", ".join(finished.changed)
        say(f"{path}: is of an interrupted run with other {changed}, and begun anew")
    elif len(finished):
        say(f"{len(finished)} video(s) were finished by an interrupted run and are kept")
    return finished


class FinishedVideos:
    """What the submission holds about finished videos, one a line; a context manager.

    The first line says what the results depend on. A file of other settings, or without this line,
    is begun anew; a line that was cut off when the run ended is forgotten.

    Args:
        path: of the file; its folder exists.
        settings: what the results depend on; JSON values.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        #: Keys of the settings in which the file that was there differs.
        self.changed: list[str] = []
        self._places: dict[int, int] = {}
        self._file: BinaryIO = path.open("a+b")
        end = self._read(dict(settings))
        self._file.truncate(end)
        if not end:
            self._append(dict(settings))

    def __enter__(self) -> FinishedVideos:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._places:
            self._file.close()
        else:
            self.remove()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._places

    def entries(self, video_id: int) -> list[dict[str, Any]]:
        """What the submission holds about a finished video."""
        self._file.seek(self._places[video_id])
        return list(json.loads(self._file.readline())["entries"])

    def add(self, video_id: int, entries: list[dict[str, Any]]) -> None:
        """Keeps the results of a video."""
        self._places[video_id] = self._append({"video_id": video_id, "entries": entries})

    def remove(self) -> None:
        """Deletes the file, once the submission is written."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _read(self, settings: dict[str, Any]) -> int:
        """Finds the lines that count; returns where they end."""
        self._file.seek(0)
        before = _parse(self._file.readline())
        if before is None:
            return 0
        keys = sorted(settings.keys() | before.keys())
        self.changed = [key for key in keys if settings.get(key) != before.get(key)]
        if self.changed:
            return 0
        end = self._file.tell()
        while (line := _parse(self._file.readline())) is not None:
            self._places[line["video_id"]] = end
            end = self._file.tell()
        return end

    def _append(self, content: dict[str, Any]) -> int:
        """Writes a line that survives the end of the process; returns where it begins."""
        place = self._file.seek(0, 2)
        self._file.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        return place


def _parse(line: bytes) -> dict[str, Any] | None:
    """A whole line; None at the end of the file and for what is cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
