"""Archives of data sets: fetched, unpacked to their place, and never twice.

An archive is unpacked into a hidden folder beside its target and moved from there only when it
is complete. A marker file then says that it is done, so that an interrupted command continues
with what is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stcn.tools.confirm import say
from vidseg_common.download import download, extract
from vidseg_common.errors import DatasetError, DownloadError
from vidseg_common.files import write_text

#: Folder under the root for unfinished downloads and the marks of finished ones.
STATE_FOLDER = ".downloads"
#: How deep inside an archive its content may lie.
MAX_DEPTH = 3


@dataclass(frozen=True)
class Archive:
    """One archive and where its content belongs.

    Attributes:
        name: file name, also under which a hand-fetched copy is looked for.
        drive_id: Google Drive id.
        target: folder of the content, relative to the root of all data.
        content: folders of which at least one lies directly in the content's own root; whatever
            folders the archive wraps around that root are dropped.
    """

    name: str
    drive_id: str
    target: str
    content: tuple[str, ...]


def find_content(folder: Path, content: Sequence[str]) -> Path:
    """Return the shallowest folder that directly holds one of the wanted folders.

    Raises:
        DatasetError: there is none; the message lists what is there instead.
    """
    level = [folder]
    for _ in range(MAX_DEPTH + 1):
        for candidate in level:
            if any((candidate / name).is_dir() for name in content):
                return candidate
        level = [sub for parent in level for sub in sorted(parent.iterdir()) if sub.is_dir()]
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
    raise DatasetError(f"the archive has no folder {' or '.join(content)}; it holds {found}")


def merge_folder(source: Path, target: Path) -> None:
    """Move everything in ``source`` into ``target``, joining folders that both have."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            merge_folder(entry, place)
        else:
            entry.replace(place)


def fetch(archive: Archive, root: Path, *, from_dir: Path | None = None) -> None:
    """Bring the content of an archive to its place; does nothing when it is already there.

    Args:
        archive: which one.
        root: folder of all data.
        from_dir: folder of archives fetched by hand; what lies there is not downloaded, and is
            left in place. A downloaded archive is removed once unpacked.

    Raises:
        DownloadError: it cannot be downloaded or unpacked.
        DatasetError: it does not hold what it should.
    """
    done = root / STATE_FOLDER / f"{archive.name}.done"
    if done.exists():
        say(f"{archive.name}: already in {root / archive.target}")
        return
    by_hand = from_dir / archive.name if from_dir else None
    if by_hand is not None and by_hand.is_file():
        file, remove = by_hand, False
    else:
        file, remove = _download(archive, root), True
    try:
        _unpack(archive, file, root)
    except (DownloadError, DatasetError) as error:
        if remove:
            # Not removed by itself: with too little room left the archive is still good.
            raise type(error)(f"{error}; remove {file} to have it downloaded again") from error
        raise
    write_text(done, f"{archive.target}\n")
    if remove:
        file.unlink()
    say(f"{archive.name}: unpacked to {root / archive.target}")


def _download(archive: Archive, root: Path) -> Path:
    say(f"{archive.name}: downloading")
    file = root / STATE_FOLDER / archive.name
    try:
        return download(file, drive_id=archive.drive_id)
    except DownloadError as error:
        raise DownloadError(
            f"{error} (here: put Drive file {archive.drive_id} as {archive.name} into a folder "
            "and give that folder with --from-dir)"
        ) from error


def _unpack(archive: Archive, file: Path, root: Path) -> None:
    scratch = root / STATE_FOLDER / f"{archive.name}.unpacked"
    # A folder left by an interrupted run may hold half a file: begin again.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        extract(file, scratch)
        try:
            content = find_content(scratch, archive.content)
        except DatasetError as error:
            raise DatasetError(f"{file}: {error}") from error
        merge_folder(content, root / archive.target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
