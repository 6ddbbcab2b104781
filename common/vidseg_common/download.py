"""Verified downloads: by HTTP, from Google Drive, or of a file fetched by hand.

A file has its final name only when it is whole and, where its SHA-256 is known, verified. What
an interrupted download received stays in a partial file beside it and is continued.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm

from vidseg_common import download_http
from vidseg_common.archives import extract
from vidseg_common.errors import DownloadError
from vidseg_common.files import atomic_path

__all__ = ["download", "extract", "sha256_of"]

_LOGGER = logging.getLogger(__name__)
_CHUNK = 1 << 20


def download(
    target: Path | str,
    *,
    url: str | None = None,
    drive_id: str | None = None,
    sha256: str | None = None,
    from_file: Path | str | None = None,
    progress: bool = True,
) -> Path:
    """Puts a file at `target`, unless it is there already.

    A file that is there is kept when it has the SHA-256 wanted, or when none is known. One with
    another SHA-256 is replaced, once the new one is verified.

    Args:
        target: final name; its folder is created.
        url: http or https address.
        drive_id: id of a public file on Google Drive.
        sha256: 64 hexadecimal digits, None where unknown.
        from_file: a copy fetched by hand; it is copied and verified instead of downloading.
        progress: show bars on stderr.

    Returns:
        `target` as a Path.

    Raises:
        DownloadError: not reachable, refused (quota, permission), not what was expected, or
            being downloaded by another process; the message says what to do.
        ValueError: not exactly one of `url`, `drive_id` (or `from_file`), or no SHA-256.
        OSError: the file cannot be written.
    """
    target = Path(target)
    sha256 = _checked_digest(sha256)
    if from_file is None and (url is None) == (drive_id is None):
        raise ValueError("give exactly one of url and drive_id, or from_file")
    if target.is_dir():
        raise DownloadError(f"cannot download to {target}: it is a folder")
    if from_file is not None:
        return _take(Path(from_file), target, sha256, progress)
    if target.exists() and _is_wanted(target, sha256, progress):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        origin = url or _drive_page(drive_id)
        _accept(_fetch(target, url, drive_id, progress), target, sha256, origin, progress)
    return target


def sha256_of(path: Path | str, *, progress: bool = False) -> str:
    """SHA-256 of a file as 64 lower-case hexadecimal digits."""
    path = Path(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in _pieces(file, path, "verifying", progress):
            digest.update(piece)
    return digest.hexdigest()


def _checked_digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"not a SHA-256 (64 hexadecimal digits): {sha256!r}")
    return sha256.lower()


def _is_wanted(target: Path, sha256: str | None, progress: bool) -> bool:
    if sha256 is None or sha256_of(target, progress=progress) == sha256:
        return True
    _LOGGER.warning("%s has another SHA-256 than expected and is downloaded again", target)
    return False


def _take(source: Path, target: Path, sha256: str | None, progress: bool) -> Path:
    """Copies a file fetched by hand, hashing on the way."""
    if not source.is_file():
        raise DownloadError(f"no such file to take instead of downloading: {source}")
    if target.exists() and source.samefile(target):
        _check_digest(sha256_of(source) if sha256 else None, sha256, str(source))
        return target
    digest = hashlib.sha256()
    with atomic_path(target) as temporary, source.open("rb") as old, temporary.open("wb") as new:
        for piece in _pieces(old, source, "copying", progress):
            digest.update(piece)
            new.write(piece)
        new.flush()
        _check_digest(digest.hexdigest(), sha256, str(source))
        _refuse_web_page(temporary, target, str(source))
    return target


def _accept(part: Path, target: Path, sha256: str | None, origin: str, progress: bool) -> None:
    """Verifies a whole file and gives it its final name; a wrong one is thrown away."""
    try:
        _refuse_web_page(part, target, origin)
        found = sha256_of(part, progress=progress) if sha256 else None
        _check_digest(found, sha256, origin)
    except DownloadError:
        # Going on from wrong bytes would never end well.
        download_http.discard(part)
        raise
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(target)
    download_http.forget_origin(part)


def _check_digest(found: str | None, wanted: str | None, origin: str) -> None:
    if wanted is not None and found != wanted:
        raise DownloadError(
            f"{origin} is not the file expected: its SHA-256 is {found} instead of {wanted}"
        )


def _refuse_web_page(path: Path, target: Path, origin: str) -> None:
    """Servers answer with a page, not with an error, when a quota or a login is in the way."""
    if target.suffix.lower() in (".html", ".htm"):
        return
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise DownloadError(
            f"{origin} gives a web page instead of {target.name}; open it in a browser, fetch "
            "the file by hand and pass it with --from-file PATH"
        )


def _fetch(target: Path, url: str | None, drive_id: str | None, progress: bool) -> Path:
    """Downloads into a partial file and returns it when it is whole."""
    if url is None:
        assert drive_id is not None
        return _fetch_from_drive(drive_id, target, progress)
    part = target.with_name(target.name + ".part")
    download_http.fetch(url, part, name=target.name, progress=progress)
    return part


def _fetch_from_drive(drive_id: str, target: Path, progress: bool) -> Path:
    """Downloads from Google Drive; gdown keeps and continues its own partial files."""
    import gdown

    whole = target.with_name(target.name + ".drive")
    try:
        gdown.download(id=drive_id, output=str(whole), resume=True, quiet=not progress)
    # gdown's errors have no common base, but requests' are also OSErrors.
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            raise
        raise DownloadError(_drive_advice(drive_id, target, error)) from error
    if not whole.is_file():
        raise DownloadError(_drive_advice(drive_id, target, "nothing was downloaded"))
    return whole


def _drive_advice(drive_id: str, target: Path, reason: object) -> str:
    told = " ".join(str(reason).split())[:300]
    return (
        f"cannot download {target.name} from Google Drive ({told}). This is often the quota of a "
        f"popular file, or a missing permission. Open {_drive_page(drive_id)} in a browser, fetch "
        "the file by hand and pass it with --from-file PATH"
    )


def _drive_page(drive_id: str | None) -> str:
    return f"https://drive.google.com/file/d/{drive_id}/view"


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keeps two processes from writing the same partial file."""
    lock = target.with_name(target.name + ".lock")
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"another process is downloading {target} now") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _pieces(file: BinaryIO, path: Path, verb: str, progress: bool) -> Iterator[bytes]:
    size = path.stat().st_size
    with tqdm(
        desc=f"{verb} {path.name}", total=size, unit="B", unit_scale=True, unit_divisor=1024,
        # A bar for what takes a blink only flickers.
        disable=not progress, leave=False, delay=0.5,
    ) as bar:  # fmt: skip
        while piece := file.read(_CHUNK):
            bar.update(len(piece))
            yield piece
