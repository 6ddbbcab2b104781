"""Unpacking archives safely: nothing lands outside, nothing is half there."""

from __future__ import annotations

import io
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from vidseg_common.errors import DownloadError

_CHUNK = 1 << 20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive; `content` is None for folders."""

    name: str
    size: int
    content: IO[bytes] | None


def extract(archive: Path | str, folder: Path | str, *, progress: bool = True) -> list[Path]:
    """Unpacks a zip or tar archive (plain, gz, bz2, xz) into a folder.

    Everything is unpacked into a temporary folder inside `folder` first and moved to its place
    when all is there; files of the same name are replaced, others stay. Modes, owners and times
    are not taken over.

    Args:
        archive: the archive; its kind is found by its content.
        folder: where to; created where missing.
        progress: show a bar on stderr.

    Returns:
        What the archive holds at its top level, as paths in `folder`, sorted.

    Raises:
        DownloadError: not an archive, damaged, encrypted, or it holds links, devices, or paths
            that lead out of the folder; or a file would replace a folder or the other way
            round. Nothing is left behind.
        OSError: no room or no permission; nothing is left behind either.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise DownloadError(f"no such archive: {archive}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as name:
        staging = Path(name)
        try:
            _unpack(archive, staging, progress)
        except _BROKEN as error:
            raise DownloadError(_damage(archive, error)) from error
        except OSError as error:
            # gzip and bz2 complain about their data in this way, too.
            if error.errno is None:
                raise DownloadError(_damage(archive, error)) from error
            raise
        except RuntimeError as error:
            # zipfile: encrypted, or packed by a method it does not know.
            raise DownloadError(f"cannot unpack {archive}: {error}") from error
        clash = _find_clash(staging, folder)
        if clash is not None:
            raise DownloadError(f"cannot unpack {archive}: {clash} is in the way")
        top = sorted(folder / path.name for path in staging.iterdir())
        _merge(staging, folder)
    return top


def _unpack(archive: Path, staging: Path, progress: bool) -> None:
    # Tar first: one that ends with a zip file would pass for a zip file.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed:
            _write_members(archive, _tar_members(packed, archive), staging, None, progress)
            _check_tar_end(packed, archive)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed_zip:
            total = sum(info.file_size for info in packed_zip.infolist())
            _check_room(archive, staging, total)
            _write_members(archive, _zip_members(packed_zip, archive), staging, total, progress)
    else:
        raise DownloadError(f"{archive} is no zip or tar archive, or it is damaged or cut off")


def _write_members(
    archive: Path, members: Iterator[_Member], staging: Path, total: int | None, progress: bool
) -> None:
    with tqdm(
        desc=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True,
        unit_divisor=1024, disable=not progress,
    ) as bar:  # fmt: skip
        for member in members:
            path = staging / _safe_path(member.name, archive)
            if member.content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.content as packed, path.open("wb") as file:
                shutil.copyfileobj(packed, file, _CHUNK)
            if path.stat().st_size != member.size:
                raise DownloadError(_damage(archive, f"{member.name} is not whole"))
            bar.update(member.size)


def _zip_members(packed: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in packed.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DownloadError(_refusal(archive, info.filename, "is a link"))
        content = None if info.is_dir() else packed.open(info)
        yield _Member(info.filename, info.file_size, content)


def _tar_members(packed: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    for info in packed:
        if not (info.isfile() or info.isdir()):
            kind = "is a link" if info.issym() or info.islnk() else "is no file or folder"
            raise DownloadError(_refusal(archive, info.name, kind))
        yield _Member(info.name, info.size, packed.extractfile(info) if info.isfile() else None)
        # tarfile remembers every member it has seen: gigabytes for millions of frames.
        packed.members = []  # type: ignore[attr-defined]


def _check_tar_end(packed: tarfile.TarFile, archive: Path) -> None:
    """Notices a file cut off where the members before it read well."""
    stream: Any = packed.fileobj
    if not isinstance(stream, io.BufferedReader):
        # Compressed: its checksum comes last.
        while stream.read(_CHUNK):
            pass
        return
    stream.seek(packed.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DownloadError(_damage(archive, "it has no end mark"))


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    """The relative path of a member; archives made on Windows may have backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    has_drive = bool(path.parts) and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or has_drive or "\0" in name:
        raise DownloadError(_refusal(archive, name, "leads out of the folder"))
    return path


def _damage(archive: Path, reason: object) -> str:
    return f"the archive {archive} is damaged or cut off: {reason}"


def _refusal(archive: Path, name: str, reason: str) -> str:
    return f"refused to unpack {archive}: its member {name!r} {reason}"


def _check_room(archive: Path, staging: Path, needed: int) -> None:
    free = shutil.disk_usage(staging).free
    if needed > free:
        raise DownloadError(
            f"not enough room to unpack {archive}: {needed / 1e9:.2f} GB are needed, "
            f"{free / 1e9:.2f} GB are free"
        )


def _find_clash(staging: Path, folder: Path) -> Path | None:
    """A path that is a folder on one side and something else on the other."""
    for path in staging.iterdir():
        place = folder / path.name
        # A link of the user's to a folder elsewhere counts as that folder.
        is_free = not place.exists() and not place.is_symlink()
        if not is_free and path.is_dir() != place.is_dir():
            return place
        if not is_free and path.is_dir() and (clash := _find_clash(path, place)) is not None:
            return clash
    return None


def _merge(staging: Path, folder: Path) -> None:
    """Moves all entries; whole folders at once where the place is free."""
    for path in list(staging.iterdir()):
        place = folder / path.name
        if path.is_dir() and place.is_dir():
            _merge(path, place)
        else:
            # A rename, unless the user's folder is a link to another disk.
            shutil.move(path, place)
