"""Fetching a file over HTTP into a partial file, going on where an earlier attempt stopped."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from vidseg_common.errors import DownloadError
from vidseg_common.files import write_json

_CHUNK = 1 << 20
_TIMEOUT_S = (15.0, 60.0)  # to connect, between two pieces of data
_MAX_FAILURES = 4  # in a row, without a byte of progress
_FIRST_DELAY_S = 1.0
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)


class _TransientError(Exception):
    """What may go away by trying again."""


@dataclass(frozen=True)
class _Origin:
    """What a partial file is a part of; kept beside it.

    Attributes:
        url: where it came from.
        validator: strong ETag or date of the remote file, "" where the server gives none.
        total: size of the whole file in bytes, None where the server does not say.
    """

    url: str
    validator: str
    total: int | None


def fetch(url: str, part: Path, *, name: str, progress: bool) -> None:
    """Downloads into `part`, asking only for what it lacks, until it is whole.

    Lost connections are tried again while there is progress, and a few times without. What was
    received stays in `part` for the next run. A server that cannot continue, or whose file has
    changed, is read from the start.

    Args:
        url: http or https address.
        part: partial file; `<part>.json` beside it tells what it belongs to.
        name: what the progress bar shows.
        progress: show a bar on stderr.

    Raises:
        DownloadError: the server refuses, or the connection keeps failing.
        OSError: the file cannot be written.
    """
    failures = 0
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress) as bar:
        while True:
            before = _size(part)
            try:
                _fetch_once(url, part, bar)
                return
            except (_TransientError, urllib3.exceptions.HTTPError, requests.ConnectionError,
                    requests.Timeout) as error:  # fmt: skip
                failures = 1 if _size(part) > before else failures + 1
                if failures >= _MAX_FAILURES:
                    raise DownloadError(_gave_up(url, part, error)) from error
                time.sleep(_FIRST_DELAY_S * 2 ** (failures - 1))
            except requests.RequestException as error:
                raise DownloadError(f"cannot download {url}: {error}") from error


def discard(part: Path) -> None:
    """Removes a partial file and what is known about it."""
    part.unlink(missing_ok=True)
    _origin_path(part).unlink(missing_ok=True)


def forget_origin(part: Path) -> None:
    """Removes the notes about a partial file that is whole now."""
    _origin_path(part).unlink(missing_ok=True)


def _fetch_once(url: str, part: Path, bar: Any) -> None:
    """One request; returns when the file is whole."""
    have, origin = _size(part), _read_origin(part)
    # Bytes of another file, or of who knows which, are no start.
    resume = have > 0 and origin is not None and origin.url == url
    headers = {"Accept-Encoding": "identity", "User-Agent": "vidseg-common"}
    if resume and origin is not None:
        headers["Range"] = f"bytes={have}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if response.status_code == 416 and resume:
            if _total_of_range(response.headers) == have:
                return
            discard(part)
            raise _TransientError("the remote file is smaller than what was received")
        _check_status(url, response)
        offset = _offset(response, have if resume else 0)
        total = _total(response, offset)
        _check_room(part, total, offset)
        write_json(_origin_path(part), asdict(_Origin(url, _validator(response.headers), total)))
        bar.total, bar.n = total, offset
        bar.refresh()
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            for piece in response.raw.stream(_CHUNK, decode_content=False):
                file.write(piece)
                bar.update(len(piece))
    if total is not None and _size(part) < total:
        raise _TransientError(f"the connection ended after {_size(part)} of {total} bytes")


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _TRANSIENT_STATUS:
        raise _TransientError(f"the server answers {status} {response.reason}")
    if status not in (200, 206):
        raise DownloadError(f"cannot download {url}: the server answers {status} {response.reason}")


def _offset(response: requests.Response, have: int) -> int:
    """Where the body begins in the file: at what we have, or at the start."""
    if response.status_code == 200:
        return 0
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if start is None or int(start[1]) != have:
        raise DownloadError(
            f"cannot download {response.url}: the server sent another part than asked for "
            f"({response.headers.get('Content-Range')!r}); delete the .part file and try again"
        )
    return have


def _total(response: requests.Response, offset: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal():
        return offset + int(length)
    return _total_of_range(response.headers)


def _total_of_range(headers: Mapping[str, str]) -> int | None:
    total = re.search(r"/(\d+)$", headers.get("Content-Range", ""))
    return int(total[1]) if total else None


def _validator(headers: Mapping[str, str]) -> str:
    etag = headers.get("ETag", "")
    # A weak tag says "looks the same", not "byte for byte"; it is not allowed in If-Range.
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _check_room(part: Path, total: int | None, offset: int) -> None:
    free = shutil.disk_usage(part.parent).free
    reusable = _size(part) - offset
    if total is not None and total - offset > free + reusable:
        raise DownloadError(
            f"not enough room in {part.parent}: {(total - offset) / 1e9:.2f} GB are needed, "
            f"{free / 1e9:.2f} GB are free"
        )


def _gave_up(url: str, part: Path, error: Exception) -> str:
    kept = f"; {_size(part)} bytes are kept, run again to go on" if _size(part) else ""
    return f"cannot download {url}: {' '.join(str(error).split())}{kept}"


def _origin_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_origin(part: Path) -> _Origin | None:
    with suppress(OSError, ValueError, TypeError):
        return _Origin(**json.loads(_origin_path(part).read_text(encoding="utf-8")))
    return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
