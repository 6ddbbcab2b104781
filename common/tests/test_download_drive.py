"""Files from Google Drive (mocked), and files fetched by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gdown
import pytest
import requests

from vidseg_common.download import download, sha256_of
from vidseg_common.errors import DownloadError

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_drive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def fake(**options: Any) -> str:
        calls.append(options)
        assert names(tmp_path) == ["weights.pth.lock"]
        Path(options["output"]).write_bytes(CONTENT)
        return str(options["output"])

    monkeypatch.setattr(gdown, "download", fake)
    for _ in range(2):
        download(tmp_path / "weights.pth", drive_id="abc", sha256=DIGEST, progress=False)
    assert len(calls) == 1
    assert calls[0]["id"] == "abc" and calls[0]["resume"] and calls[0]["quiet"]
    assert names(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize(
    "error",
    [
        gdown.exceptions.FileURLRetrievalError("Too many users have viewed\n or downloaded"),
        requests.HTTPError("403 Forbidden"),
        requests.ConnectionError("no route"),
    ],
    ids=["quota", "permission", "network"],
)
def test_drive_refusal_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fake(**options: Any) -> str:
        raise error

    monkeypatch.setattr(gdown, "download", fake)
    with pytest.raises(DownloadError) as info:
        download(tmp_path / "weights.pth", drive_id="abc", progress=False)
    message = str(info.value)
    assert " ".join(str(error).split()) in message and "\n" not in message
    assert "https://drive.google.com/file/d/abc/view" in message
    assert "--from-file PATH" in message
    assert names(tmp_path) == []


def test_drive_quota_page_or_wrong_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = b"<!doctype HTML><p>Quota exceeded"

    def fake(**options: Any) -> str | None:
        Path(options["output"]).write_bytes(content)
        return None

    monkeypatch.setattr(gdown, "download", fake)
    with pytest.raises(DownloadError, match=r"d/abc/view gives a web page.*--from-file"):
        download(tmp_path / "weights.pth", drive_id="abc", progress=False)
    content = b"another file"
    with pytest.raises(DownloadError, match="is not the file expected"):
        download(tmp_path / "weights.pth", drive_id="abc", sha256=DIGEST, progress=False)
    monkeypatch.setattr(gdown, "download", lambda **options: None)
    with pytest.raises(DownloadError, match="nothing was downloaded"):
        download(tmp_path / "weights.pth", drive_id="abc", progress=False)
    assert names(tmp_path) == []


def test_full_disk_is_not_taken_for_a_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(**options: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gdown, "download", fake)
    with pytest.raises(OSError, match="No space left"):
        download(tmp_path / "weights.pth", drive_id="abc", progress=False)


def test_file_fetched_by_hand(tmp_path: Path) -> None:
    source = tmp_path / "Downloads" / "weights (1).pth"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    target = tmp_path / "saves" / "weights.pth"
    taken = download(target, drive_id="abc", sha256=DIGEST, from_file=source, progress=False)
    assert taken == target
    assert target.read_bytes() == source.read_bytes() == CONTENT
    assert names(target.parent) == ["weights.pth"]
    download(target, from_file=target, sha256=DIGEST, progress=False)
    assert target.read_bytes() == CONTENT


def test_wrong_file_fetched_by_hand(tmp_path: Path) -> None:
    source, target = tmp_path / "given", tmp_path / "saves" / "weights.pth"
    source.write_bytes(b"other")
    with pytest.raises(DownloadError, match=r"given is not the file expected"):
        download(target, from_file=source, sha256=DIGEST, progress=False)
    assert names(target.parent) == []
    with pytest.raises(DownloadError, match="is not the file expected"):
        download(source, from_file=source, sha256=DIGEST, progress=False)
    assert source.read_bytes() == b"other"
    source.write_bytes(b"<html>quota</html>")
    with pytest.raises(DownloadError, match="web page"):
        download(target, from_file=source, progress=False)
    with pytest.raises(DownloadError, match="no such file"):
        download(target, from_file=tmp_path / "nothing", progress=False)
    assert names(target.parent) == []


def test_sha256_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert sha256_of(tmp_path / "file") == DIGEST
