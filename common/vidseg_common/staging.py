"""Outputs of several files that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vidseg_common.errors import DatasetError, UserError, list_problems
from vidseg_common.files import check_writable

_MOST_LISTED = 20


@contextlib.contextmanager
def staged_output(
    path: str | Path, *, overwrite: bool = False, inputs: Iterable[str | Path | None] = ()
) -> Iterator[Path]:
    """Gives a temporary path that takes its name, file or folder, only when all went well.

    Args:
        path: final name of the file or folder.
        overwrite: an older file or folder of that name is replaced as a whole.
        inputs: what is read meanwhile; an output must not replace it. None is skipped.

    Raises:
        UserError: the output exists and may not be replaced, holds an input, or its folder
            cannot be written.
        OSError: something cannot be written.
    """
    path = Path(path)
    _check_free(path, overwrite, inputs)
    check_writable(path.parent)
    token = secrets.token_hex(6)
    temporary = path.with_name(f".{path.stem}.{token}.part{path.suffix}")
    try:
        yield temporary
        _replace(temporary, path, path.with_name(f".{path.stem}.{token}.old{path.suffix}"))
    finally:
        _remove(temporary)


def _check_free(path: Path, overwrite: bool, inputs: Iterable[str | Path | None]) -> None:
    is_used = any(path.iterdir()) if path.is_dir() else path.exists()
    if not is_used:
        return
    if not overwrite:
        what = "is not empty" if path.is_dir() else "exists"
        raise UserError(f"the output {path} {what}; choose another name or use --overwrite")
    target = path.resolve()
    for given in inputs:
        if given is not None and Path(given).resolve().is_relative_to(target):
            raise UserError(f"the output {path} would replace the input {given}")


def _replace(temporary: Path, path: Path, old: Path) -> None:
    if not temporary.exists():
        raise FileNotFoundError(f"nothing was written for {path}")
    if path.exists():
        path.replace(old)
    try:
        temporary.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def bring_images(
    pairs: Sequence[tuple[Path, str]], folder: Path, how: str, *, progress: bool = False
) -> None:
    """Brings images into a data set.

    Args:
        pairs: every image, and its name below the folder.
        folder: the image root of the data set.
        how: "copy", or "link" for symbolic links.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: images are missing; nothing was brought.
        OSError: a file cannot be written.
    """
    missing = [str(path) for path, _ in pairs if not path.is_file()]
    if missing:
        shown = [*missing[:_MOST_LISTED], "..."] if len(missing) > _MOST_LISTED else missing
        raise DatasetError(list_problems(f"{len(missing)} image(s) missing:", shown))
    for source, name in tqdm(pairs, unit="image", disable=not progress, leave=False):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source.resolve())
