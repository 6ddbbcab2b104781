"""Result files of the web viewer: detections image by image. Source: spec section 12."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stmask.inference.postprocess import FrameResult
from vidseg_common import rle
from vidseg_common.files import atomic_path


def detections_of(found: FrameResult, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The detections of one image, best score first.

    Args:
        found: instances with boxes in pixels.
        class_names: name of class c at c - 1.

    Returns:
        For each instance its score, box [x, y, width, height], category, mask, and its id within
        the video, by which the viewer keeps colours.
    """
    entries = []
    for i in range(len(found.ids)):
        left, top, right, bottom = (int(value) for value in found.boxes[i])
        number = int(found.classes[i]) - 1
        entries.append(
            {
                "score": float(found.scores[i]),
                "bbox": [left, top, right - left, bottom - top],
                "category": class_names[number] if number < len(class_names) else str(number + 1),
                "id": int(found.ids[i]),
            }
        )
        if found.masks.size:
            entries[-1]["mask"] = rle.encode(found.masks[i])
    return sorted(entries, key=lambda entry: -entry["score"])


class WebWriter:
    """Writes a result file image by image, so that memory does not grow with the video.

    The file appears when the `with` block ends well. Images are numbered from 0 over the run.

    Args:
        path: the file; its stem is the name that the viewer lists.
        config: what the viewer shows about the run.
        class_names: of the data set.

    Raises:
        OSError: on entering or writing: the file cannot be written.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], class_names: Sequence[str]) -> None:
        self.path = path
        self._config = dict(config)
        self._class_names = class_names
        self._context = atomic_path(path)
        self._file: IO[str] | None = None
        self._count = 0

    def __enter__(self) -> WebWriter:
        self._file = self._context.__enter__().open("w", encoding="utf-8")
        self._file.write(f'{{"info": {json.dumps({"Config": self._config})},\n"images": [')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        if error is None:
            self._file.write("\n]}\n")
        self._file.close()
        self._context.__exit__(kind, error, trace)

    def add(self, found: FrameResult, file_name: str | None = None) -> int:
        """Adds the next image.

        Args:
            found: its detections.
            file_name: of the image, relative to the folder of images that the viewer serves;
                None where that has the layout of COCO, `%012d.jpg` by number.

        Returns:
            The number of the image.
        """
        assert self._file is not None, "add() outside of the with block"
        entry: dict[str, Any] = {"image_id": self._count}
        if file_name is not None:
            entry["file_name"] = file_name
        entry["dets"] = detections_of(found, self._class_names)
        self._file.write(f"{',' if self._count else ''}\n{json.dumps(entry)}")
        self._count += 1
        return self._count - 1
